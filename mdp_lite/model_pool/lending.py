"""Lends the models of a pool to threads, such as those of the page; the pool's loop runs elsewhere.

A lent model stays loaded until its thread gives it back. Threads that want an unloaded one wait
until it is loaded, and are told what they wait for.
"""

import asyncio
import concurrent.futures as futures
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, cast

from mdp_lite.batcher.turns import Group
from mdp_lite.editor import Editor
from mdp_lite.model_pool.catalog import ModelCatalog
from mdp_lite.model_pool.keys import ModelKey
from mdp_lite.model_pool.pool import M, ModelPool
from mdp_lite.names import BadInput, MdpError, Stopped

POLL_SECONDS = 0.2  # how often a thread that waits reports, and notices that it is stopped
OnWait = Callable[[bool], None]  # whether the model is read now; raises to give up
CLOSED = "the server is ending"


class ModelLender(Generic[M]):
    """Lends models by alias; catalog is what is known of each of them.

    find_loop gives the loop of the pool. open_editor makes a context in which a thread may use a
    loaded model.
    """

    def __init__(
        self, find_loop: Callable[[], asyncio.AbstractEventLoop], pool: ModelPool[M],
        catalog: ModelCatalog, open_editor: Callable[[M], AbstractContextManager[Editor]],
    ) -> None:  # fmt: skip
        self._find_loop, self._pool, self.catalog = find_loop, pool, catalog
        self._open_editor = open_editor

    @property
    def bound(self) -> float:
        """Bytes that the weights of all loaded models may take."""
        return self._pool.bound

    @property
    def stays(self) -> int:
        """Bytes of the models that are never unloaded."""
        return self._pool.stays

    def find_state(self, alias: str) -> str:
        """Whether a model is loaded, loading, failed or unloaded."""
        return self._pool.find_state(ModelKey(alias))

    @contextmanager
    def lend(self, alias: str, on_wait: OnWait = lambda is_reading: None) -> Iterator[Editor]:
        """The model of an alias, for the thread that asks. Raises BadInput if it can't be loaded.

        on_wait(is_reading) is called again and again until it is loaded; it may raise to give up.
        """
        key, lent = ModelKey(alias), futures.Future[M]()
        work = self._hold(key, lent)
        try:
            hold = asyncio.run_coroutine_threadsafe(work, self._find_loop())
        except RuntimeError:  # the loop is closed
            work.close()
            raise Stopped(CLOSED) from None
        try:
            with self._open_editor(self._wait(key, lent, hold, on_wait)) as editor:
                yield editor
        finally:
            hold.cancel()  # ends the loan, or the wait for it

    async def _hold(self, key: ModelKey, lent: "futures.Future[M]") -> None:
        """Use the model until this is cancelled."""
        async with self._pool.use(key, Group()) as model:
            lent.set_result(model)
            await asyncio.Event().wait()

    def _wait(
        self, key: ModelKey, lent: "futures.Future[M]", hold: "futures.Future[None]",
        on_wait: OnWait,
    ) -> M:  # fmt: skip
        while not lent.done():
            if hold.done():
                raise _explain(hold)
            if self._pool.find_state(key) != "loaded":
                on_wait(self._pool.is_reading(key))
            futures.wait([cast(Any, lent), hold], POLL_SECONDS, futures.FIRST_COMPLETED)
        return lent.result()


def _explain(hold: "futures.Future[Any]") -> Exception:
    """Why a model was not lent. What the pool raises has a message for the visitor."""
    error = None if hold.cancelled() else hold.exception()
    if error is None:
        return Stopped(CLOSED)
    return error if isinstance(error, MdpError) else BadInput(str(error))
