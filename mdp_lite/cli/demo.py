"""`mdp-lite demo`: a generated and a real picture, edited by all variants, on one sheet."""

import json
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mdp_lite.cli.commands.demo import DemoOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.reports import Pictures, Report, build_report, build_sheet_row
from mdp_lite.editor import Edit, Editor, Source
from mdp_lite.method.schedule import paper_window
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images
from mdp_lite.pictures.sheets import sheet
from mdp_lite.pipeline.provenance import Settings, describe_edit, describe_source
from mdp_lite.pipeline.result import add_costs

SEED, STEPS = 7, 30
SCHEDULE = "cosine"  # with constant weights, c and beta give the same picture


class DemoExample(NamedTuple):
    """Two pairs of a source prompt and a target: of a generated picture, and of a given one."""

    synthetic: tuple[str, str]
    real: tuple[str, str]
    picture: Path


def read_example(folder: Path | None) -> DemoExample:
    """The example that lies beside a bundled model: example.json and example.png."""
    place = folder or Path()
    pairs = json.loads((place / "example.json").read_text("utf-8"))
    synthetic, real = ((pairs[case][0], pairs[case][1]) for case in ("synthetic", "real"))
    return DemoExample(synthetic, real, place / "example.png")


def make_demo(args: DemoOptions, editor: Editor, console: Console) -> Report:
    """Edit both sources with all four variants: one sheet, and every picture by itself."""
    t_max, t_m = paper_window(STEPS)
    window: Settings = {"t_max": t_max, "t_m": t_m, "schedule": SCHEDULE}
    example = read_example(editor.models.folder)
    sources = {
        "synthetic": _generate_example(editor, example, console),
        "real": _invert_example(editor, example, console),
    }
    targets = {"synthetic": example.synthetic[1], "real": example.real[1]}
    pictures: Pictures = {}
    rows, costs = [], [source.cost for source in sources.values()]
    for case, source in sources.items():
        edits = []
        for variant in VARIANTS:
            with console.progress(f"{case} {variant}") as on_step:
                edits.append(editor.edit(source, targets[case], variant, **window, on_step=on_step))
        pictures |= _name_pictures(args.output / case, editor.models.name, source, edits, window)
        rows.append(build_sheet_row(source, edits))
        costs += [one.cost for one in edits]
    page = args.output / "sheet.png"
    pictures[page] = (sheet(rows), describe_source(editor.models.name, sources["synthetic"]))
    report = build_report(pictures, add_costs(*costs), False)
    return report._replace(lines=[*report.lines, f"before and after: {page}"])


def _generate_example(editor: Editor, example: DemoExample, console: Console) -> Source:
    with console.progress("generate") as on_step:
        return editor.generate(example.synthetic[0], SEED, STEPS, on_step=on_step)


def _invert_example(editor: Editor, example: DemoExample, console: Console) -> Source:
    picture = images.open_picture(example.picture)
    with console.progress("invert") as on_step:
        return editor.invert(picture, example.real[0], "replay", STEPS, on_step=on_step)


def _name_pictures(
    prefix: Path, model: str, source: Source, edits: list[Edit], window: Settings
) -> Pictures:
    """The pictures of a source and its edits, by path: prefix-source.png, prefix-epsilon.png."""
    named: dict[str, tuple[Image.Image, Settings]] = {
        "source": (source.image, describe_source(model, source)),
        **{e.variant: (e.image, describe_edit(model, source, e, window)) for e in edits},
    }
    return {prefix.with_name(f"{prefix.name}-{k}.png"): one for k, one in named.items()}
