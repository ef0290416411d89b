"""mdp_lite as the table runs it, in bfloat16: eager, compiled, or packages; an Editor's edit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.peers.sides import Array, Job
from benchmarks.record import ROOT
from mdp_lite import Editor

ROWS = (1, 2, 4)
PROMPTS = "a red house on the grass", "a blue house on the grass"


class OurSide:
    """An editor's models, called as edits call them."""

    def __init__(self, editor: Editor) -> None:
        self.editor, self.runner = editor, editor.runner
        self.dtype = editor.models.unet.conv_in.weight.dtype

    @torch.no_grad()
    def unet(self, x: Array, t: int, c: Array) -> Array:
        inputs = [torch.from_numpy(one).to(self.dtype) for one in (x, c)]
        return self.runner.unet(inputs[0], torch.tensor(t), inputs[1]).float().numpy()

    @torch.no_grad()
    def text(self, ids: NDArray[np.int64]) -> Array:
        return self.editor.models.text_encoder(torch.from_numpy(ids)).float().numpy()

    @torch.no_grad()
    def encode(self, pixels: Array) -> Array:
        return self.runner.to_latent(torch.from_numpy(pixels), "the latent").float().numpy()

    @torch.no_grad()
    def decode(self, latent: Array) -> Array:
        return (
            self.runner.run_vae("decode", torch.from_numpy(latent), "the picture").float().numpy()
        )

    def edit_picture(self, job: Job) -> Array:
        """What a user calls: Editor.invert and Editor.edit, with all that they do besides."""
        pixels = ((job.pixels[0].transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)
        height, width = pixels.shape[:2]
        source = self.editor.invert(
            Image.fromarray(pixels), PROMPTS[0], num_inference_steps=job.loop.recorded,
            guidance_scale=job.loop.guidance, width=width, height=height,
        )  # fmt: skip
        edit = self.editor.edit(source, PROMPTS[1])
        calls = source.cost.unet_calls + edit.cost.unet_calls
        assert calls == len(job.loop.t), f"{calls} calls, the loop has {len(job.loop.t)}"
        return np.asarray(edit.image, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1


def load(mode: str, model: Path, folder: Path) -> OurSide:
    """mode: "eager", "compile" or "aot"; the packages are compiled if they are not there."""
    packages = folder / "packages"
    if mode == "aot" and not list(packages.glob("*.json")):
        compile_packages(model, packages)
    return OurSide(Editor.from_pretrained(
        model, "cpu", torch.bfloat16, engine=mode, packages=packages if mode == "aot" else None
    ))  # fmt: skip


def compile_packages(model: Path, packages: Path) -> None:
    """What `mdp-lite compile` writes, in a process that frees its memory."""
    line = [sys.executable, "-m", "mdp_lite", "compile", "--model", str(model)]
    line += ["--dtype", "bfloat16", "--device", "cpu", "--rows", ",".join(map(str, ROWS))]
    done = subprocess.run([*line, "-o", str(packages)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:])
