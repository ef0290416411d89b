"""What a request comes down to: one source, or one picture of it, made in a thread of its own."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.method.ddim import aimed
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.preview import preview
from mdp_lite.pipeline.provenance import describe_edit, describe_source
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Cost, Source
from mdp_lite.serve.fields import Steering, SweepFields

Size = tuple[int, int] | None
Tell = Callable[[Image.Image], None]  # of a preview, from the thread that works


class Drawn(NamedTuple):
    """A source from a prompt and a seed; what is None is the model's default."""

    prompt: str
    seed: int
    steps: int | None
    guidance: float | None
    negative: str
    size: Size


class Inverted(NamedTuple):
    """A source from an RGB picture."""

    picture: Image.Image
    prompt: str
    how: Inversion
    steps: int | None
    guidance: float | None
    negative: str
    size: Size
    fit: str


Origin = Drawn | Inverted | Source


def held(origin: Origin) -> int:
    """Bytes of the picture that it comes with."""
    return 3 * origin.picture.width * origin.picture.height if isinstance(origin, Inverted) else 0


class Steered(NamedTuple):
    """Where an edit is to lead, and how; end is by the monotonic clock."""

    prompt: str
    by: Steering
    guidance: float | None
    negative: str | None
    mask: Image.Image | None = None
    end: float | None = None
    previews: int = 0


class Made(NamedTuple):
    """A picture, with what it was made with and what it cost, and how long each stage took."""

    image: Image.Image
    settings: dict[str, Any]
    cost: Cost
    seed: int | None
    truncated: bool
    finished: bool
    seconds: dict[str, float]


def source_of(editor: Editor, origin: Origin) -> Source:
    """The source, made unless it is there."""
    if isinstance(origin, Source):
        return origin
    width, height = origin.size or (None, None)
    settings = origin.steps, origin.guidance, origin.negative, width, height
    if isinstance(origin, Drawn):
        return editor.generate(origin.prompt, origin.seed, *settings)
    given = origin.guidance if METHODS[origin.how.method].repeats else None
    picture, prompt, how = origin.picture, origin.prompt, origin.how
    return editor.invert(picture, prompt, how, settings[0], given, *settings[2:], origin.fit)


def edited(editor: Editor, origin: Origin, to: Steered, tell: Tell) -> Made:
    """An edit, with previews on its way; at its end in time it is the best so far."""
    started = time.monotonic()
    source = source_of(editor, origin)
    there = time.monotonic()
    left = None if to.end is None else max(to.end - there, 1e-3)
    at = None
    for done, (_, _, _, (at,)) in enumerate(editor.steps([request(source, to)], 0, left), 1):
        if due(done, len(at.task.plan.legs), to.previews):
            tell(source.frame.undone(editor.preview(at), source.picture))
    assert at is not None  # a path has at least one step
    made = editor.result(at)
    seconds = {"invert": there - started, "edit": time.monotonic() - there}
    cost = made.cost if isinstance(origin, Source) else total(source.cost, made.cost)
    settings = describe_edit(editor.models.name, source, made, asked(to))
    cut = source.truncated or made.truncated
    return Made(made.picture, settings, cost, seed_of(source), cut, made.finished, seconds)


def drawn(editor: Editor, origin: Drawn, previews: int, tell: Tell) -> Made:
    """A picture from a prompt and a seed."""
    started, grid, codec = time.monotonic(), editor.runner.grid(origin.steps), editor.runner
    before: list[Tensor] = []

    def on_step(done: int, steps: int, x: Tensor) -> None:
        if before and due(done, steps, previews):
            x0 = aimed(before[0], x, grid.a[done - 1], grid.b[done - 1])
            tell(preview(codec.colours, x0, codec.factor))
        before[:] = [x]

    width, height = origin.size or (None, None)
    source = editor.generate(
        origin.prompt, origin.seed, origin.steps, origin.guidance, origin.negative, width, height,
        on_step,
    )  # fmt: skip
    seconds = {"generate": time.monotonic() - started}
    settings = describe_source(editor.models.name, source)
    return Made(source.image, settings, source.cost, source.seed, source.truncated, True, seconds)


def swept(
    editor: Editor, source: Source, fields: SweepFields, most: int
) -> tuple[list[Made], Cost]:
    """Every cell of a sweep, and what all cost together."""
    started = time.monotonic()
    done = editor.sweep(
        source, fields.prompts, fields.variants, fields.windows, fields.schedules,
        fields.guidance_scales, most,
    )  # fmt: skip
    seconds = {"edit": time.monotonic() - started}
    made = [
        Made(
            one.picture, describe_edit(editor.models.name, source, one, cell(of)), one.cost, seed_of(source),
            source.truncated or one.truncated, True, seconds,
        )
        for of, one in zip(done.cells, done.edits, strict=True)
    ]  # fmt: skip
    return made, done.cost


def due(done: int, total: int, previews: int) -> bool:
    """Whether a preview is, so many spread evenly over all that is to do."""
    last, now = ((previews + 1) * k // total for k in (done - 1, done))
    return last < now <= previews


def request(source: Source, to: Steered) -> Request:
    """The edit as the core takes it."""
    by, mask = to.by, "auto" if to.by.mask_auto else to.mask
    return Request(
        source, to.prompt, by.variant, by.t_max, by.t_m, by.schedule, by.strength, None,
        to.guidance, to.negative, mask, True, by.feather, by.proximal,
    )  # fmt: skip


def cell(of: Request) -> dict[str, Any]:
    """What tells a cell of a sweep from the others."""
    names = ("variant", "t_max", "t_m", "schedule")
    return {name: getattr(of, name) for name in names}


def asked(to: Steered) -> dict[str, Any]:
    """The settings of an edit that its picture tells of."""
    names = ("t_max", "t_m", "schedule", "strength", "proximal")
    return {name: getattr(to.by, name) for name in names}


def seed_of(source: Source) -> int | None:
    """The seed that a source was made with, if any."""
    return source.seed if source.how is None else source.how.seed
