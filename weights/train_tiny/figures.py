"""The table of figures, from one number for each case."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from mdp_lite.eval.metrics import PEAK
from mdp_lite.eval.score import Figures
from mdp_lite.eval.sweep import EvalCell
from mdp_lite.names import VARIANTS

Parts = dict[str, Figures]  # source of the pictures -> measure -> one number a case
JobFigures = list[tuple[str, str, Parts]]  # suite, kind of edit, figures of one job
EDITS = ("synthetic", "real_full", "real_short")


def mean(values: Iterable[float]) -> float | None:
    """The mean of the finite numbers; None if there are none."""
    finite = np.array([value for value in values if np.isfinite(value)])
    return round(float(finite.mean()), 4) if finite.size else None


def merge(found: JobFigures, suite: str, kind: str | None = None) -> Parts:
    """The numbers of all jobs of a suite (and of a kind) in one list each."""
    whole: Parts = {}
    for other, which, parts in found:
        if other == suite and kind in (None, which):
            for name, figures in parts.items():
                for measure, values in figures.items():
                    whole.setdefault(name, {}).setdefault(measure, []).extend(values)
    return whole


def means(parts: Parts) -> dict[str, dict[str, float | None]]:
    """The mean of every measure."""
    return {
        name: {measure: mean(values) for measure, values in figures.items()}
        for name, figures in parts.items()
    }


def picture_figures(found: JobFigures) -> dict[str, Any]:
    """Captions that were followed, the VAE's PSNR, and the accuracy of the reader."""
    text, vae = merge(found, "text")["generated"], merge(found, "vae")
    error = np.array(vae.pop("error")["error"])
    decibel = 10 * np.log10(PEAK**2 / error)
    psnr = {
        "mean": decibel.mean(),
        "of_mean_error": 10 * np.log10(PEAK**2 / error.mean()),
        "worst": decibel.min(),
    }
    return {
        "text_to_image": {"count": len(text["object"])} | means({"": text})[""],
        "vae_psnr": {"count": len(error)} | {k: round(float(v), 2) for k, v in psnr.items()},
        "reader": means(vae),
    }


def edit_figures(found: JobFigures, own: EvalCell) -> dict[str, Any]:
    """Every suite of edits: all kinds together, each kind, the best windows, the gain."""
    return {suite: suite_figures(found, suite, own) for suite in EDITS}


def suite_figures(found: JobFigures, suite: str, own: EvalCell) -> dict[str, Any]:
    """One suite; own is the window that the gain over regenerating is stated for."""
    kinds = list(dict.fromkeys(kind for other, kind, _ in found if other == suite))
    overall = merge(found, suite)
    return {
        "count": len(overall["regenerate"]["both"]),
        "overall": means(overall),
        "best": best_windows(overall),
        "gain": gain(overall[own.label]["both"], overall["regenerate"]["both"]) | {"of": own.label},
        "kinds": {
            kind: {"count": len(part["regenerate"]["both"]), "of": means(part)}
            for kind, part in ((kind, merge(found, suite, kind)) for kind in kinds)
        },
    }


def best_windows(parts: Parts) -> dict[str, dict[str, Any]]:
    """The window of each variant with the largest share of edits that are right and kept."""
    found = {}
    for variant in VARIANTS:
        cells = {k: v for k, v in means(parts).items() if k.startswith(f"{variant} ")}
        label = max(cells, key=lambda k: cells[k]["both"] or 0)
        found[variant] = {"window": label} | cells[label]
    return found


def gain(edit: list[float], other: list[float]) -> dict[str, Any]:
    """Mean difference of paired shares, and its standard error."""
    difference = np.array(edit) - np.array(other)
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return {"gain": round(float(difference.mean()), 4), "error": round(float(error), 4)}
