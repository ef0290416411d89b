"""python -m train_tiny: draw the scenes, train the parts, write the checkpoint folder."""

import argparse
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from mdp_lite.eval import world
from train_tiny import autoencoder, denoiser, recipe
from train_tiny.data import prepare
from train_tiny.export import export
from train_tiny.tokens import LENGTH, write_tokenizer
from train_tiny.workers import spawn

STAGES = ("data", "vae", "unet", "decoder", "export")


def run(stage: str, work: Path, budget: recipe.Budget, out: Path) -> None:
    """One stage; each reads what the earlier ones left in work and resumes its own checkpoint."""
    tokenizer = work / "tokenizer"
    write_tokenizer(tokenizer, world.WORDS)
    data = prepare(work, budget.scenes, recipe.SIZE, tokenizer)
    vae, decoder = work / "vae.pt", work / "decoder.pt"
    if stage == "vae":
        spawn(autoencoder.train, recipe.VAE, data, vae, budget.vae)
    if stage == "unet":
        latents, _ = denoiser.encode(data, vae, work)
        words = CLIPTokenizer.from_pretrained(tokenizer)
        empty = words("", padding="max_length", max_length=LENGTH)["input_ids"]
        unet, vocab = work / "unet.pt", len(words)
        spawn(denoiser.train, data, latents, vocab, empty, unet, budget.unet)
    if stage == "decoder":
        latents, scale = denoiser.encode(data, vae, work)
        arguments = (recipe.VAE, data, latents, scale, vae, decoder, budget.decoder)
        spawn(autoencoder.train_decoder, *arguments)
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
    args = parser.parse_args()
    unknown = set(args.stages) - set(STAGES)
    if unknown:
        parser.error(f"stages must be among {', '.join(STAGES)}, got {', '.join(sorted(unknown))}")
    minutes = (args.vae_minutes, args.unet_minutes, args.decoder_minutes)
    torch.set_num_threads(1)
    for stage in args.stages or STAGES:
        run(stage, args.work, recipe.Budget(args.scenes, *minutes), args.out)


if __name__ == "__main__":
    main()
