"""How cost grows: edits of one source, and sweeps over windows; the bundled model in float32.

    python -m pytest benchmarks/test_growth.py --benchmark-enable -s -m ""

Each point is the seconds of n edits: with the time of the source (edits), or of a source that is
already computed (sweeps). The naive flow is `diffusers_edit.py`, one edit after the other. The
slope, seconds for one more edit, is that of a least-squares line; its ratio has an interval over
rounds.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from benchmarks import diffusers_edit as script
from benchmarks.record import Recorder
from benchmarks.sides import Model, engines, model_of, ours
from mdp_lite import Editor
from mdp_lite.eval.rounds import gate, ratio
from mdp_lite.method.schedule import paper_window

PROMPT, SEED, GUIDANCE = "a red house on the grass", 7, 4.0
THINGS = ("house", "tent", "boat", "tree", "car", "tower", "barn", "bridge")
TARGETS = [f"a {c} {thing} on the grass" for thing in THINGS
           for c in ("blue", "green", "yellow", "orange")]  # fmt: skip
EDITS = (1, 2, 4, 8, 16, 32)
WINDOWS = [(t_max, t_m) for t_m in range(20, 31) for t_max in range(44, 51)]
SWEEPS = (1, 7, 21, 77)
BOUND, ROUNDS = 1e-3, 3
Side = Callable[[int], list[torch.Tensor]]  # n edits -> their latents


def slope(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of the least-squares line."""
    n, s = (torch.tensor(values, dtype=torch.float64) for values in (counts, seconds))
    n = n - n.mean()
    return float((n * s).sum() / (n * n).sum())


def measure_growth(
    recorder: Recorder, section: str, sides: dict[str, Side], counts: Sequence[int]
) -> None:
    """Check all outputs, then time every count in each round; store seconds, slopes and ratios."""
    outputs = {name: torch.cat(run(counts[1])) for name, run in sides.items()}
    errors = gate(outputs, outputs["naive"], dict.fromkeys(sides, BOUND))
    seconds: dict[str, list[list[float]]] = {name: [] for name in sides}
    for i in range(recorder.rounds or ROUNDS):
        for name in sides:
            seconds[name].append([])
        for n in counts:
            for name in list(sides)[:: -1 if i % 2 else 1]:
                begun = time.perf_counter()
                sides[name](n)
                seconds[name][-1].append(time.perf_counter() - begun)
    slopes = {name: [slope(counts, row) for row in rows] for name, rows in seconds.items()}
    ours, naive = sides
    figures = {"counts": counts, "seconds": seconds, "slopes": slopes, "errors": errors}
    by_slope = ratio(slopes[naive], slopes[ours])._asdict()
    by_last = ratio(
        [row[-1] for row in seconds[naive]], [row[-1] for row in seconds[ours]]
    )._asdict()
    ratios = {"slope, naive / mdp_lite": by_slope, f"{counts[-1]} edits, naive / mdp_lite": by_last}
    recorder.store(section, {**figures, "bound": BOUND, "ratios": ratios})


def parts(tmp_path_factory) -> tuple[Model, Editor, script.Parts]:
    model = model_of("tiny", tmp_path_factory.mktemp("models"), torch.device("cpu"))
    (mode,) = engines(model.device, False)
    return model, ours(model, torch.float32, [mode])[mode], script.load(model.folder, torch.float32)


def naive(
    p: script.Parts, path: script.Source, edits: Sequence[tuple[str, range]]
) -> list[torch.Tensor]:
    """Make the edits one after the other, each with its picture."""
    latents = [script.edit(p, path, target, window, GUIDANCE) for target, window in edits]
    for latent in latents:
        script.picture(p, latent)
    return latents


def test_edits_of_one_source(benchmark, recorder: Recorder, tmp_path_factory, steps) -> None:
    _, editor, p = parts(tmp_path_factory)

    def by_us(n: int) -> list[torch.Tensor]:
        source, window = editor.generate(PROMPT, SEED, steps, GUIDANCE), paper_window(steps)
        return [editor.edit(source, t, "epsilon", *window).latent for t in TARGETS[:n]]

    def by_them(n: int) -> list[torch.Tensor]:
        path = script.source(p, PROMPT, script.noise(p, SEED), steps, GUIDANCE)
        script.picture(p, path.latent)
        return naive(p, path, [(target, script.window_of(steps)) for target in TARGETS[:n]])

    measure_growth(recorder, "growth of edits tiny", {"mdp_lite": by_us, "naive": by_them}, EDITS)
    benchmark.pedantic(partial(by_us, 1), rounds=1)


def test_sweeps(benchmark, recorder: Recorder, tmp_path_factory) -> None:
    """Windows of 50 steps; mdp_lite computes their common steps once."""
    _, editor, p = parts(tmp_path_factory)
    source = editor.generate(PROMPT, SEED, 50, GUIDANCE)
    path = script.source(p, PROMPT, script.noise(p, SEED), 50, GUIDANCE)

    def by_us(n: int) -> list[torch.Tensor]:
        swept = editor.sweep(source, TARGETS[0], windows=WINDOWS[:n])
        return [one.latent for one in swept.edits]

    def by_them(n: int) -> list[torch.Tensor]:
        rows = [range(50 - t_max, 50 - t_max + t_m) for t_max, t_m in WINDOWS[:n]]
        return naive(p, path, [(TARGETS[0], window) for window in rows])

    measure_growth(recorder, "growth of sweeps tiny", {"mdp_lite": by_us, "naive": by_them}, SWEEPS)
    benchmark.pedantic(partial(by_us, SWEEPS[1]), rounds=1)
