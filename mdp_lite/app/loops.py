"""Event loops: gradio makes one for each of its locks where none runs, and closes none of them."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


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
