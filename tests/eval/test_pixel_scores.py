"""PaintBench's measures: against its published arithmetic, written out, and what they must say."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mdp_lite.eval.cases import make_cases
from mdp_lite.eval.pixel_scores import THRESHOLDS, color_difference, score_pixels, to_lab
from mdp_lite.eval.score import render


def picture(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def random_pixels(seed: int, high: int = 256) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, high, (3, 9, 7, 3), np.uint8)


def written_lab(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """L*a*b* of a channel at a time, as the standard has it: reads nothing of mdp_lite."""
    r, g, b = (
        np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        for c in np.moveaxis(pixels / 255.0, -1, 0)
    )
    x = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047
    y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
    z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883
    f = [np.where(v > 216 / 24389, np.cbrt(v), (24389 / 27 * v + 16) / 116) for v in (x, y, z)]
    return np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])], axis=-1)


def written_scores(
    output: NDArray[np.uint8], source: NDArray[np.uint8], answer: NDArray[np.uint8]
) -> list[float]:
    """eval.compute_problem_stats of PaintBench for one problem: edit, preservation, overlap."""
    changed = (source != answer).any(-1)
    apart = np.sqrt(((written_lab(output) - written_lab(answer)) ** 2).sum(-1))
    sums = [0.0, 0.0, 0.0]
    for limit in range(11):
        good = apart <= limit
        hits, spills = (good & changed).sum(), (~good & ~changed).sum()
        sums[0] += hits / changed.sum() if changed.any() else 1.0
        sums[1] += (good & ~changed).sum() / (~changed).sum() if (~changed).any() else 1.0
        sums[2] += hits / (changed.sum() + spills) if changed.sum() + spills else 1.0
    return [value / 11 for value in sums]


def test_colours_are_those_of_the_standard() -> None:
    pixels = random_pixels(0)
    got = to_lab(picture(pixels)).permute(0, 2, 3, 1).numpy()
    assert np.abs(got - written_lab(pixels)).max() < 1e-9
    white, black = (picture(np.full((1, 1, 1, 3), level, np.uint8)) for level in (255, 0))
    assert to_lab(white).flatten().tolist() == pytest.approx([100, 0, 0], abs=1e-4)
    assert color_difference(white, black).item() == pytest.approx(100, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_shares_are_those_of_the_published_code(seed: int) -> None:
    source, shift = random_pixels(seed), random_pixels(seed + 10, 9)
    answer = np.where(random_pixels(seed + 20) < 100, random_pixels(seed + 30), source)
    output = np.clip(answer.astype(int) + shift - 4, 0, 255).astype(np.uint8)
    got = score_pixels(picture(output), picture(source), picture(answer))
    want = [written_scores(*one) for one in zip(output, source, answer, strict=True)]
    assert torch.stack(list(got), dim=1).numpy() == pytest.approx(np.array(want), abs=1e-12)
    assert got.edit.gt(0).all() and got.edit.lt(1).all()


def test_no_edit_keeps_all_and_the_truth_is_right_everywhere() -> None:
    cases = make_cases("color", 4, short=True)
    source, truth = (
        render(scenes)
        for scenes in ([c.source_scene for c in cases], [c.target_scene for c in cases])
    )
    still, done = score_pixels(source, source, truth), score_pixels(truth, source, truth)
    assert still.preservation.tolist() == [1.0] * 4 and still.overlap.lt(0.5).all()
    assert [share.tolist() for share in done] == [[1.0] * 4] * 3
    assert len(THRESHOLDS) == 11


def test_nothing_to_change_or_to_keep_counts_as_right() -> None:
    flat, other = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    same, all_new = score_pixels(flat, flat, flat), score_pixels(flat, flat, other)
    assert [share.item() for share in same] == [1.0, 1.0, 1.0]
    assert (all_new.edit.item(), all_new.preservation.item()) == (0.0, 1.0)
