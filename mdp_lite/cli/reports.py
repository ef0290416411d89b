"""What the sub-commands of mdp-lite tell: settings of pictures, costs, and what they made."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.pictures.sheets import Row
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.pipeline.result import Cost, Edit, Source
from mdp_lite.version import __version__

Settings = dict[str, Any]


class Made(NamedTuple):
    """What a command made: files to write, an object for machines, lines for people.

    failed says that not all that was asked for was made.
    """

    pictures: dict[Path, tuple[Image.Image, Settings]]
    data: Settings
    lines: list[str]
    others: tuple[tuple[Path, bytes], ...] = ()
    failed: bool = False


def report(pictures: dict[Path, tuple[Image.Image, Settings]], cost: Cost, truncated: bool) -> Made:
    """Pictures with the settings of the first, the cost and whether a prompt was cut."""
    _, settings = next(iter(pictures.values()))
    data = {
        "settings": settings,
        "seed": settings["seed"],
        "cost": cost._asdict(),
        "truncated": truncated,
    }
    back = f", {cost.backward_rows} of them backward too" if cost.backward_rows else ""
    line = f"cost: {cost.unet_rows} UNet rows in {cost.unet_calls} calls{back}"
    return Made(pictures, data, [line])


def describe(editor: Editor, source: Source) -> Settings:
    """What a source was made with; never a path of this machine."""
    return {
        "prompt": source.prompt,
        "negative_prompt": source.negative_prompt,
        "num_inference_steps": len(source.grid.t),
        "guidance_scale": source.guidance_scale,
        "seed": source.seed,
        "method": source.method,
        **({"inversion": settings_of(source.how)} if source.how else {}),
        "sampler": "DDIM",
        "size": "x".join(map(str, source.image.size)),
        "fit": source.frame.fit,
        "model": editor.models.name,
        "version": f"mdp_lite {__version__}",
        "ai_generated": True,
    }


def settings_of(how: Inversion) -> Settings:
    """The settings of an inversion beside its name."""
    return {k: v for k, v in asdict(how).items() if k != "method" and v is not None}


def describe_edit(editor: Editor, source: Source, one: Edit, asked: Settings) -> Settings:
    """What an edit was made with; weights are the columns of its table that are not all 0.

    Of a table of maps, as a mask makes it, they are those where the edit is strongest.
    """
    columns = one.weights._asdict().items()
    least = {key: w.flatten(1).amin(1) if w.ndim > 1 else w for key, w in columns}
    return {
        **describe(editor, source),
        "prompt": one.prompt,
        "source_prompt": source.prompt,
        "guidance_scale": one.guidance_scale,
        "source_guidance_scale": source.guidance_scale,
        "variant": one.variant,
        **{key: value for key, value in asked.items() if value is not None},
        **({} if one.finished else {"finished": False}),
        "weights": {key: column.tolist() for key, column in least.items() if column.any()},
    }


def row_of(source: Source, edits: list[Edit]) -> Row:
    """Before and after, labelled."""
    kind = f"seed {source.seed}" if source.method == "generate" else "picture"
    before = [(f"{kind}: {source.prompt}".removesuffix(": "), source.picture)]
    where = [("mask", one.mask) for one in edits[:1] if one.mask]
    after = [(f"{one.variant}: {one.prompt}", one.picture) for one in edits]
    return [*before, *where, *after]


def total(*costs: Cost) -> Cost:
    """The sum of several costs."""
    return Cost(*map(sum, zip(*costs, strict=True)))


def named(path: Path, ending: str) -> Path:
    """edited.png, ".sheet" -> edited.sheet.png."""
    return path.with_name(f"{path.stem}{ending}{path.suffix}")
