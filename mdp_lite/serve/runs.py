"""How a request is computed: for a client that waits, as part of a job, or only checked.

The handlers of requests are the same for all three. What differs is here.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from PIL import Image

from mdp_lite.batcher.batcher import Client
from mdp_lite.batcher.turns import Share
from mdp_lite.serve.memory import lease_of
from mdp_lite.serve.served import ServedModel
from mdp_lite.serve.service import Service

T = TypeVar("T")


class CheckEnd(Exception):
    """A request was checked and is fine: it would be admitted now, with this work in FLOPs."""

    def __init__(self, work: int) -> None:
        super().__init__(f"a request of {work} FLOPs is fine")
        self.work = work


class RequestRun:
    """One run of a request. is_check: it ends by CheckEnd, before any work.

    share: its turns at the models, which its tasks have together. work are its FLOPs once it is
    admitted; on_preview(image, context) is called with its previews, in a worker thread.
    """

    def __init__(self, share: Share, is_job: bool = False, is_check: bool = False) -> None:
        self.is_job, self.is_check, self.share = is_job, is_check, share
        self.work, self._clients = 0, list[Client]()
        self.preview: tuple[Image.Image, Any] | None = None  # the newest, with its RequestContext

    def make_client(self) -> Client:
        """A client of the batcher for a task of the request."""
        client = Client(None, self.share)
        self._clients.append(client)
        return client

    @property
    def progress(self) -> float:
        """The part of the work that UNet calls have done, from 0 to 1."""
        done = sum(one.work for one in self._clients)
        return min(1.0, done / self.work) if self.work else 0.0


def run_of(request: Request) -> RequestRun:
    """The run of a request; that of a client that waits if nothing else was said."""
    state, service = request.scope["state"], request.app.state.service
    if "run" not in state:
        state["run"] = RequestRun(service.users.open_share(request))
    return state["run"]


def admit(
    request: Request, service: Service, work: int, start: Callable[[], Coroutine[Any, Any, T]],
    model: ServedModel, is_part: bool = False,
) -> "asyncio.Task[T]":  # fmt: skip
    """Admit the work of a request: see Service.admit. A check ends here with CheckEnd.

    is_part: the request goes on after this work, so a check of it does the work too.
    """
    run = run_of(request)
    run.work = work
    if run.is_check and not is_part:
        service.check_work(work, model)
        raise CheckEnd(work)
    return service.admit(work, lease_of(request), start, model)
