"""The page beside the service, on one port and one model: both make what the library makes."""

import base64
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from mdp_lite import joins
from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from support.inverting import picture
from support.serving import (
    KEY,
    WAIT,
    RunningService,
    file_of,
    is_idle,
    open_client,
    read_image,
    run_service,
    wait_until,
)

pytestmark = pytest.mark.browser  # real servers, though no browser
PICTURE = picture()
FIELDS = {"source_prompt": "a red house", "prompt": "a blue boat", "strength": 0.7}


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    """A service with the page, over the tiny random model."""
    pytest.importorskip("gradio")
    with run_service(editor, joins.mount_page("127.0.0.1")) as one:
        yield one


@pytest.fixture
def client(at: RunningService, tmp_path: Path) -> Iterator[Any]:
    """A visitor of the page, by gradio's own client."""
    from gradio_client import Client

    one = Client(f"{at.url}/app/", verbose=False, download_files=str(tmp_path))
    yield one
    one.close()


def by_page(client: Any, tmp_path: Path, **fields: Any) -> Any:
    """The page's answer to an edit."""
    from gradio_client import handle_file

    file = tmp_path / "photo.png"
    PICTURE.save(file)
    values = FIELDS | {"steps": 4, "picture": handle_file(file), "canvas": None} | fields
    return client.predict(**values, api_name="/edit_picture")


def by_service(at: RunningService, **fields: Any) -> Image.Image:
    """The service's picture of the same edit."""
    data = {key: str(one) for key, one in (FIELDS | {"num_inference_steps": 4} | fields).items()}
    with open_client(at) as http:
        answer = http.post("/v1/images/edits", data=data, files={"image": file_of(PICTURE)})
    assert answer.status_code == 200, answer.text
    return read_image(base64.b64decode(answer.json()["data"][0]["b64_json"]))


def by_library(editor: Editor, **fields: Any) -> bytes:
    """The library's picture of the same edit, as bytes."""
    arguments = {key: one for key, one in (FIELDS | fields).items() if key != "source_prompt"}
    source = editor.invert(PICTURE, "a red house", num_inference_steps=4)
    return editor.edit(source, **arguments).picture.tobytes()


def test_both_make_what_the_library_makes(
    at: RunningService, client: Any, editor: Editor, tmp_path: Path
) -> None:
    before = at.service.batcher.rows
    (_, after), *_, status = by_page(client, tmp_path)
    assert images.open_picture(after).tobytes() == by_library(editor)
    rows = [int(one.split()[0]) for one in status.split(" took ")[1:]]
    assert len(rows) == 2 and at.service.batcher.rows - before == sum(rows)  # all by the batcher
    assert by_service(at).tobytes() == by_library(editor)


def test_both_at_one_time(at: RunningService, client: Any, editor: Editor, tmp_path: Path) -> None:
    prompts = ["a boat", "a red boat", "a blue house"]
    with ThreadPoolExecutor(4) as pool:
        page = pool.submit(by_page, client, tmp_path, prompt="a house at night")
        others = [pool.submit(by_service, at, prompt=one) for one in prompts]
        (_, after), *_ = page.result(WAIT)
        got = [one.result(WAIT).tobytes() for one in others]
    want = by_library(editor, prompt="a house at night")
    assert images.open_picture(after).tobytes() == want
    assert got == [by_library(editor, prompt=one) for one in prompts]
    wait_until(lambda: is_idle(at.service))


def test_prompt_to_prompt_is_compared_too(at: RunningService, client: Any, tmp_path: Path) -> None:
    by_page(client, tmp_path)
    shown, *_, status = client.predict(api_name="/compare")
    assert [one["caption"] for one in shown][-1] == "Prompt-to-Prompt" and len(shown) == 6
    assert "5 edits took" in status and "inverted again, by replay" in status


def test_null_text_is_not_offered(client: Any, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="null-text"):
        by_page(client, tmp_path, method="null-text")


def test_every_other_path_is_the_service_s(at: RunningService) -> None:
    with open_client(at) as http:
        assert http.get("/health/ready").status_code == 200
        assert "/v1/images/edits" in http.get("/openapi.json").json()["paths"]
        assert http.get("/nothing").json()["error"]["message"]
        page = http.get("/app", follow_redirects=True)
        assert page.url.path == "/app/" and "edit pictures by text" in page.text
        assert "default-src 'self'" in page.headers["content-security-policy"]
        strange = {"host": "evil.example"}
        assert http.get("/app/", headers=strange).status_code == 403
        assert http.get("/v1/models", headers=strange).status_code == 403


@pytest.mark.parametrize("protection", ["API keys", "a safety hook"])
def test_it_does_not_go_round_the_service_s_protection(
    protection: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, says_one_line: Any
) -> None:
    pytest.importorskip("gradio")
    hook = ["--safety-hook", "builtins:all"] if protection == "a safety hook" else []
    if not hook:
        monkeypatch.setenv("MDP_LITE_API_KEYS", KEY)
    assert main(["serve", "--app", *hook, "--model", str(checkpoint), "--dry-run"]) == 2
    says_one_line(f"the page knows nothing of {protection}")


def test_the_command_serves_both_and_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = "import sys; from mdp_lite.__main__ import main; sys.exit(main(sys.argv[1:]))"
    words = ["serve", "--app", "--model", str(checkpoint), "--port", str(port), "--drain", "5"]
    env = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code, *words], env=env)

    def status(path: str) -> int:
        try:
            return httpx2.get(f"http://127.0.0.1:{port}{path}", timeout=WAIT).status_code
        except httpx2.TransportError:
            return 0

    try:
        wait_until(lambda: status("/health/ready") == 200)
        assert status("/app/") == 200
        assert list(tmp_path.glob("mdp-lite-app-*")) != []
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.glob("mdp-lite-app-*")) == []
