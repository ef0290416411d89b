"""The app's named endpoints, called by gradio's client, and the page in another application."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdp_lite import joins
from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from support.studios import picture

pytestmark = pytest.mark.browser  # a real server, though no browser
ENDPOINTS = (
    "/compare", "/edit_picture", "/edit_prompt", "/explore", "/plan_picture", "/plan_prompt",
    "/restore", "/stop",
)  # fmt: skip


@pytest.fixture(scope="module")
def url(editor: Editor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page of the tiny random model."""
    command = pytest.importorskip("mdp_lite.app.command")
    studio = Studio(editor, tmp_path_factory.mktemp("studio"), rivals=joins.build_rivals())
    blocks = command.launch(studio, "127.0.0.1", None)
    yield str(blocks.local_url)
    blocks.close(verbose=False)


@pytest.fixture
def client(url: str, tmp_path: Path) -> Any:
    """A client with a new session."""
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(url, verbose=False, download_files=str(tmp_path))


def test_the_endpoints_have_names(client: Any) -> None:
    assert sorted(client.view_api(return_format="dict")["named_endpoints"]) == list(ENDPOINTS)


def test_a_picture_is_edited_explored_and_compared(client: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file

    picture().save(tmp_path / "photo.png")
    upload = {"picture": handle_file(tmp_path / "photo.png"), "canvas": None}
    words = {"source_prompt": "a red house", "prompt": "a blue boat", "variant": "x"}
    first = client.predict(**upload, **words, api_name="/edit_picture")
    before, after = first[0]
    settings = images.read_settings(after)
    assert (settings["prompt"], settings["variant"]) == ("a blue boat", "x")
    assert images.open_picture(after).size == images.open_picture(before).size == (48, 40)
    assert "mdp-lite edit photo.png" in str(first[4])
    assert "UNet rows" in first[-1]
    again = client.predict(**upload, **words | {"prompt": "a boat"}, api_name="/edit_picture")
    assert "already computed" in again[-1]
    sheet = client.predict("strength", ["epsilon", "c"], "9", "5", 3, api_name="/explore")
    assert len(sheet[0]) == 1 + 6 and "6 edits took" in sheet[-1]
    variants = client.predict(api_name="/compare")
    assert len(variants[0]) == 6 and variants[0][-1]["caption"] == "Prompt-to-Prompt"


def test_a_generated_picture_is_edited_and_its_settings_restored(client: Any) -> None:
    from gradio_client import handle_file

    words = {"source_prompt": "a red house", "prompt": "a blue boat", "seed": 3}
    result = client.predict(canvas=None, **words, api_name="/edit_prompt")
    _, after = result[0]
    assert images.read_settings(after)["seed"] == 3
    values = client.predict(handle_file(after), api_name="/restore")
    assert any("The settings of this picture" in str(one) for one in values)
    assert "a red house" in values and 3 in values


def test_a_bad_input_is_an_error_with_its_sentence(client: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file

    (tmp_path / "notes.png").write_text("no picture")
    for fields, sentence in (
        ({"picture": None}, "Give a picture first"),
        ({"picture": handle_file(tmp_path / "notes.png")}, "something else: 'notes.png'"),
        ({"picture": None, "steps": 10**6}, "maximum"),
    ):
        with pytest.raises(Exception, match=sentence) as caught:
            client.predict(**fields, canvas=None, prompt="a boat", api_name="/edit_picture")
        assert str(tmp_path.parent) not in str(caught.value)


def test_the_page_mounts_into_another_application(editor: Editor, tmp_path: Path) -> None:
    page = pytest.importorskip("mdp_lite.app.page")
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = page.mount_page(FastAPI(), Studio(editor, tmp_path), "/app")
    with TestClient(app) as client:
        assert client.get("/app/").status_code == 200
        assert "edit pictures by text" in client.get("/app/").text
