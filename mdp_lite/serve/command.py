"""`mdp-lite serve`: a server in this process or replicas on a Ray cluster, and how they stop."""

import math
import signal
import socket
import threading
import time
from dataclasses import asdict

import uvicorn

from mdp_lite.cli.commands.serve import ServeOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.loading import open_editor_in_thread
from mdp_lite.cli.reports import Report
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite.serve import cluster
from mdp_lite.serve.app import AddTools, Page, add_page, application
from mdp_lite.serve.connections import build_config
from mdp_lite.serve.facts import describe_service, format_service
from mdp_lite.serve.logs import log_requests
from mdp_lite.serve.options import read_settings
from mdp_lite.serve.queue.database import check_folder, find_folder
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import ServiceSettings, check_settings

NOTICE = 1.0  # seconds between "not ready" and no new connections
POLL = 0.1
LAST = 3  # seconds after the time to drain, in which requests that it ended send their answers


class ServerFailed(Exception):
    """The server ended before it took a request."""


def serve(
    args: ServeOptions, console: Console, page: Page | None = None, tools: AddTools | None = None
) -> Report:
    """Serve until SIGTERM or Ctrl-C, with a page and an assistant's tools if there are any.

    A dry run checks everything but the address.
    """
    on_ray = args.engine.mode == "ray"
    if on_ray:
        cluster.check_ray()
        args = cluster.resolve_sizes(args)
    else:
        _check_no_sizes(args)
    settings = check_settings(read_settings(args))
    _check_tools(args, on_ray)
    if page:
        _check_page(settings, on_ray)
    model = args.model.for_driver(args.run.dry_run) if on_ray else args.model
    editor = open_editor_in_thread(model, args.engine)
    for note in editor.models.notes:
        console.log(note)
    data = {"command": "serve", "dry_run": args.run.dry_run, "model": editor.models.name}
    if args.run.dry_run:
        if not on_ray:
            open_socket(settings).close()
        if folder := find_folder(settings.jobs.folder, editor.cache):
            check_folder(folder)
        facts = describe_service(editor, settings, args.app) | {"mcp": args.mcp}
        return Report({}, data | facts, format_service(editor.models.name, facts))
    if on_ray:
        del editor
        port = _serve_on_ray(args, settings, console)
    else:
        port = _serve_here(args, editor, settings, console, page, tools)
    return Report({}, data | {"port": port}, ["stopped"])


def open_socket(settings: ServiceSettings) -> socket.socket:
    """A listening socket. Raises BadInput with the reason if there can be none."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=512)
        # Connections inherit this option. asyncio sets it only if the socket names its protocol.
        # Without it the end of an answer waits 40 ms for the client to acknowledge its beginning.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        raise BadInput(f"can't listen on {address}: {error.strerror or error}") from None


def _check_page(settings: ServiceSettings, on_ray: bool) -> None:
    """Raise BadInput if the page would bypass keys or the safety hook, or can't be served."""
    for name, value in (("API keys", settings.keys), ("a safety hook", settings.safety_hook)):
        if value:
            raise BadInput(f"the page knows nothing of {name}: leave out that or --app")
    if on_ray:
        raise BadInput("--app is for one process, got it with --engine ray")


def _check_tools(args: ServeOptions, on_ray: bool) -> None:
    """Raise BadInput for tools that can't be served, and for folders without tools."""
    if args.mcp and on_ray:
        raise BadInput("--mcp is for one process, got it with --engine ray")
    if args.mcp_folder and not args.mcp:
        raise BadInput(f"--mcp-folder is for --mcp, got {args.mcp_folder[0]!r} without it")


def _check_no_sizes(args: ServeOptions) -> None:
    """Raise BadInput for an option that is for a cluster."""
    for name, value in asdict(args.replica).items():
        if value is not None:
            option = name.replace("_", "-")
            raise BadInput(f"--{option} is for --engine ray, got {value} without it")


def _serve_here(
    args: ServeOptions, editor: Editor, settings: ServiceSettings, console: Console,
    page: Page | None, tools: AddTools | None,
) -> int:  # fmt: skip
    """Serve from this process until a signal; returns the port."""
    app = application(editor, settings)
    if tools:
        tools(app)
    with add_page(app, page) as outer, open_socket(settings) as listener:
        grace = math.ceil(settings.drain) + LAST
        service: Service = app.state.service
        config = build_config(outer, settings.limits, grace, service.connections)
        server = uvicorn.Server(config)
        host, port = listener.getsockname()[:2]
        console.log(f"{settings.alias} is served on http://{host}:{port}/v1")
        if tools:
            console.log(f"the tools of MCP are on http://{host}:{port}/mcp")
        log_requests(args.run.quiet)
        _run_until_signal(server, listener, service)
    return port


def _serve_on_ray(args: ServeOptions, settings: ServiceSettings, console: Console) -> int:
    """Serve from replicas on a cluster until a signal, at an address that is free; the port."""
    with open_socket(settings) as listener:
        host, port = listener.getsockname()[:2]
    with cluster.run_on_cluster(args, settings, port):
        console.log(f"{settings.alias} is served on http://{host}:{port}/v1")
        _catch_signals().wait()
        console.log("no new requests; those that were begun have until the end of --drain")
    return port


def _run_until_signal(server: uvicorn.Server, listener: socket.socket, service: Service) -> None:
    """Run the server in a thread. On a signal the service is not ready first, then it stops.

    Requests that have not ended by the time to drain are ended with an answer that says so. Raises
    ServerFailed if it never served.
    """
    signalled = _catch_signals()
    thread = threading.Thread(target=server.run, args=([listener],), name="server")
    thread.start()
    while thread.is_alive() and not signalled.wait(POLL):
        pass
    service.draining = True
    time.sleep(NOTICE if thread.is_alive() else 0)
    server.should_exit = True
    thread.join(service.settings.drain)
    if thread.is_alive():
        service.end_requests()
    thread.join()
    if not server.started:
        raise ServerFailed("the service could not start: the log above says why")


def _catch_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set."""
    event = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: event.set())
    return event
