"""`mdp-lite serve`: settings from the command line, a server, and how it stops."""

import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import Any

import uvicorn

from mdp_lite.commands import opened
from mdp_lite.reports import Made
from mdp_lite.serve.app import Page, application, paged
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import Limits, SafetyHook, Settings, checked
from mdp_lite.sourcing import Talk

KEYS = "MDP_LITE_API_KEYS"
NOTICE = 1.0  # seconds between "not ready" and no new connections
POLL = 0.1


def serve(args: Namespace, talk: Talk, page: Page | None = None) -> Made:
    """Serve until SIGTERM or Ctrl-C, with a page if one is given.

    A dry run checks all but the address.
    """
    settings = checked(settings_of(args))
    if page:
        _suits_page(settings)
    editor = opened(args)
    for note in editor.models.notes:
        talk.note(note)
    data = {"command": "serve", "dry_run": args.dry_run, "model": editor.models.name}
    if args.dry_run:
        return Made({}, data, ["would serve " + editor.models.name])
    app = application(editor, settings)
    with paged(app, page) as whole, listening(settings) as at:
        config = uvicorn.Config(
            whole, log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=int(settings.drain),
            limit_concurrency=4 * settings.limits.requests,
        )  # fmt: skip
        host, port = at.getsockname()[:2]
        talk.note(f"{settings.alias} is served on http://{host}:{port}/v1")
        _log(args.quiet)
        _until_told(uvicorn.Server(config), at, app.state.service)
    return Made({}, data | {"port": port}, ["stopped"])


def _suits_page(settings: Settings) -> None:
    """A ValueError where the page would be a way round what the service is told to ask."""
    for name, given in (("API keys", settings.keys), ("a safety hook", settings.safety_hook)):
        if given:
            raise ValueError(f"the page knows nothing of {name}: leave out that or --app")


def settings_of(args: Namespace) -> Settings:
    """What the command line and the environment say."""
    return Settings(
        args.alias, args.host, args.port, keys(args.key_file), args.open, tuple(args.origin),
        args.rows, args.metadata, args.drain, hook(args.safety_hook), limits(args.limit),
    )  # fmt: skip


def keys(file: str | None) -> tuple[str, ...]:
    """API keys of a file or of the environment; never of the command line, which all can see."""
    if file is None:
        text = os.environ.get(KEYS, "").replace(",", "\n")
    else:
        try:
            text = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"key-file must be a readable text file, got {file!r}") from None
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if file is not None and not found:
        raise ValueError(f"key-file must hold a key, got none in {file!r}")
    return found


def limits(said: list[str]) -> Limits:
    """Limits as NAME=VALUE; a float where the default is one."""
    kinds = {field.name: type(field.default) for field in fields(Limits)}
    given: dict[str, Any] = {}
    for one in said:
        name, _, value = one.partition("=")
        name = name.replace("-", "_")
        if name not in kinds:
            raise ValueError(f"limit must be one of {', '.join(kinds)}, got {one!r}")
        try:
            given[name] = kinds[name](value)
        except ValueError:
            raise ValueError(f"limit {name} must be a number, got {value!r}") from None
        if not 0 < given[name] < float("inf"):
            raise ValueError(f"limit {name} must be above 0, got {value}")
    return Limits(**given)


def hook(name: str | None) -> SafetyHook | None:
    """The function that an operator names as MODULE:FUNCTION."""
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"safety-hook must be MODULE:FUNCTION, got {name!r} ({error})") from None


def listening(settings: Settings) -> socket.socket:
    """The socket, or a ValueError that says why there is none."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise ValueError(f"can't listen on {where}: {error.strerror or error}") from None


def _until_told(server: uvicorn.Server, at: socket.socket, service: Service) -> None:
    """Run the server in a thread; on a signal first say "not ready", then stop."""
    told = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: told.set())
    thread = threading.Thread(target=server.run, args=([at],), name="server")
    thread.start()
    while thread.is_alive() and not told.wait(POLL):
        pass
    service.draining = True
    time.sleep(NOTICE if thread.is_alive() else 0)
    server.should_exit = True
    thread.join()


def _log(quiet: bool) -> None:
    """One JSON object a line on stderr, and warnings of all others."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("mdp_lite.serve").setLevel(logging.ERROR if quiet else logging.INFO)
