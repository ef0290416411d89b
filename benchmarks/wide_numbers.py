"""What float32 latents cost, which is what device mps has: the same work on a CPU in both dtypes.

    python -m benchmarks.wide_numbers --out benchmarks/results/wide_numbers.json

Pictures of the synthetic world are inverted and edited with the bundled model, whose UNet computes
in float32 both times. Only latents, noise and grids differ: float64, as on a CPU and on CUDA, or
float32. In exact arithmetic an edit-friendly path that is sampled again ends at the picture's
latent, so what is left of that distance is rounding.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.record import format_command
from mdp_lite.editor import Editor
from mdp_lite.eval import world
from mdp_lite.eval.rounds import describe_machine
from mdp_lite.method.sample import sample
from mdp_lite.pictures import images
from mdp_lite.pipeline.result import Source

STEPS = (12, 50)
DTYPES = {"float64": torch.float64, "float32": torch.float32}
TARGET = "a blue house on the grass"
FIRST = 20_000_000  # scenes that the bundled model was not trained on
Results = dict[str, Any]  # by name: a latent, a picture, a number


def sample_again(editor: Editor, source: Source) -> float:
    """How far a noisy path that is sampled again ends from its latent, relative to its norm."""
    runner, path, g = editor.runner, source.path, source.guidance_scale
    guidance = runner.guidance(source.prompt, source.negative_prompt, g)
    steps = sample(runner.unet, source.grid, path.x[0], guidance, runner.v_prediction,
                   noise=path.noise)  # fmt: skip
    *_, last = steps
    return relative(last.x, path.x[-1])


@torch.no_grad()
def compute(editor: Editor, picture: Image.Image, prompt: str, n: int) -> Results:
    """One picture, inverted by two methods and edited, in the dtype that the runner has."""
    trip = editor.invert(picture, prompt, "ddim", n, guidance_scale=1.0)
    noisy = editor.invert(picture, prompt, "edit-friendly", n)
    sources = {"ddim": trip, "edit-friendly": noisy}
    edits = {name: editor.edit(source, TARGET) for name, source in sources.items()}
    return {
        "there and back": images.psnr(trip.image, picture),
        "sampled again": sample_again(editor, noisy),
        "noise": trip.path.x[0],
        **{f"edit, {name}": edit for name, edit in edits.items()},
    }


def relative(x: Tensor, want: Tensor) -> float:
    """The distance of x from what is wanted, relative to its norm."""
    return float((x.double() - want.double()).norm() / want.double().norm())


def compare(wide: Results, narrow: Results) -> dict[str, float]:
    """What one picture loses."""
    figures = {f"{key}, {name}": one[key] for key in ("there and back", "sampled again")
               for name, one in (("float64", wide), ("float32", narrow))}  # fmt: skip
    figures["noise that the inversion finds"] = relative(narrow["noise"], wide["noise"])
    for key in ("edit, ddim", "edit, edit-friendly"):
        a, b = (np.asarray(one[key].image, np.int16) for one in (narrow, wide))
        figures[f"{key}: latent"] = relative(narrow[key].latent, wide[key].latent)
        figures[f"{key}: levels of 255"] = int(abs(a - b).max())
        figures[f"{key}: equal values"] = float((a == b).mean())
    return figures


def measure(n: int, count: int) -> dict[str, float]:
    """The mean over pictures; of levels the largest."""
    editor, each = Editor.from_pretrained("tiny", "cpu", "float32"), []
    for scene in (world.sample(FIRST + i) for i in range(count)):
        sides = []
        for dtype in DTYPES.values():
            editor.runner.wide = dtype
            sides.append(compute(editor, world.draw(scene), world.caption(scene), n))
        each.append(compare(*sides))
    join = lambda key: (max if "levels" in key else mean)([one[key] for one in each])  # noqa: E731
    return {key: join(key) for key in each[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wide_numbers", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--pictures", type=int, default=16, help="how many (default: 16)")
    parser.add_argument("--out", type=Path, help="a JSON file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {f"{n} steps": measure(n, args.pictures) for n in STEPS}
    for name, one in figures.items():
        print(name, *(f"  {key}: {value:.3g}" for key, value in one.items()), sep="\n")
    figures |= {
        "pictures": args.pictures,
        "machine": describe_machine(torch.device("cpu")),
        "command": format_command("wide_numbers", sys.argv[1:]),
    }
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
