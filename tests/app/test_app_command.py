"""`mdp-lite app`: its arguments, its error without gradio, and the guard around its server."""

import asyncio
import sys
from typing import Any

import pytest

from mdp_lite.__main__ import main
from mdp_lite.app.guard import HEADERS, LOOPBACK, PageGuard, allowed_hosts
from mdp_lite.app.offer import read_first
from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.commands.app import AppOptions
from mdp_lite.names import DEFAULT_MODEL


def test_by_default_the_page_is_for_this_machine_alone() -> None:
    args = read_command_line(["app"])
    assert isinstance(args, AppOptions)
    assert (args.host, args.port, args.share) == ("127.0.0.1", None, False)
    assert args.model.names == () and read_first(args).model.name == DEFAULT_MODEL


def test_a_dry_run_serves_nothing(checkpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio")
    assert main(["app", "--model", str(checkpoint), "--dry-run"]) == 0
    first, users, limits, memory = capsys.readouterr().out.splitlines()
    page = "would serve the page of random on http://127.0.0.1, port 7860, or the next free port"
    assert (first, users) == (page, "for this machine only, one edit at a time")
    assert limits == "limits: uploads of 20 MB, 200 steps" and memory.startswith("memory: ")


def test_without_gradio_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, says_one_line: Any
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in ("command", "page"):
        monkeypatch.delitem(sys.modules, f"mdp_lite.app.{name}", raising=False)
    assert main(["app"]) == 2
    says_one_line("app needs more: pip install 'mdp-lite[app]'")


def answer(hosts: tuple[str, ...], host: str, kind: str = "http") -> list[dict[str, Any]]:
    """The messages that a client gets through the guard."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", host.encode())] if host else []
    asyncio.run(PageGuard(app, hosts)({"type": kind, "headers": headers}, None, send))
    return sent


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860"])
def test_this_machine_gets_the_page_and_its_policy(host: str) -> None:
    (start,) = answer(LOOPBACK, host)
    assert start["status"] == 200 and start["headers"] == list(HEADERS)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:7860", ""])
def test_other_hosts_are_refused(host: str) -> None:
    assert answer(LOOPBACK, host)[0]["status"] == 403
    assert answer(LOOPBACK, host, "websocket") == [{"type": "websocket.close", "code": 1008}]
    assert answer((), host)[0]["status"] == 200  # served to others: any host


def test_hosts_are_limited_if_the_server_is_for_this_machine() -> None:
    assert allowed_hosts("127.0.0.1", False) == LOOPBACK
    assert allowed_hosts("0.0.0.0", False) == allowed_hosts("127.0.0.1", True) == ()
