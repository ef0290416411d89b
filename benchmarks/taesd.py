"""Seconds of TAESD beside those of Stable Diffusion's VAE: random weights of the published sizes.

    python -m benchmarks.taesd --out benchmarks/results/taesd.json

Both encode and decode one picture in turns, in one process. The sides are not the same work: TAESD
loses fine detail. FLOPs do not depend on the weights, so random ones will do.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.record import format_command
from mdp_lite.engine import flops
from mdp_lite.eval.rounds import describe_machine, time_in_turns
from mdp_lite.models.config import AnyVAEConfig, TAESDConfig, VAEConfig
from mdp_lite.models.taesd import build_vae

SD = VAEConfig(
    (128, 256, 512, 512), ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4, layers_per_block=2
)
CONFIGS: dict[str, AnyVAEConfig] = {"TAESD": TAESDConfig(), "VAE": SD}
CALLS = ("encode", "decode")


def build_calls(side: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Each call of both, of one picture of this side."""
    torch.manual_seed(0)
    picture = torch.rand(1, 3, side, side, dtype=dtype) * 2 - 1
    latent = torch.randn(1, 4, side // 8, side // 8, dtype=dtype)
    calls: dict[str, Callable[[], object]] = {}
    for name, config in CONFIGS.items():
        vae = build_vae(config).eval().to(dtype)
        calls[f"{name} encode"] = lambda vae=vae: vae.encode(picture)
        calls[f"{name} decode"] = lambda vae=vae: vae.decode(latent)
    return calls


@torch.no_grad()
def measure(side: int, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    """Median seconds and FLOPs of each call, and by what TAESD divides both."""
    timed = time_in_turns(build_calls(side, dtype), rounds, torch.device("cpu"), 1)
    seconds = {name: median(one.seconds) for name, one in timed.items()}
    counts = {
        f"{name} {call}": getattr(flops, call)(config, side, side).flops
        for name, config in CONFIGS.items()
        for call in CALLS
    }
    return {"picture": f"{side}x{side}", "dtype": str(dtype), "rounds": rounds} | {
        call: {
            "seconds": {name: seconds[f"{name} {call}"] for name in CONFIGS},
            "faster": seconds[f"VAE {call}"] / seconds[f"TAESD {call}"],
            "fewer FLOPs": counts[f"VAE {call}"] / counts[f"TAESD {call}"],
        }
        for call in CALLS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512, help="of the picture, in pixels")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a JSON file")
    args = parser.parse_args()
    figures = measure(args.side, getattr(torch, args.dtype), args.rounds)
    figures |= {
        "machine": describe_machine(torch.device("cpu")),
        "command": format_command("taesd", sys.argv[1:]),
    }
    for call in CALLS:
        one = figures[call]
        print(f"{call}: {one['faster']:.1f} times faster, {one['fewer FLOPs']:.1f} fewer FLOPs")
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
