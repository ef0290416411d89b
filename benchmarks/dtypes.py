"""What bfloat16 gains on a CPU against float32, and how far its pictures are from those.

    python -m benchmarks.dtypes           # takes minutes and 6 GB, writes results/dtypes.json

The gain is that of a guided step (two UNet rows) at SD 1.5's size, 512x512, with random weights.
The dtypes take turns, and which is first changes every round. The distance is that of edits by the
bundled model, from equal seeds.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.loading import machine
from mdp_lite import Editor
from mdp_lite.engine.engine import build_engine
from mdp_lite.eval.metrics import psnr
from mdp_lite.eval.rounds import ratio, time_in_turns
from mdp_lite.models.config import UNetConfig
from mdp_lite.models.unet import UNet

RESULTS = Path(__file__).resolve().parent / "results" / "dtypes.json"
CPU = torch.device("cpu")
PAIRS = (
    ("a red house on the grass", "a blue house on the grass"),
    ("a red boat on the sea", "a yellow boat on the sea"),
)


def guided_step(dtype: torch.dtype) -> Callable[[], object]:
    """A call of the engine with the two rows of a guided step."""
    torch.manual_seed(0)
    with torch.device("meta"):
        unet = UNet(UNetConfig(cross_attention_dim=768)).to(dtype)
    unet = unet.to_empty(device=CPU).requires_grad_(False).eval()
    for weight in unet.parameters():
        weight.normal_(0, 0.02)
    denoise = build_engine(unet, "eager", CPU).denoise
    x, c = torch.randn(2, 4, 64, 64).to(dtype), torch.randn(2, 77, 768).to(dtype)
    return lambda: denoise(x, torch.tensor(500.0), c)


def compare_pictures(seeds: int) -> list[float]:
    """dB between the edits of both dtypes, sorted."""
    narrow, wide = (Editor.from_pretrained("tiny", CPU, one) for one in ("bfloat16", "float32"))
    found = []
    for prompt, target in PAIRS:
        for seed in range(seeds):
            pictures = []
            for editor in (narrow, wide):
                edit = editor.edit(editor.generate(prompt, seed), target)
                pictures.append(editor.runner.run_vae("decode", edit.latent, "picture").float())
            found.append(float(psnr(*pictures)))
    return sorted(found)


@torch.no_grad()
def measure(rounds: int, seeds: int) -> dict[str, Any]:
    """The gain and the distance, with the machine that they belong to."""
    steps = {str(one).removeprefix("torch."): guided_step(one)
             for one in (torch.float32, torch.bfloat16)}  # fmt: skip
    timed = time_in_turns(steps, rounds, CPU)
    seconds = {name: one.seconds for name, one in timed.items()}
    distances = compare_pictures(seeds)
    return {
        "machine": machine(),
        "seconds": seconds,
        "ratio": ratio(seconds["float32"], seconds["bfloat16"])._asdict(),
        "decibel": distances,
        "median_decibel": statistics.median(distances),
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dtypes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = measure(options.rounds, options.seeds)
    options.output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
