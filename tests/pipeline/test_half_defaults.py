"""How far edits in 16 bits are from those in float32: the tolerance of a GPU's default dtype.

    python -m pytest -rP tests/pipeline/test_half_defaults.py

prints the figures of docs/models.md, computed on a CPU.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from mdp_lite import Editor
from mdp_lite.pipeline.result import Edit, Source
from support.tables import relative_error

SOURCES = (("a red house on the grass", 7), ("a blue boat on the sea", 3))
TARGETS = ("a blue house on the grass", "a green boat on the sea")
VARIANTS = ("epsilon", "x")


class Tolerance(NamedTuple):
    """The largest difference of a latent over its largest value, and the least PSNR in dB."""

    error: float
    psnr: float


LIMITS = {"float16": Tolerance(5e-3, 58.0), "bfloat16": Tolerance(3e-2, 48.0)}


@cache
def run(dtype: str, steps: int) -> list[Edit]:
    editor = Editor.from_pretrained("tiny", "cpu", dtype)
    edits = []
    for (prompt, seed), target in zip(SOURCES, TARGETS, strict=True):
        source: Source = editor.generate(prompt, seed, steps)
        edits += [editor.edit(source, target, variant) for variant in VARIANTS]
    return edits


def psnr(a: Any, b: Any) -> float:
    """Of 8-bit pictures, in dB."""
    error = np.square(np.asarray(a, float) - np.asarray(b, float)).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.representative("float16")
@pytest.mark.parametrize("steps", [12, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", LIMITS)
def test_edits_in_16_bits_are_within_the_stated_tolerance(dtype: str, steps: int) -> None:
    pairs = list(zip(run(dtype, steps), run("float32", steps), strict=True))
    errors = [relative_error(a.latent, b.latent) for a, b in pairs]
    ratios = [psnr(a.image, b.image) for a, b in pairs]
    print(f"{dtype}, {steps} steps: error {min(errors):.1e} to {max(errors):.1e}, "
          f"{min(ratios):.1f} to {max(ratios):.1f} dB")  # fmt: skip
    assert 0 < max(errors) <= LIMITS[dtype].error
    assert min(ratios) >= LIMITS[dtype].psnr
