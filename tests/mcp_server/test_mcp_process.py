"""The process of `mdp-lite mcp`: stdout has messages alone, and it ends as it should."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mdp_lite import joins
from mdp_lite.__main__ import main
from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.commands.mcp import McpOptions, to_serve_options
from mdp_lite.mcp_server.stdio import read_lines
from support.places import ENVIRONMENT
from support.serving import WAIT

HELLO = {
    "jsonrpc": "2.0", "id": 0, "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}  # fmt: skip
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}
# A program whose library prints at every step, in Python and past it, and reads stdin.
NOISY = """
import logging, os, subprocess, sys
from mdp_lite.__main__ import main
from mdp_lite.pipeline.runner import ModelRunner
condition = ModelRunner.condition
def speak(self, *args):
    print("noise")
    os.write(1, b"noise by descriptor")
    subprocess.run(["echo", "noise of a child"])
    logging.getLogger("mdp_lite").warning("noise of a log")
    assert sys.stdin.readline() == ""
    return condition(self, *args)
ModelRunner.condition = speak
sys.exit(main(sys.argv[1:]))
"""


class ServerProcess:
    """The command as a process, spoken to by lines."""

    def __init__(self, checkpoint: Path, *start: str) -> None:
        command = [sys.executable, *start, "mcp", "--model", str(checkpoint), "--device", "cpu"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=ENVIRONMENT | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def send(self, *messages: dict[str, Any] | bytes) -> None:
        """Send messages, or bytes as they are."""
        assert self.process.stdin
        for one in messages:
            data = one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n"
            self.process.stdin.write(data)
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """The next line of stdout, which must be a message."""
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def wait_for(self, name: int | str) -> dict[str, Any]:
        """The answer to a request, or the next message of a method."""
        while name not in ((message := self.read()).get("id"), message.get("method")):
            pass
        return message

    def end(self) -> tuple[list[dict[str, Any]], str]:
        """The rest of stdout as messages, and all of stderr; the process must end by itself."""
        out, log = self.process.communicate(timeout=WAIT)
        assert self.process.returncode == 0, log.decode()
        return [json.loads(line) for line in out.splitlines()], log.decode()


def call(name: int, tool: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": name}}
    return {"jsonrpc": "2.0", "id": name, "method": "tools/call", "params": params}


def test_stdout_has_messages_alone_and_ends_with_stdin(checkpoint: Path) -> None:
    server = ServerProcess(checkpoint, "-c", NOISY)
    server.send(HELLO, READY)
    assert server.wait_for(0)["result"]["serverInfo"]["name"] == "mdp_lite"
    server.send(b"no message\n", b"\xff\xfe\n", b"\n", b"[]\n")
    first = call(1, "generate_picture", prompt="a house", num_inference_steps=1)
    half = json.dumps(first).encode() + b"\r\n"
    server.send(half[:20])
    server.send(half[20:])
    assert server.wait_for(1)["result"]["isError"] is False
    server.send(call(2, "describe_model"), call(3, "list_sources"))
    assert {server.read().get("id") for _ in range(2)} == {2, 3}
    _, log = server.end()
    for noise in ("noise\n", "noise by descriptor", "noise of a child", "noise of a log"):
        assert noise in log


def test_sigterm_ends_it_within_a_step(checkpoint: Path) -> None:
    server = ServerProcess(checkpoint, "-m", "mdp_lite")
    server.send(HELLO, READY)
    server.wait_for(0)
    server.send(call(1, "generate_picture", prompt="a house", num_inference_steps=200))
    server.wait_for("notifications/progress")
    server.process.send_signal(signal.SIGTERM)
    rest, log = server.end()
    steps = [one for one in rest if one.get("method") == "notifications/progress"]
    assert len(steps) < 198  # so the rest of the work was not done
    assert log.splitlines()[-1] == "stopped"


def test_lines_are_cut_where_they_end_and_where_they_are_too_long() -> None:
    read, write = os.pipe()
    os.write(write, b"one\ntwo\r\n\n" + 50 * b"a" + b"\nlast")
    os.close(write)
    assert list(read_lines(read, 20)) == [b"one", b"two\r", b"", 20 * b"a", b"last"]
    os.close(read)


def test_a_dry_run_says_what_it_would_serve(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["mcp", "--model", str(checkpoint), "--device", "cpu", "--dry-run"]
    assert main([*words, "--folder", str(tmp_path)]) == 0
    first, tools, folders, memory = capsys.readouterr().out.splitlines()
    assert first == "would serve random to one client on stdin and stdout"
    assert tools.startswith("tools: edit_picture, ") and folders == f"folders: {tmp_path}"
    assert memory.startswith("memory: ")
    assert main([*words, "--http", "--port", "0"]) == 0
    assert "tools of MCP: http://127.0.0.1:0/mcp" in capsys.readouterr().out.splitlines()
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tools"][0] == "edit_picture"


@pytest.mark.parametrize("words, sentence", [
    (["--port", "80"], "--port is for --http, got --port 80 without it"),
    (["--open"], "--open is for --http, got --open without it"),
    (["--folder", "missing"], "--folder must be a directory, got 'missing'"),
    (["--limit", "sides=3"], "limit must be one of body_bytes"),
    (["--http", "--host", "0.0.0.0"], "a service on 0.0.0.0 needs an API key"),
    (["--http", "--folder", "missing"], "--folder must be a directory, got 'missing'"),
])  # fmt: skip
def test_bad_options_are_refused(
    words: list[str], sentence: str, says_one_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MDP_LITE_API_KEYS", raising=False)
    assert main(["mcp", "--dry-run", *words]) == 2
    says_one_line(sentence)


@pytest.mark.parametrize("words, sentence", [
    (["--mcp-folder", "."], "--mcp-folder is for --mcp, got '.' without it"),
    (["--mcp", "--mcp-folder", "missing"], "folder must be a directory"),
])  # fmt: skip
def test_the_service_has_the_same_options(
    words: list[str], sentence: str, says_one_line: Any
) -> None:
    assert main(["serve", "--dry-run", *words]) == 2
    says_one_line(sentence)


def test_over_http_it_is_the_service() -> None:
    args = read_command_line(
        ["mcp", "--http", "--port", "9", "--folder", ".", "--limit", "steps=3"]
    )
    assert isinstance(args, McpOptions)
    options = to_serve_options(args)
    assert (options.host, options.port, options.mcp) == ("127.0.0.1", 9, True)
    assert (options.mcp_folder, options.work.limit, options.model) == (
        (".",),
        ("steps=3",),
        args.model,
    )


@pytest.mark.parametrize("words", [["mcp"], ["serve", "--mcp"]])
def test_without_the_sdk_it_says_what_to_install(
    words: list[str], monkeypatch: pytest.MonkeyPatch, says_one_line: Any
) -> None:
    for name in [name for name in sys.modules if name.startswith("mdp_lite.mcp_server")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] == "mcp"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(words) == 2
    says_one_line(f"{words[-1]} needs more: pip install 'mdp-lite[mcp]'")
    assert joins.COMMANDS["mcp"] is joins.run_mcp
