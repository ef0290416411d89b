"""The work of a tool: admitted and run by the service, with progress, cancelled with its call."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import anyio
from mcp.server.session import ServerSession

from mdp_lite.batcher.batcher import Client
from mdp_lite.editor import Editor
from mdp_lite.mcp_server.calls import ToolCall
from mdp_lite.pipeline.sources import OnStep

T = TypeVar("T")


class StepReport(NamedTuple):
    """Steps done so far; total is None as long as another stage follows."""

    done: int
    total: int | None
    text: str


class ProgressSender:
    """Sends the steps of a worker thread to the client, in their order, from the loop."""

    def __init__(self, session: ServerSession) -> None:
        self._session, self._loop = session, asyncio.get_running_loop()
        self._reports: asyncio.Queue[StepReport | None] = asyncio.Queue()
        self._earlier = 0  # steps of earlier stages

    def open_stage(self, text: str, is_last: bool = True) -> OnStep:
        """The on_step function of a stage, for the worker thread."""
        start = self._earlier

        def on_step(done: int, total: int, latent: Any) -> None:
            self._earlier = start + done
            report = StepReport(
                start + done, start + total if is_last else None, f"{text}: step {done} of {total}"
            )
            self._loop.call_soon_threadsafe(self._reports.put_nowait, report)

        return on_step

    def end(self) -> None:
        """Let send return once it has sent what there is."""
        self._reports.put_nowait(None)

    async def send(self) -> None:
        """Send reports until the end."""
        while (report := await self._reports.get()) is not None:
            await self._session.report_progress(report.done, report.total, report.text)


async def run_work(
    call: ToolCall, cost: int, working_bytes: int, work: Callable[[Editor, ProgressSender], T],
    end: float | None,
) -> tuple[T, float]:  # fmt: skip
    """The result of work in a worker thread, and the seconds that it waited.

    cost: its FLOPs; working_bytes: what it takes while it runs; end: its deadline on the monotonic
    clock. Cancelling stops it after the UNet call that runs. Raises ApiError if it is refused.
    """
    sender, service = ProgressSender(call.session), call.service
    call.lease.plan(working_bytes)

    async def run() -> tuple[T, float]:
        with call.lease.room(working_bytes) as room:
            client, start = Client(None, call.share), lambda one: work(one, sender)
            return await service.run_task(cost, start, end, client, room=room)

    task = service.admit(cost, call.lease, run)
    sending = asyncio.create_task(sender.send())
    try:
        result = await asyncio.shield(task)
        sender.end()
        await asyncio.wait({sending})
        return result
    finally:
        if not task.done():
            service.metrics.cancelled.inc()
        task.cancel()
        sending.cancel()
        with anyio.CancelScope(shield=True):  # else anyio would cancel this waiting again and again
            await asyncio.gather(task, sending, return_exceptions=True)
