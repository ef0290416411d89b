"""python -m train_tiny: draw the scenes, train the parts, write the checkpoint folder."""

import argparse
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from mdp_lite.eval import world
from train_tiny import autoencoder, denoiser, reader, recipe, score
from train_tiny.data import prepare
from train_tiny.export import export
from train_tiny.tokens import LENGTH, write_tokenizer
from train_tiny.workers import spawn

STAGES = ("data", "vae", "unet", "decoder", "reader", "export", "score")


def run(stage: str, work: Path, budget: recipe.Budget, out: Path) -> None:
    """Run one stage: read the files of earlier stages in work, resume its own checkpoint."""
    tokenizer = work / "tokenizer"
    write_tokenizer(tokenizer, world.WORDS)
    prepare(work, budget.scenes, recipe.SIZE, tokenizer)
    if stage == "vae":
        spawn(autoencoder.train, work, budget.vae)
        autoencoder.encode(work)
    if stage == "unet":
        words = CLIPTokenizer.from_pretrained(tokenizer)
        empty = words("", padding="max_length", max_length=LENGTH)["input_ids"]
        spawn(denoiser.train, work, len(words), empty, budget.unet)
    if stage == "decoder":
        spawn(autoencoder.train_decoder, work, budget.decoder)
    if stage == "reader":
        reader.stage(work)
    if stage == "export":
        export(work, out)


def main() -> None:
    """Read the command line and run the stages in order."""
    budget = recipe.Budget()
    parser = argparse.ArgumentParser("python -m train_tiny", description=__doc__)
    parser.add_argument("stages", nargs="*", help=f"some of {', '.join(STAGES)}; default all")
    parser.add_argument("--work", type=Path, default=Path("runs/tiny"), help="checkpoints")
    parser.add_argument("--out", type=Path, default=Path("weights/mdp_lite_weights/tiny"))
    parser.add_argument("--scenes", type=int, default=budget.scenes)
    for part in ("vae", "unet", "decoder"):
        parser.add_argument(f"--{part}-minutes", type=float, default=getattr(budget, part))
    parser.add_argument("--quick", action="store_true", help="score a few pictures only")
    parser.add_argument("--guidance", type=float, help="score at this guidance")
    parser.add_argument("--dtype", choices=score.DTYPES, default="bfloat16", help="score in this")
    args = parser.parse_args()
    unknown = set(args.stages) - set(STAGES)
    if unknown:
        parser.error(f"stages must be among {', '.join(STAGES)}, got {', '.join(sorted(unknown))}")
    minutes = (args.vae_minutes, args.unet_minutes, args.decoder_minutes)
    torch.set_num_threads(1)
    for stage in args.stages or STAGES:
        if stage == "score":
            score.stage(args.out, args.work / "score", args.quick, args.guidance, args.dtype)
            continue
        run(stage, args.work, recipe.Budget(args.scenes, *minutes), args.out)


if __name__ == "__main__":
    main()
