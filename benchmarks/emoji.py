"""Whether pictures of another hand can be edited by the bundled model: what its VAE makes of them.

    python -m benchmarks.emoji FOLDER --other FOLDER --out benchmarks/results/emoji.json

FOLDER has emoji as PNGs named by their code points (1f44d.png, 1f44d-1f3fb.png), as the packages
emoji-datasource-google and emoji-datasource-twitter of the npm registry have them; --other is a
second vendor's. A sample of them, on a plain colour at the model's size, and as many synthetic
scenes go through the VAE and back. True pairs differ in the tone of the skin, in the hair, or in
the vendor.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.record import format_command
from mdp_lite.editor import Editor
from mdp_lite.eval.cases import iterate_scenes
from mdp_lite.eval.interval import mean_interval
from mdp_lite.eval.metrics import decibel, psnr, quantize, squared_error, ssim
from mdp_lite.eval.rounds import describe_machine
from mdp_lite.eval.score import round_trip
from mdp_lite.eval.world import draw
from mdp_lite.names import BadInput
from mdp_lite.pictures.images import open_picture, to_tensor

PAIRS = {  # the part of a name that the other picture of a pair lacks
    "skin tone": re.compile(r"-1f3f[b-f]"),
    "hair": re.compile(r"-200d-1f9b[0-3]"),
}
Pair = tuple[Path, Path]
GROUNDS = ("white", "skyblue", "yellowgreen")  # colours below; the last two are like the scenes'
SIDE = 64  # pixels of the bundled model
BATCH = 50  # pictures that the VAE takes at once


def list_emoji(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by name. Raises BadInput if there are none."""
    files = {path.name: path for path in sorted(folder.glob("*.png"))}
    if not files:
        raise BadInput(f"FOLDER must hold PNGs named by code points, got none in {str(folder)!r}")
    return files


def read_emoji(path: Path, ground: str = "white") -> tuple[Tensor, Tensor]:
    """A picture (1, 3, y, x) on a colour, and where it is not transparent (1, y, x)."""
    image = open_picture(path).convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    below = Image.new("RGBA", image.size, ground)
    drawn = torch.from_numpy(np.asarray(image)[None, ..., 3] > 0)
    return to_tensor(Image.alpha_composite(below, image).convert("RGB")), drawn


def score(editor: Editor, pictures: Tensor, drawn: Tensor | None = None) -> dict[str, Any]:
    """Means and 95% intervals of the distances of pictures to their round trips."""
    trips = torch.cat([quantize(round_trip(editor, some)) for some in pictures.split(BATCH)])
    error = squared_error(trips, pictures)
    figures = {
        "PSNR in dB": decibel(error), "MSE of [-1, 1]": error, "SSIM": ssim(trips, pictures)
    }  # fmt: skip
    if drawn is not None:
        figures["PSNR in dB where it is drawn"] = psnr(trips, pictures, drawn)
    return {name: summarise(values.tolist()) for name, values in figures.items()}


def score_emoji(editor: Editor, paths: Sequence[Path], ground: str) -> dict[str, Any]:
    """The same of emoji on a colour."""
    pictures, drawn = zip(*(read_emoji(path, ground) for path in paths), strict=True)
    return score(editor, torch.cat(pictures), torch.cat(drawn))


def summarise(values: Sequence[float]) -> dict[str, float | int]:
    """The mean, the ends of its interval, and of how many it is."""
    return mean_interval(values)._asdict() | {"count": len(values)}


def find_pairs(files: dict[str, Path], others: dict[str, Path]) -> dict[str, list[Pair]]:
    """True pairs by what changes: both pictures exist."""
    pairs: dict[str, list[Pair]] = {}
    for kind, pattern in PAIRS.items():
        bases = {name: pattern.sub("", name, count=1) for name in files if pattern.search(name)}
        pairs[kind] = [(files[b], files[name]) for name, b in bases.items() if b in files]
    return pairs | {"vendor": [(path, others[n]) for n, path in files.items() if n in others]}


def compare_pairs(pairs: Iterable[Pair]) -> dict[str, float | int]:
    """How far the two pictures of a pair are apart: what an edit would have to change."""
    apart = [float(psnr(*(read_emoji(path)[0] for path in pair))) for pair in pairs]
    return summarise(apart)


def measure(folder: Path, other: Path | None, count: int) -> dict[str, Any]:
    """The figures of all."""
    editor, chooser = Editor.from_pretrained("tiny", "cpu", "float32"), random.Random(0)
    files = list_emoji(folder)
    chosen = chooser.sample(list(files.values()), min(count, len(files)))
    scenes = torch.cat([to_tensor(draw(scene)) for _, scene in islice(iterate_scenes(), count)])
    pairs = find_pairs(files, list_emoji(other) if other else {})
    return {
        "scenes": score(editor, scenes),
        **{f"emoji on {ground}": score_emoji(editor, chosen, ground) for ground in GROUNDS},
        "pairs apart, PSNR in dB": {
            kind: compare_pairs(chooser.sample(some, min(count, len(some)))) | {"all": len(some)}
            for kind, some in pairs.items()
            if some
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--other", type=Path, help="the same emoji by another vendor")
    parser.add_argument("--count", type=int, default=500, help="of pictures, and of pairs a kind")
    parser.add_argument("--out", type=Path, help="a JSON file")
    args = parser.parse_args()
    figures = measure(args.folder, args.other, args.count)
    places = {str(path): name for path, name in ((args.folder, "FOLDER"), (args.other, "OTHER"))}
    words = [places.get(word, word) for word in sys.argv[1:]]
    figures |= {
        "machine": describe_machine(torch.device("cpu")),
        "command": format_command("emoji", words),
    }
    for kind in ("scenes", *(f"emoji on {ground}" for ground in GROUNDS)):
        for name, one in figures[kind].items():
            print(f"{kind}, {name}: {one['mean']:.3g} [{one['low']:.3g}, {one['high']:.3g}]")
    for kind, one in figures["pairs apart, PSNR in dB"].items():
        print(f"pairs by {kind}: {one['all']}, {one['mean']:.3g} dB apart")
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
