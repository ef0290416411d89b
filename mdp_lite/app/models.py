"""The models that a page offers: what is known of each, and lending one to a run."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import NamedTuple

from mdp_lite.app.streaming import OnProgress, RunProgress
from mdp_lite.app.wording import say
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.editor import Editor
from mdp_lite.model_pool.dry_models import open_dry_editor
from mdp_lite.model_pool.lending import ModelLender, OnWait
from mdp_lite.model_pool.specs import ModelSummary, read_editor_facts
from mdp_lite.names import BadInput

Lend = Callable[[], AbstractContextManager[Editor]]
LendModel = Callable[[OnWait], AbstractContextManager[Editor]]


class ModelChoice(NamedTuple):
    """A model as a visitor sees it. size is (width, height) in pixels; state is as in the pool.

    disk_bytes are those of its files, bytes those of its weights in memory. pictures and words are
    what it knows: the kind of its pictures, and how many words; "" and 0 if it does not say.
    """

    alias: str
    name: str
    family: str
    size: tuple[int, int]
    disk_bytes: int
    bytes: int
    state: str
    pictures: str
    words: int


class PageModel:
    """One model of the page, loaded or not: what forms, forecasts and runs need of it.

    facts are what is known of it without its weights.
    """

    def __init__(
        self, alias: str, facts: ModelSummary, open_dry: Callable[[], Editor], lend: LendModel,
        find_state: Callable[[], str] = lambda: "loaded",
    ) -> None:  # fmt: skip
        self.alias, self.facts = alias, facts
        self._open_dry, self._lend, self._find_state = open_dry, lend, find_state
        self._seconds_per_row = 0.0  # 0 before the first run

    @cached_property
    def dry_editor(self) -> Editor:
        """The model with parts that compute nothing: its defaults, sizes, words and costs.

        Raises BadCheckpoint for a model whose files are broken.
        """
        return self._open_dry()

    @property
    def reads_xl(self) -> bool:
        """Whether the model is SDXL: it reads a second prompt, and sizes."""
        return self.dry_editor.models.unet.config.pooled_dim > 0

    @property
    def choice(self) -> ModelChoice:
        """The model as a visitor sees it now."""
        facts, state = self.facts, self._find_state()
        disk = sum(one.size for one in facts.origin.files)
        known = facts.knowledge
        return ModelChoice(
            self.alias, facts.origin.name, facts.family, facts.size, disk, facts.bytes, state,
            known.pictures, len(known.words),
        )  # fmt: skip

    def lend(self, on_progress: OnProgress) -> AbstractContextManager[Editor]:
        """The loaded model for one run, which hears what it waits for.

        Raises BadInput if the model can't be loaded.
        """
        size = format_count(self.facts.bytes, SIZES)

        def on_wait(is_reading: bool) -> None:
            key = "loading" if is_reading else "waiting"
            on_progress(RunProgress(say("model", key, name=self.alias, size=size), 0, 0))

        return self._lend(on_wait)

    def record_speed(self, rows: int, seconds: float) -> None:
        """Remember how long a run of so many UNet rows took."""
        if rows:
            self._seconds_per_row = seconds / rows

    def expected_seconds(self, rows: int) -> float | None:
        """How long so many UNet rows will take, at the speed of the last run; None before it."""
        return rows * self._seconds_per_row if self._seconds_per_row else None


Fetch = Callable[[str], PageModel]  # from a hub id


class PageModels:
    """All models of a page by alias; first is the one of visitors who chose none.

    fetch(hub id) gives a further model, if visitors may name models of the hub.
    """

    def __init__(self, models: list[PageModel], fetch: Fetch | None = None) -> None:
        self._models = {one.alias: one for one in models}
        self._fetch = fetch
        self.first = models[0]
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[PageModel]:
        """The models, the first first."""
        with self._lock:
            return iter(list(self._models.values()))

    def __len__(self) -> int:
        return len(self._models)

    def get(self, alias: object) -> PageModel:
        """The model of an alias, which comes from a browser. Raises BadInput."""
        with self._lock:
            found = self._models.get(alias) if isinstance(alias, str) else None
            names = ", ".join(self._models)
        if found is None:
            raise BadInput(f"model must be one of {names}, got {alias!r:.80}", "model")
        return found

    @property
    def can_grow(self) -> bool:
        """Whether visitors may name models of the hub."""
        return self._fetch is not None

    def fetch(self, hub_id: str) -> PageModel:
        """A model of the hub, which all visitors are offered from now on.

        Raises BadInput if the operator did not allow it, and as fetch does.
        """
        if self._fetch is None:
            raise BadInput(say("model", "hub_closed"), "hub")
        with self._lock:
            found = self._models.get(hub_id)
        model = found or self._fetch(hub_id)
        with self._lock:
            return self._models.setdefault(model.alias, model)

    def find_by_name(self, name: object) -> PageModel | None:
        """The model that pictures name so: by the name of its checkpoint, or by its alias."""
        by_name = (one for one in self if one.facts.origin.name == name)
        return next(by_name, None) or next((one for one in self if one.alias == name), None)


def offer_one(editor: Editor, lend: Lend | None = None) -> PageModels:
    """A page of one model, which lend gives to each run; by default that is the editor itself."""
    give: Lend = lend or (lambda: nullcontext(editor))
    facts = read_editor_facts(editor)
    model = PageModel(
        editor.models.name, facts, lambda: dry_run_editor(editor), lambda on_wait: give()
    )
    return PageModels([model])


def offer_several(
    editor: Editor, alias: str, lender: ModelLender, fetch: Fetch | None = None
) -> PageModels:
    """A page of all models of a lender, of which editor is the first; fetch is as in PageModels."""
    others = [name for name in lender.catalog.facts if name != alias]
    first = PageModel(
        alias, lender.catalog.facts[alias], lambda: dry_run_editor(editor),
        lambda on_wait: lender.lend(alias, on_wait),
    )  # fmt: skip
    return PageModels([first, *(build_model(lender, name) for name in others)], fetch)


def build_model(lender: ModelLender, alias: str) -> PageModel:
    """A model of a lender that is loaded when a run needs it."""
    catalog = lender.catalog
    return PageModel(
        alias, catalog.facts[alias], lambda: open_dry_editor(catalog.specs[alias]),
        lambda on_wait: lender.lend(alias, on_wait), lambda: lender.find_state(alias),
    )  # fmt: skip
