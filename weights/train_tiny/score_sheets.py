"""Sheets of pictures of a scoring, to look at beside the figures."""

from pathlib import Path

from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.score import Pictures
from mdp_lite.eval.sweep import EvalCell
from mdp_lite.names import VARIANTS
from mdp_lite.pictures.images import to_image
from mdp_lite.pictures.sheets import Row, sheet

Group = tuple[str, list[EditCase], Pictures]  # suite, first cases of a job, their pictures
ROWS = 2  # of each kind of edit


def write_sheets(groups: list[Group], own: EvalCell, out: Path) -> None:
    """text_to_image.png, and one sheet for every suite of edits."""
    cells = [own._replace(variant=variant).label for variant in VARIANTS]
    edits = ["source", "regenerate", *cells]
    sampled = next((cases, p["generated"]) for suite, cases, p in groups if suite == "text")
    cells_of = [(case.source, to_image(p[None])) for case, p in zip(*sampled, strict=False)]
    save([cells_of[i : i + 4] for i in range(0, 16, 4)], out / "text_to_image.png")
    real = ["picture", "ddim", "regenerate", *cells, f"ddim, {own.label}", "vae of truth", "truth"]
    for suite, columns in (("synthetic", edits), ("real_full", real), ("real_short", real)):
        save(rows(groups, suite, columns), out / f"{suite}.png")


def rows(groups: list[Group], suite: str, columns: list[str]) -> list[Row]:
    """The first edits of each kind."""
    kinds: set[str] = set()
    found = []
    for other, cases, pictures in groups:
        kind = cases[0].kind
        if other == suite and kind not in kinds:
            kinds.add(kind)
            for i, case in enumerate(cases[:ROWS]):
                found.append([(label(c, case), to_image(pictures[c][i : i + 1])) for c in columns])
    return found


def label(column: str, case: EditCase) -> str:
    """The label of a picture; those of the source and of regeneration show the prompt."""
    prompts = {"source": case.source, "picture": case.source, "regenerate": case.target}
    return f"{column}: {prompts[column]}" if column in prompts else column


def save(content: list[Row], path: Path) -> None:
    """Write one sheet as PNG, unless it is empty."""
    content = [row for row in content if row]
    if content:
        sheet(content).save(path)
