"""The protocol that scores edits: make the pictures of many cases at once, read them, compare them.

Every function works on one batch of cases. A table of pictures maps a name, such as
"epsilon 47/26", to the pictures (b, 3, y, x) in [-1, 1] that were made that way.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.metrics import psnr, quantize
from mdp_lite.eval.reader import HEADS, Reader, Reading, read, truth
from mdp_lite.eval.scene import FIELDS, Scene
from mdp_lite.eval.sweep import EvalCell, run_cells
from mdp_lite.eval.world import caption, draw, mask
from mdp_lite.method.inversion import invert, replay
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.sample import Trajectory, record, sample
from mdp_lite.method.schedule import Grid
from mdp_lite.pictures.images import to_tensor

CHUNK = 32  # pictures in one call of the VAE
Pictures = dict[str, Tensor]
Figures = dict[str, list[float]]  # measure -> one number a case


class EditVerdict(NamedTuple):
    """right: the edited field has the wanted value; kept: all others read as before."""

    right: bool
    kept: bool


def judge(kind: str, value: str, source: Reading, target: Reading) -> EditVerdict:
    """Judge an edit of the field kind to a value by readings; kept includes the companion."""
    others = [name for name in HEADS if name != kind]
    return EditVerdict(target[kind] == value, all(target[name] == source[name] for name in others))


def judge_cases(
    reader: Reader, cases: Sequence[EditCase], source: Tensor, target: Tensor
) -> Figures:
    """right, kept and both (0 or 1 a case), from pictures of the sources and of the edits."""
    readings = zip(cases, read(reader, source), read(reader, target), strict=True)
    verdicts = [judge(c.kind, getattr(c.target_scene, c.kind), *pair) for c, *pair in readings]
    both = [float(verdict.right and verdict.kept) for verdict in verdicts]
    right, kept = ([float(part) for part in column] for column in zip(*verdicts, strict=True))
    return {"right": right, "kept": kept, "both": both}


def render(scenes: Iterable[Any], draw: Callable[[Any], Image] = draw) -> Tensor:
    """The scenes' pictures (b, 3, y, x) in [-1, 1], by default of the first world."""
    return torch.cat([to_tensor(draw(scene)) for scene in scenes])


@torch.no_grad()
def encode(editor: Editor, pictures: Tensor) -> Tensor:
    """Pictures -> scaled latents (b, 4, y, x) float64."""
    vae = editor.runner.vae.on_device()
    dtype = next(vae.parameters()).dtype
    return torch.cat([vae.encode(p.to(dtype)).double() for p in pictures.split(CHUNK)])


@torch.no_grad()
def decode(editor: Editor, latents: Tensor) -> Tensor:
    """Scaled latents -> pictures with the rounding of 8 bits."""
    vae = editor.runner.vae.on_device()
    dtype = next(vae.parameters()).dtype
    return quantize(torch.cat([vae.decode(z.to(dtype)).float() for z in latents.split(CHUNK)]))


def decode_all(editor: Editor, latents: dict[str, Tensor]) -> Pictures:
    """The pictures of named latents; a latent that stands under several names is decoded once."""
    unique = {id(latent): latent for latent in latents.values()}
    pictures = {key: decode(editor, latent) for key, latent in unique.items()}
    return {name: pictures[id(latent)] for name, latent in latents.items()}


def build_guidance(editor: Editor, prompts: Iterable[str], g: float) -> Guidance:
    """Guidance with one row of c for each prompt, and one null row for all unless g is 1."""
    null = editor.runner.null_condition("") if g != 1 else None
    c = torch.cat([editor.runner.condition(prompt) for prompt in prompts])
    return Guidance(c, null, torch.tensor(g))


def make_noise(editor: Editor, cases: Sequence[EditCase]) -> Tensor:
    """x_0 (b, 4, y, x) of the cases' seeds."""
    return torch.cat([editor.runner.noise(case.seed, *editor.runner.size) for case in cases])


@torch.no_grad()
def sample_path(editor: Editor, grid: Grid, x: Tensor, guidance: Guidance) -> Trajectory:
    """The path from the noise x (b, 4, y, x) under each row of the guidance, with directions."""
    steps = sample(editor.models.unet, grid, x, guidance, editor.runner.v_prediction)
    return record(x, list(steps), guidance.c, directed=guidance.null is not None)


def generate_pictures(editor: Editor, cases: Sequence[EditCase], steps: int, g: float) -> Tensor:
    """Pictures that the model generates from the cases' source prompts."""
    x = make_noise(editor, cases)
    guidance = build_guidance(editor, (case.source for case in cases), g)
    return decode(editor, sample_path(editor, editor.runner.grid(steps), x, guidance).x[-1])


def score_readings(reader: Reader, cases: Sequence[EditCase], pictures: Tensor) -> Figures:
    """For each named field and the companion: 1 if it reads as in the case's source scene."""
    readings = zip(cases, read(reader, pictures), strict=True)
    pairs = [(reading, truth(case.source_scene)) for case, reading in readings]
    right = {name: [float(got[name] == want[name]) for got, want in pairs] for name in HEADS}
    columns = zip(*(right[field] for field in FIELDS), strict=True)
    return right | {"all named": [float(all(values)) for values in columns]}


def round_trip(editor: Editor, pictures: Tensor) -> Tensor:
    """Pictures that the VAE encoded and decoded."""
    return decode(editor, encode(editor, pictures))


def make_synthetic(
    editor: Editor, cases: Sequence[EditCase], cells: Sequence[EvalCell], steps: int, g: float
) -> Pictures:
    """The source generated from its prompt, regenerated from the same noise, and edited."""
    grid, x = editor.runner.grid(steps), make_noise(editor, cases)
    source_guidance = build_guidance(editor, (case.source for case in cases), g)
    source = sample_path(editor, grid, x, source_guidance)
    guidance = build_guidance(editor, (case.target for case in cases), g)
    plain = sample_path(editor, grid, x, guidance)
    unet, v_prediction = editor.models.unet, editor.runner.v_prediction
    edited, _ = run_cells(unet, grid, source, guidance, cells, v_prediction=v_prediction)
    latents = {"source": source.x[-1], "regenerate": plain.x[-1]}
    latents |= {cell.label: latent for cell, latent in edited.items()}
    return decode_all(editor, latents)


def invert_pictures(editor: Editor, cases: Sequence[EditCase], grid: Grid) -> Trajectory:
    """The pictures of the source scenes, inverted under their captions at guidance 1, replayed."""
    x = encode(editor, render(case.source_scene for case in cases))
    guidance = build_guidance(editor, (case.source for case in cases), 1.0)
    with torch.no_grad():
        steps = invert(editor.models.unet, grid, x, guidance, editor.runner.v_prediction)
        return replay(x, list(steps), guidance.c)


def make_real(
    editor: Editor, cases: Sequence[EditCase], cells: Sequence[EvalCell], steps: int, g: float
) -> Pictures:
    """Pictures of the source scenes, inverted and edited; beside them those of the target scenes.

    All cells are applied to the replayed path. Those of epsilon and x are also applied to the DDIM
    path, which is sampled again from the noise that the inversion found.
    """
    grid = editor.runner.grid(steps)
    path = invert_pictures(editor, cases, grid)
    guidance = build_guidance(editor, (case.target for case in cases), g)
    plain = sample_path(editor, grid, path.x[0], guidance)
    unet, v_prediction = editor.models.unet, editor.runner.v_prediction
    again = sample_path(editor, grid, path.x[0], guidance._replace(c=path.c))
    some = [cell for cell in cells if cell.variant in ("epsilon", "x")]
    replayed, _ = run_cells(unet, grid, path, guidance, cells, False, v_prediction)
    resampled, _ = run_cells(unet, grid, again, guidance, some, True, v_prediction)
    latents = {"replay": path.x[-1], "ddim": again.x[-1], "regenerate": plain.x[-1]}
    latents |= {cell.label: latent for cell, latent in replayed.items()}
    latents |= {f"ddim, {cell.label}": latent for cell, latent in resampled.items()}
    answer = render(case.target_scene for case in cases)
    pictures = {"truth": answer, "picture": render(case.source_scene for case in cases)}
    pictures["vae of truth"] = round_trip(editor, answer)
    return pictures | decode_all(editor, latents)


def field_regions(cases: Sequence[EditCase]) -> Tensor:
    """The pixels (b, y, x) that an edit of one field may change, in either scene."""
    masks = [mask(c.source_scene, c.kind) | mask(c.target_scene, c.kind) for c in cases]
    return torch.from_numpy(np.stack(masks))


def measure_distances(pictures: Tensor, answers: Tensor, region: Tensor) -> Figures:
    """PSNR of each picture to its true answer in dB: whole, inside and outside the region."""
    inside, outside = psnr(pictures, answers, region), psnr(pictures, answers, ~region)
    whole = psnr(pictures, answers)
    return {"whole": whole.tolist(), "inside": inside.tolist(), "outside": outside.tolist()}


def make_caption_case(scene: Scene, seed: int) -> EditCase:
    """A case without an edit: the caption that names every field."""
    text = caption(scene, form="comma" if seed % 2 else "sentence")
    return EditCase("", scene, scene, text, text, seed)
