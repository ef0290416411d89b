"""A pool of editors for a program without a service; its loop runs in another thread."""

import asyncio
import concurrent.futures as futures
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from mdp_lite.editor import Editor
from mdp_lite.model_pool.catalog import ModelCatalog, choose_room, list_pairs
from mdp_lite.model_pool.keys import ModelKey, ModelSlot
from mdp_lite.model_pool.lending import ModelLender
from mdp_lite.model_pool.pool import ModelPool
from mdp_lite.model_pool.specs import ModelSpec


@dataclass(frozen=True)
class PoolSettings:
    """Which models a program offers, and how much memory their weights may take.

    alias and first are the first model, which stays loaded; others are loaded when one is needed.
    model_memory: bytes of the weights of all loaded ones. model_seconds: for which an unused one
    stays loaded. grows: whether more models may be added to the catalog later.
    """

    alias: str
    first: ModelSpec
    others: tuple[ModelSpec, ...] = ()
    model_memory: int | None = None
    model_seconds: float = 600.0
    grows: bool = False
    lora_folder: Path | None = None
    lora_sets: int = 0


class PooledEditor:
    """An editor of a pool."""

    def __init__(self, editor: Editor, key: ModelKey, slot: ModelSlot) -> None:
        self.editor, self.key, self.slot = editor, key, slot

    def unload(self) -> None:
        """Let go of its weights, also if a thread still has this object."""
        del self.editor


class EditorLoader(ModelCatalog):
    """The catalog of a program's models, which also loads them."""

    def load(self, key: ModelKey, slot: ModelSlot) -> PooledEditor:
        """The model, with its VAE run once and its previews' map fitted."""
        editor = self.specs[key.alias].load(list_pairs(key))
        prepare_editor(editor)
        return PooledEditor(editor, key, slot)


def prepare_editor(editor: Editor) -> None:
    """Run the VAE once and fit the preview map, so that nobody waits for it later."""
    runner = editor.runner
    runner.encode(runner.decode(0 * runner.noise(0, *runner.size)))
    _ = runner.preview_map


@contextmanager
def run_pool(editor: Editor, settings: PoolSettings) -> Iterator[ModelLender[PooledEditor]]:
    """A lender of the models of the settings, of which editor is the first.

    Raises BadCheckpoint for a model that can't be loaded, BadInput for one that can never fit.
    """
    loader, first = EditorLoader(editor, settings), ModelKey(settings.alias)
    bound = loader.bound
    if settings.grows:
        own = loader.facts[settings.alias].bytes
        bound = choose_room(settings.model_memory, own, editor.device)
    pool = ModelPool(PooledEditor(editor, first, ModelSlot()), loader, settings, bound)
    with _run_loop() as loop:
        yield ModelLender(lambda: loop, pool, loader, lambda one: nullcontext(one.editor))


@contextmanager
def _run_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop in a thread; when the context ends, its tasks are cancelled and the thread ends."""
    started, end = futures.Future[asyncio.AbstractEventLoop](), asyncio.Event()

    async def run() -> None:
        started.set_result(asyncio.get_running_loop())
        await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="models", daemon=True)
    thread.start()
    loop = started.result()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
