"""What `mdp-lite bench inversion` does: every inversion on the same drawn pictures, as tables."""

import json
import statistics
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mdp_lite import __version__, atomic
from mdp_lite.commands import opened
from mdp_lite.editor import Editor
from mdp_lite.eval.cases import Case
from mdp_lite.eval.inversion_tables import Measured, summary, tables
from mdp_lite.eval.inversions import (
    Row,
    Sections,
    drawn_cases,
    inverted,
    measured,
    own_guidance,
    rows,
    section,
    total,
)
from mdp_lite.eval.reader import SIZE, load_reader
from mdp_lite.eval.resources import Taken, backward_share, taken
from mdp_lite.identity import model_hash
from mdp_lite.inversion import NEVER
from mdp_lite.rehearsal import rehearsal
from mdp_lite.reports import Made, Settings
from mdp_lite.results import Cost
from mdp_lite.sourcing import Talk

ROUNDS = 3  # single pictures that are timed


def bench(args: Namespace, talk: Talk) -> Made:
    """Rehearse all rows, so that bad input is found and the cost is known; then measure them."""
    if args.pictures < 1:
        raise ValueError(f"pictures must be 1 or more, got {args.pictures}")
    editor = opened(Namespace(**vars(args) | {"cache": None}))  # a source from there costs nothing
    chosen = _chosen(rows(editor, args.steps), args.methods)
    cases = drawn_cases(args.pictures)
    settings = _settings(args, editor)
    kept = _kept(args.output, settings)
    for note in editor.models.notes:
        talk.note(note)
    left = {name: row for name, row in chosen.items() if name not in kept}
    most = {name: _most(args, editor, row, cases) for name, row in left.items()}
    data = {"command": "bench", "dry_run": args.dry_run, **settings}
    if args.dry_run:
        costs = {name: cost._asdict() for name, cost in most.items()}
        return Made({}, {**data, "most": costs}, _foretold(most))
    for name, row in sorted(left.items(), key=lambda pair: sum(most[pair[0]])):  # cheap ones first
        kept[name] = _figures(args, editor, name, row, cases, talk)
        _keep(args.output, settings, kept)
    spent = _alone(args, editor, chosen, cases, talk)
    found = {
        name: Measured(kept[name], section(own_guidance(editor, row)), spent[name])
        for name, row in chosen.items()
    }
    codec, tokens = editor.codec, editor.models.text_encoder.config.max_position_embeddings
    cells = SIZE // codec.factor
    share = backward_share(editor.models.unet, cells, cells, tokens)
    told = {"threads": torch.get_num_threads(), "backward_share": share}
    summed = {**settings, **told, "methods": summary(found, share)}
    _keep(args.output, settings, kept, {"summary": summed})
    files = [f"wrote {args.output}"] if args.output else []
    data |= summed | {"files": [str(args.output)] if args.output else []}
    return Made({}, data, [*files, *tables(summed)])


def _chosen(every: dict[str, Row], names: list[str] | None) -> dict[str, Row]:
    for name in names or ():
        if name not in every:
            raise ValueError(f"methods must be of {', '.join(every)}, got {name!r}")
    return {name: row for name, row in every.items() if names is None or name in names}


def _settings(args: Namespace, editor: Editor) -> Settings:
    """What the figures depend on."""
    return {
        "pictures": args.pictures,
        "steps": len(editor.codec.grid(args.steps).t),
        "model": editor.models.name,
        "sha256": model_hash(editor.models.origin),
        "dtype": str(editor.models.origin.dtype).removeprefix("torch."),
        "device": editor.device.type,
        "edit_guidance": editor.models.defaults.guidance_scale,
        "version": __version__,
    }


def _most(args: Namespace, editor: Editor, row: Row, cases: list[Case]) -> Cost:
    """The most that all pictures may cost: the first one's, with models that do nothing."""
    if row.how.method == "null-text":
        row = row._replace(how=replace(row.how, early_stop=NEVER))
    figures = measured(rehearsal(editor), load_reader(), row, cases[:1], args.steps)
    return Cost(*(len(cases) * part for part in total(figures)))


def _foretold(most: dict[str, Cost]) -> list[str]:
    lines = [f"{name}: {_told(cost)}" for name, cost in most.items()]
    return [*lines, f"at most: {_told(Cost(*map(sum, zip(*most.values(), strict=True))))}"]


def _told(cost: Cost) -> str:
    backward = f" and {cost.backward_rows:,} backward" if cost.backward_rows else ""
    return f"{cost.unet_rows:,} UNet rows{backward}"


def _figures(
    args: Namespace, editor: Editor, name: str, row: Row, cases: list[Case], talk: Talk
) -> Sections:
    with talk.watch(name) as on_step:
        found = measured(editor, load_reader(), row, cases, args.steps, on_step)
    talk.note(f"{name}: {len(cases)} pictures, {_told(total(found))}")
    return found


def _alone(
    args: Namespace, editor: Editor, chosen: dict[str, Row], cases: list[Case], talk: Talk
) -> dict[str, Taken]:
    """Seconds and memory of inverting one picture: the median of some, the methods in turn."""
    every: dict[str, list[Taken]] = {name: [] for name in chosen}
    with talk.watch("alone") as on_step:
        for k, case in enumerate((cases * ROUNDS)[:ROUNDS]):
            for name, row in chosen.items():
                invert = _inversion(editor, row, case, args.steps)
                if not k:
                    invert()  # first calls allocate and choose kernels
                every[name].append(taken(invert, editor.device))
            if on_step:
                on_step(k + 1, ROUNDS)
    return {name: _median(some) for name, some in every.items()}


def _inversion(editor: Editor, row: Row, case: Case, steps: int | None) -> Callable[[], object]:
    return lambda: inverted(editor, row, [case], steps, own_guidance(editor, row))


def _median(some: list[Taken]) -> Taken:
    peaks = [one.peak_bytes for one in some if one.peak_bytes is not None]
    seconds = statistics.median(one.seconds for one in some)
    return Taken(seconds, int(statistics.median(peaks)) if peaks else None)


def _kept(path: Path | None, settings: Settings) -> dict[str, Sections]:
    """The figures in a file of an earlier run, which must have had these settings."""
    if path is None or not path.exists():
        return {}
    try:
        data = json.loads(path.read_text("utf-8"))
        had, figures = data["settings"], data["figures"]
    except (ValueError, KeyError, TypeError, OSError):
        raise ValueError(
            f"output must hold figures of this command, {path.name} has none"
        ) from None
    for key, value in settings.items():
        if had.get(key) != value:
            raise ValueError(
                f"{path.name} has figures of {key} {had.get(key)!r}, got {value!r}: "
                "give another output"
            )
    return _with_nan(figures)


def _keep(
    path: Path | None, settings: Settings, kept: dict[str, Sections], more: Settings | None = None
) -> None:
    if path is not None:
        data = {"settings": settings, **(more or {}), "figures": _without_nan(kept)}
        atomic.write(path, (dumped(data) + "\n").encode())


def dumped(data: Any, indent: str = "") -> str:
    """JSON with a line for every list and every innermost object."""
    if not isinstance(data, dict) or not any(isinstance(v, dict | list) for v in data.values()):
        return json.dumps(data, allow_nan=False)
    deeper = indent + " "
    parts = [f"{deeper}{json.dumps(key)}: {dumped(v, deeper)}" for key, v in data.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def _without_nan(data: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(data, dict):
        return {key: _without_nan(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_without_nan(value) for value in data]
    return None if isinstance(data, float) and data != data else data


def _with_nan(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _with_nan(value) for key, value in data.items()}
    return [torch.nan if value is None else value for value in data]
