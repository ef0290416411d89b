"""The time that plans save: an edit against the loop over all steps, and a sweep against edits.

The bundled model on the CPU, fp32, 50 steps, guidance 4. Rounds are interleaved and the order
flips; the ratio is that of the medians. The quality gate comes first: equal latents.
"""

import json
import statistics
import time
from collections.abc import Callable

import pytest
import torch

from mdp_lite import Editor
from mdp_lite.method.sample import sample
from mdp_lite.pipeline.request import build_weights
from mdp_lite.pipeline.result import Edit, Source

TARGET = "a blue house on the grass"
WINDOWS = [(t_max, t_m) for t_max in range(44, 51) for t_m in range(20, 31)]


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor.from_pretrained("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    return editor.generate("a red house on the grass", seed=7)


@torch.no_grad()
def naive(editor: Editor, source: Source, t_max: int = 47, t_m: int = 26) -> torch.Tensor:
    """All steps of one edit, with the encoded prompt and the decoded picture of Editor.edit."""
    n = len(source.grid.t)
    weights = build_weights(n, editor.models.defaults, "epsilon", t_max, t_m)
    guidance = editor.runner.guidance(TARGET, "", source.guidance_scale)
    x, unet = source.path.x[0], editor.models.unet
    for step in sample(unet, source.grid, x, guidance, False, source.path, weights):
        x = step.x
    editor.runner.decode(x)
    return x


def time_in_turns(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Medians of the sides' seconds, and the ratio of the first to the second."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(rounds):
        for name in list(sides)[:: -1 if i % 2 else 1]:
            begun = time.perf_counter()
            sides[name]()
            seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first, second = medians.values()
    return medians | {"ratio": first / second, "rounds": rounds}


def test_a_warm_edit_against_the_naive_loop(benchmark, editor: Editor, source: Source) -> None:
    def by_plan() -> Edit:
        return editor.edit(source, TARGET, "epsilon", 47, 26)

    edit = by_plan()
    assert (edit.latent - naive(editor, source)).abs().max() < 1e-4
    sides = {"planned": by_plan, "naive": lambda: naive(editor, source)}
    found = time_in_turns(sides, 15)
    benchmark.extra_info.update(found)
    print(json.dumps(found, indent=1))
    benchmark.pedantic(sides["planned"], rounds=3)
    assert found["ratio"] <= 0.5


def test_a_sweep_against_separate_edits(benchmark, editor: Editor, source: Source) -> None:
    def together() -> list[torch.Tensor]:
        swept = editor.sweep(source, TARGET, "epsilon", WINDOWS, "constant")
        return [edit.latent for edit in swept.edits]

    def apart() -> list[torch.Tensor]:
        return [editor.edit(source, TARGET, "epsilon", a, b).latent for a, b in WINDOWS]

    pairs = zip(together(), apart(), strict=True)
    assert max((a - b).abs().max().item() for a, b in pairs) < 1e-3
    every = {
        "sweep": together,
        "naive edits": lambda: [naive(editor, source, *window) for window in WINDOWS],
    }
    found = {
        "against planned edits": time_in_turns({"sweep": together, "edits": apart}, 3),
        "against naive edits": time_in_turns(every, 2),
    }
    benchmark.extra_info.update(found)
    print(json.dumps(found, indent=1))
    benchmark.pedantic(together, rounds=1)
