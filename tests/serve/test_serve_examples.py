"""The guide's curl commands and the receiver of webhooks run as they stand."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from standardwebhooks import Webhook

from mdp_lite.editor import Editor
from mdp_lite.serve.settings import JobSettings
from support.inverting import picture
from support.jobs import submit, wait_for_end
from support.places import ROOT
from support.serving import WAIT, open_client, run_service, wait_until

SECRET = "whsec_" + "c2VjcmV0" * 4
SCRIPT = ROOT / "examples" / "operating" / "webhook_receiver.py"
PAGE = ROOT / "docs" / "service.md"
ADDRESS = "http://127.0.0.1:8000"


@pytest.mark.skipif(not shutil.which("curl"), reason="this machine has no curl")
def test_the_curl_commands_run(editor: Editor, tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (block,) = [one for one in blocks if "curl " in one]
    assert ADDRESS in block
    picture().save(tmp_path / "house.png")
    with run_service(editor) as at:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.replace(ADDRESS, at.url)], cwd=tmp_path,
            capture_output=True, text=True, timeout=WAIT,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum("data" in one for one in found) == 5  # edit, generation, source edit, sweep, result
    first, again = (one for one in found if one.get("object") == "job")
    assert first["id"] == again["id"]  # of one idempotency key


@pytest.fixture
def receiver() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The receiver's address, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = os.environ | {"WEBHOOK_SECRET": SECRET}
    line = [sys.executable, str(SCRIPT), str(port)]
    with subprocess.Popen(
        line, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as one:
        try:
            wait_until(lambda: _listens(port))
            yield f"http://127.0.0.1:{port}", one
        finally:
            one.kill()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_the_receiver_takes_what_the_service_signed(
    receiver: tuple[str, "subprocess.Popen[str]"], editor: Editor
) -> None:
    url, process = receiver
    jobs = JobSettings(webhook_hosts=(url,), webhook_secret=SECRET)
    with run_service(editor, jobs=jobs) as at, open_client(at) as client:
        job = wait_for_end(client, submit(client, webhook=f"{url}/ends"))
        path = f"/v1/jobs/{job['id']}"
        wait_until(lambda: client.get(path).json()["webhook"]["state"] == "delivered")
    assert process.stdout
    assert repr({"id": job["id"], "state": "succeeded"}) in process.stdout.readline()


@pytest.mark.parametrize("wrong", ["signature", "body", "time", "nothing"])
def test_the_receiver_refuses_what_nobody_signed(
    receiver: tuple[str, "subprocess.Popen[str]"], wrong: str
) -> None:
    now = datetime.fromtimestamp(time.time() - 3600 * (wrong == "time"), tz=UTC)
    body, key = (
        '{"type": "job.succeeded"}',
        SECRET if wrong != "signature" else SECRET[:-8] + "AAAAAAAA",
    )
    headers = {
        "webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(key).sign("msg_1", now, body),
    }  # fmt: skip
    sent = body.replace("succeeded", "failed") if wrong == "body" else body
    headers = {} if wrong == "nothing" else headers
    assert httpx2.post(receiver[0], content=sent, headers=headers, timeout=WAIT).status_code == 400
