"""What gradio would leave open: an event loop for each of its locks, sockets of busy ports."""

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

from mdp_lite.names import BadInput

T = TypeVar("T")
PORTS = range(7860, 7960)  # that the page tries, as gradio does


def call_in_loop(function: Callable[[], T]) -> T:
    """Call a function while an event loop runs in this thread, so that gradio makes no others.

    Each of gradio's would leave three open descriptors until the garbage collection.
    """

    async def call() -> T:
        return function()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        return function()
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(call())
    finally:
        loop.close()


def find_port(host: str, port: int | None) -> int:
    """The port itself, or the first free one of PORTS. Raises BadInput if none can be used.

    gradio looks for one, too, and leaves a socket open for each port that is in use.
    """
    error: OSError | None = None
    for one in PORTS if port is None else (port,):
        error = next(filter(None, (_try_port(name, one) for name in {host, "127.0.0.1"})), None)
        if error is None:
            return one
    where = f"{host}:{port}" if port else f"ports {PORTS[0]} to {PORTS[-1]} of {host}"
    raise BadInput(f"can't listen on {where}: {error}")


def _try_port(host: str, port: int) -> OSError | None:
    """Why a server can't listen on a port, or None."""
    bare = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((bare, port))
        except OSError as error:
            return error
    return None
