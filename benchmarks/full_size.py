"""A full-size random SDXL: seconds to load it, one UNet row, one edit step, and peak memory.

    python -m benchmarks.full_size --models FOLDER --out results.json

writes about 7 GB in bfloat16 into a temporary folder inside FOLDER, which is removed at the end.
Every measurement has a process of its own, so that the operating system's peak memory is its own.
Both loaders read files that the page cache holds, in turns. --tiny is a small model, for tests.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from mdp_lite.editor import Editor
from mdp_lite.eval.resources import resident_bytes
from mdp_lite.pipeline.request import Request
from tests.support.letters import END, START, WORDS, scheduler, tokenizer

DOWN = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")
UP = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
SIDE, PROMPT, OTHER = 512, "a b", "c d"
ROOT = Path(__file__).resolve().parent.parent  # benchmarks/ and tests/ are found from there
MEASURES = ("load ours", "load diffusers", "first row", "next row", "edit step")


def build_text(width: int, layers: int, second: bool, words: int) -> Any:
    """CLIP ViT-L or OpenCLIP bigG, or a smaller one."""
    config = CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=width // 64, hidden_act="gelu" if second else "quick_gelu",
        projection_dim=width, bos_token_id=START, eos_token_id=2 if second else END,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if second else CLIPTextModel)(config)


def build_unet(widths: tuple[int, ...], depths: tuple[int, ...], texts: tuple[int, int]) -> Any:
    """SDXL's denoiser, or a smaller one."""
    return UNet2DConditionModel(
        block_out_channels=widths, down_block_types=DOWN, up_block_types=UP,
        transformer_layers_per_block=depths, attention_head_dim=[width // 64 for width in widths],
        cross_attention_dim=sum(texts), use_linear_projection=True, sample_size=128,
        addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=texts[1] + 6 * 256,
    )  # fmt: skip


def write_model(folder: Path, tiny: bool) -> None:
    """Write a random SDXL in bfloat16, whose tokenizers know single letters."""
    widths, texts = ((64, 128, 128), (64, 128)) if tiny else ((320, 640, 1280), (768, 1280))
    layers, depths = ((2, 3), (1, 1, 2)) if tiny else ((12, 32), (1, 2, 10))
    words, vae = (len(WORDS), (32, 32, 32, 64)) if tiny else (49408, (128, 256, 512, 512))
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    StableDiffusionXLPipeline(
        vae=AutoencoderKL(
            block_out_channels=vae, down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, scaling_factor=0.13025,
        ),
        text_encoder=build_text(texts[0], layers[0], False, words),
        text_encoder_2=build_text(texts[1], layers[1], True, words),
        tokenizer=tokenizer("<|endoftext|>"), tokenizer_2=tokenizer("!"),
        unet=build_unet(widths, depths, texts), scheduler=scheduler("epsilon"),
        add_watermarker=False,
    ).save_pretrained(folder)  # fmt: skip


def load_ours(folder: Path) -> Editor:
    return Editor.from_pretrained(folder, "cpu", torch.bfloat16)


def load_theirs(folder: Path) -> Any:
    return StableDiffusionXLPipeline.from_pretrained(
        folder, dtype=torch.bfloat16, local_files_only=True
    )


def time_call(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@torch.no_grad()
def measure(what: str, folder: Path, side: int) -> float:
    """Seconds of one measurement, in this process."""
    if what.startswith("load"):
        return time_call(lambda: (load_ours if "ours" in what else load_theirs)(folder))
    editor = load_ours(folder)
    if what.endswith("row"):
        x, t = editor.runner.noise(0, side, side), torch.tensor(500)
        c = editor.runner.condition(PROMPT, (side, side))
        rows = [time_call(lambda: editor.runner.unet(x.to(c.dtype), t, c)) for _ in range(2)]
        return rows[0 if what == "first row" else 1]
    source = editor.generate(PROMPT, 0, 1, 1.0, width=side, height=side)
    steps = editor.steps([Request(source, OTHER, t_max=1, t_m=0, guidance_scale=5.0)])
    return time_call(lambda: next(steps))  # its only step, of two rows


def run_alone(what: str, folder: Path, side: int) -> dict[str, float]:
    """The same in a process of its own: seconds, and bytes of its peak memory."""
    line = [sys.executable, "-m", "benchmarks.full_size", "--measure", what]
    line += ["--models", str(folder.absolute()), "--side", str(side)]
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def warm_cache(folder: Path) -> int:
    """Read every file once; their bytes."""
    total = 0
    for path in filter(Path.is_file, folder.rglob("*")):
        with open(path, "rb") as file:
            while block := file.read(2**24):
                total += len(block)
    return total


def compare(folder: Path, side: int, rounds: int) -> dict[str, Any]:
    """All measurements; the loaders take turns, and the order flips every round."""
    size, found = warm_cache(folder), {what: [] for what in MEASURES}
    for i in range(rounds):
        for what in MEASURES[:2] if i % 2 else MEASURES[1::-1]:
            found[what].append(run_alone(what, folder, side))
    for what in MEASURES[2:]:
        found[what].append(run_alone(what, folder, side))
    figures = {
        what: {key: median(one[key] for one in runs) for key in ("seconds", "peak_bytes")}
        for what, runs in found.items()
    }
    machine = {"threads": torch.get_num_threads(), "cores": os.cpu_count()}
    command = f"python -m benchmarks.full_size --models FOLDER --side {side} --rounds {rounds}"
    versions = {"torch": torch.__version__, "command": command}
    return {"bytes": size, "picture": f"{side}x{side}", **machine, **versions, **figures}


def to_markdown(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = ["| measurement | seconds | peak memory |", "|---|---|---|"]
    for what in MEASURES:
        one = figures[what]
        lines.append(f"| {what} | {one['seconds']:.2f} | {one['peak_bytes'] / 1e9:.2f} GB |")
    return "\n".join(lines)


def main() -> None:
    """Measure, or be the process of one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="a folder with 8 GB of room")
    parser.add_argument("--out", type=Path, help="a JSON file; a Markdown one lies beside it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        seconds = measure(args.measure, args.models, args.side)
        print(json.dumps({"seconds": seconds, "peak_bytes": resident_bytes("VmHWM")}))
        return
    with tempfile.TemporaryDirectory(dir=args.models) as top:
        folder = Path(top) / "sdxl"
        write_model(folder, args.tiny)
        figures = compare(folder, args.side, args.rounds)
    print(to_markdown(figures))
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n")
        args.out.with_suffix(".md").write_text(to_markdown(figures) + "\n")


if __name__ == "__main__":
    main()
