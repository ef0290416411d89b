"""The protocol that edits are scored by: make the pictures of many cases at once, read, compare.

Every function works on one batch of cases; a table of pictures maps what made them, such as
"epsilon 47/26", to (b, 3, y, x) in [-1, 1].
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.eval.cases import Case
from mdp_lite.eval.metrics import psnr, shown
from mdp_lite.eval.reader import HEADS, Reader, Reading, read, truth
from mdp_lite.eval.scene import FIELDS, Scene
from mdp_lite.eval.sweep import Cell, sweep
from mdp_lite.eval.world import caption, draw, mask
from mdp_lite.method.inversion import invert, replay
from mdp_lite.method.sample import Conditions, Path, record, walk
from mdp_lite.method.schedule import Grid
from mdp_lite.pictures.images import to_tensor

CHUNK = 32  # pictures through the VAE at once
Pictures = dict[str, Tensor]
Figures = dict[str, list[float]]  # measure -> one number a case


class Verdict(NamedTuple):
    """right: the edited field has the wanted value; kept: all else reads as it did before."""

    right: bool
    kept: bool


def judge(kind: str, value: str, before: Reading, after: Reading) -> Verdict:
    """What a reader makes of an edit of the field kind to a value; kept includes the companion."""
    others = [name for name in HEADS if name != kind]
    return Verdict(after[kind] == value, all(after[name] == before[name] for name in others))


def verdicts(reader: Reader, cases: list[Case], before: Tensor, after: Tensor) -> Figures:
    """right, kept and both (0 or 1 a case), from the pictures before and after the edits."""
    readings = zip(cases, read(reader, before), read(reader, after), strict=True)
    found = [judge(c.kind, getattr(c.after, c.kind), old, new) for c, old, new in readings]
    both = [float(verdict.right and verdict.kept) for verdict in found]
    right, kept = ([float(part) for part in column] for column in zip(*found, strict=True))
    return {"right": right, "kept": kept, "both": both}


def drawn(scenes: Iterable[Scene]) -> Tensor:
    """The scenes' pictures (b, 3, 64, 64) in [-1, 1]."""
    return torch.cat([to_tensor(draw(scene)) for scene in scenes])


@torch.no_grad()
def encode(editor: Editor, pictures: Tensor) -> Tensor:
    """Pictures -> scaled latents (b, 4, y, x) float64."""
    vae = editor.models.vae
    dtype = next(vae.parameters()).dtype
    return torch.cat([vae.encode(p.to(dtype)).double() for p in pictures.split(CHUNK)])


@torch.no_grad()
def decode(editor: Editor, latents: Tensor) -> Tensor:
    """Scaled latents -> pictures as 8 bits show them."""
    vae = editor.models.vae
    dtype = next(vae.parameters()).dtype
    return shown(torch.cat([vae.decode(z.to(dtype)).float() for z in latents.split(CHUNK)]))


def decode_all(editor: Editor, latents: dict[str, Tensor]) -> Pictures:
    """The pictures of named latents; settings that share a latent share its picture."""
    unique = {id(latent): latent for latent in latents.values()}
    pictures = {key: decode(editor, latent) for key, latent in unique.items()}
    return {name: pictures[id(latent)] for name, latent in latents.items()}


def conditions(editor: Editor, prompts: Iterable[str], g: float) -> Conditions:
    """One row of c for each prompt, and one null row for them all."""
    null = editor.runner.condition("") if g != 1 else None
    return Conditions(
        torch.cat([editor.runner.condition(p) for p in prompts]), null, torch.tensor(g)
    )


def noise(editor: Editor, cases: list[Case]) -> Tensor:
    """x_0 (b, 4, y, x) of the cases' seeds."""
    return torch.cat([editor.runner.noise(case.seed, *editor.runner.size) for case in cases])


@torch.no_grad()
def sample(editor: Editor, grid: Grid, x: Tensor, to: Conditions) -> Path:
    """The path from x (b, 4, y, x) under each row of to."""
    return record(
        x, list(walk(editor.models.unet, grid, x, to, v=editor.runner.v_prediction)), to.c
    )


def text_to_image(editor: Editor, cases: list[Case], steps: int, g: float) -> Tensor:
    """Pictures of the cases' source prompts."""
    x, to = noise(editor, cases), conditions(editor, (case.source for case in cases), g)
    return decode(editor, sample(editor, editor.runner.grid(steps), x, to).x[-1])


def readings_right(reader: Reader, cases: list[Case], pictures: Tensor) -> Figures:
    """For each named field and the companion: 1 where it reads as in the case's first record."""
    pairs = [
        (found, truth(c.before)) for c, found in zip(cases, read(reader, pictures), strict=True)
    ]
    right = {name: [float(found[name] == want[name]) for found, want in pairs] for name in HEADS}
    rows = zip(*(right[field] for field in FIELDS), strict=True)
    return right | {"all named": [float(all(row)) for row in rows]}


def round_trip(editor: Editor, pictures: Tensor) -> Tensor:
    """What the VAE makes of pictures."""
    return decode(editor, encode(editor, pictures))


def synthetic(
    editor: Editor, cases: list[Case], cells: list[Cell], steps: int, g: float
) -> Pictures:
    """The source generated from its prompt, regenerated from the same noise, and edited."""
    grid, x = editor.runner.grid(steps), noise(editor, cases)
    source = sample(editor, grid, x, conditions(editor, (case.source for case in cases), g))
    to = conditions(editor, (case.target for case in cases), g)
    plain = sample(editor, grid, x, to)
    found = sweep(editor.models.unet, grid, source, to, cells, v=editor.runner.v_prediction)
    latents = {"source": source.x[-1], "regenerate": plain.x[-1]}
    latents |= {cell.label: latent for cell, latent in found.items()}
    return decode_all(editor, latents)


def inverted(editor: Editor, cases: list[Case], grid: Grid) -> Path:
    """The drawn pictures inverted under their captions at guidance 1, replayed."""
    x = encode(editor, drawn(case.before for case in cases))
    under = conditions(editor, (case.source for case in cases), 1.0)
    with torch.no_grad():
        return replay(
            x, list(invert(editor.models.unet, grid, x, under, editor.runner.v_prediction)), under.c
        )


def real(editor: Editor, cases: list[Case], cells: list[Cell], steps: int, g: float) -> Pictures:
    """Drawn pictures, inverted and edited; beside them what is drawn of the changed record.

    Cells are applied to the replayed path, and those of epsilon and x to the DDIM path as well,
    which samples anew from the noise that was found.
    """
    grid, path = editor.runner.grid(steps), inverted(editor, cases, editor.runner.grid(steps))
    to = conditions(editor, (case.target for case in cases), g)
    plain = sample(editor, grid, path.x[0], to)
    unet, v = editor.models.unet, editor.runner.v_prediction
    again = sample(editor, grid, path.x[0], to._replace(c=path.c))
    some = [cell for cell in cells if cell.variant in ("epsilon", "x")]
    replayed = sweep(unet, grid, path, to, cells, sampled=False, v=v)
    resampled = sweep(unet, grid, again, to, some, v=v)
    latents = {"replay": path.x[-1], "ddim": again.x[-1], "regenerate": plain.x[-1]}
    latents |= {cell.label: latent for cell, latent in replayed.items()}
    latents |= {f"ddim, {cell.label}": latent for cell, latent in resampled.items()}
    answer = drawn(case.after for case in cases)
    pictures = {"truth": answer, "picture": drawn(case.before for case in cases)}
    pictures["vae of truth"] = round_trip(editor, answer)
    return pictures | decode_all(editor, latents)


def regions(cases: list[Case]) -> Tensor:
    """The pixels (b, y, x) that an edit may change: those its field owns, before and after."""
    owned = [mask(c.before, c.kind) | mask(c.after, c.kind) for c in cases]
    return torch.from_numpy(np.stack(owned))


def distances(found: Tensor, answer: Tensor, region: Tensor) -> Figures:
    """PSNR of each picture to its true answer in dB: whole, inside and outside the region."""
    inside, outside = psnr(found, answer, region), psnr(found, answer, ~region)
    whole = psnr(found, answer)
    return {"whole": whole.tolist(), "inside": inside.tolist(), "outside": outside.tolist()}


def full_caption(scene: Scene, seed: int) -> Case:
    """A case without an edit: the caption that names every field."""
    text = caption(scene, form="comma" if seed % 2 else "sentence")
    return Case("", scene, scene, text, text, seed)
