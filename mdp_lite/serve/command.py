"""`mdp-lite serve`: a server in this process, or replicas on a Ray cluster, and how they stop."""

import signal
import socket
import threading
import time
from argparse import Namespace

import uvicorn

from mdp_lite.cli.console import Console
from mdp_lite.cli.loading import open_editor_in_thread
from mdp_lite.editor import Editor
from mdp_lite.serve import cluster
from mdp_lite.serve.app import Page, application, paged
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import Settings, checked
from mdp_lite.serve.words import log_requests, settings_of

NOTICE = 1.0  # seconds between "not ready" and no new connections
POLL = 0.1


def serve(args: Namespace, console: Console, page: Page | None = None) -> Made:
    """Serve until SIGTERM or Ctrl-C, with a page if one is given.

    A dry run checks all but the address.
    """
    spread = args.engine == "ray"
    if spread:
        cluster.check_ray()
    args = cluster.sized(args) if spread else _alone(args)
    settings = checked(settings_of(args))
    if page:
        _suits_page(settings, spread)
    here = {"device": "cpu"} if spread and not args.dry_run else {}  # it edits nothing itself
    editor = open_editor_in_thread(Namespace(**vars(args) | here))
    for note in editor.models.notes:
        console.log(note)
    name = editor.models.name
    data = {"command": "serve", "dry_run": args.dry_run, "model": name}
    if args.dry_run:
        return Made({}, data, ["would serve " + name])
    if spread:
        del editor
        port = _serve_spread(args, settings, console)
    else:
        port = _serve_here(args, editor, settings, console, page)
    return Made({}, data | {"port": port}, ["stopped"])


def listening(settings: Settings) -> socket.socket:
    """The socket, or a ValueError that says why there is none."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        at = socket.create_server((settings.host, settings.port), family=family, backlog=512)
        # Connections inherit it. asyncio sets it only where the socket names its protocol, and
        # without it the end of an answer waits 40 ms for the client to acknowledge its beginning.
        at.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return at
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise ValueError(f"can't listen on {where}: {error.strerror or error}") from None


def _suits_page(settings: Settings, spread: bool) -> None:
    """A ValueError where the page would be a way round what the service is told to ask."""
    for name, given in (("API keys", settings.keys), ("a safety hook", settings.safety_hook)):
        if given:
            raise ValueError(f"the page knows nothing of {name}: leave out that or --app")
    if spread:
        raise ValueError("--app is for one process, got it with --engine ray")


def _alone(args: Namespace) -> Namespace:
    """The same, if it says nothing that is for a cluster."""
    for name in cluster.SIZES:
        if (value := getattr(args, name)) is not None:
            option = name.replace("_", "-")
            raise ValueError(f"{option} is for --engine ray, got {value} without it")
    return args


def _serve_here(
    args: Namespace, editor: Editor, settings: Settings, console: Console, page: Page | None
) -> int:
    """Serve from this process; the port."""
    app = application(editor, settings)
    with paged(app, page) as whole, listening(settings) as at:
        config = uvicorn.Config(
            whole, log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=int(settings.drain),
            limit_concurrency=4 * settings.limits.requests,
        )  # fmt: skip
        host, port = at.getsockname()[:2]
        console.log(f"{settings.alias} is served on http://{host}:{port}/v1")
        log_requests(args.quiet)
        _until_told(uvicorn.Server(config), at, app.state.service)
    return port


def _serve_spread(args: Namespace, settings: Settings, console: Console) -> int:
    """Serve from replicas on a cluster, which take the address once it is known to be free."""
    with listening(settings) as at:
        host, port = at.getsockname()[:2]
    with cluster.running(args, settings, port):
        console.log(f"{settings.alias} is served on http://{host}:{port}/v1")
        _signalled().wait()
        console.log("no new requests; those that were begun have until the end of --drain")
    return port


def _until_told(server: uvicorn.Server, at: socket.socket, service: Service) -> None:
    """Run the server in a thread; on a signal first say "not ready", then stop."""
    told = _signalled()
    thread = threading.Thread(target=server.run, args=([at],), name="server")
    thread.start()
    while thread.is_alive() and not told.wait(POLL):
        pass
    service.draining = True
    time.sleep(NOTICE if thread.is_alive() else 0)
    server.should_exit = True
    thread.join()


def _signalled() -> threading.Event:
    """What is set as SIGTERM or Ctrl-C comes."""
    told = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: told.set())
    return told
