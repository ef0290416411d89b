"""Inpainting UNets against diffusers' pipelines: SD 1.x, 2.x and XL, guided and not."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.method.sample import sample
from mdp_lite.pipeline.inpainting import find_channels, read_masks
from support.inpainting import Inpaint, draw_mask, draw_picture, inpaint_pipeline, latent_of

STEPS, PROMPT, SIDE = 4, "a b c d", 64
CASES = [(seed, xl) for xl in (False, True) for seed in (0, 1, 3)]


class Pair(NamedTuple):
    """One random checkpoint in diffusers and here."""

    theirs: Inpaint
    editor: Editor


MARKED = [  # of each family one model; the others run with `make slow`
    pytest.param(
        (seed, xl), id=f"{'SDXL' if xl else 'SD'}-{seed}", marks=[pytest.mark.slow] if seed else []
    )
    for seed, xl in CASES
]


@pytest.fixture(scope="module", params=MARKED)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    theirs = inpaint_pipeline(*request.param)
    folder = tmp_path_factory.mktemp("inpaint") / "model"
    theirs.save_pretrained(folder)
    return Pair(theirs, Editor.from_pretrained(folder, device="cpu"))


def repaint(
    editor: Editor, picture: Image.Image, mask: Image.Image, g: float, negative: str,
    size: tuple[int, int],
) -> Tensor:  # fmt: skip
    """The clean latent that plain sampling gives under a mask, from the noise of seed 3."""
    runner = editor.runner
    fit = runner.fit(picture, "resize", *size)
    (read,) = read_masks(runner, [picture], [mask], "resize", *size)
    assert read is not None
    channels = find_channels(runner, picture, fit, read)
    guidance = runner.guidance(PROMPT, negative, g, size, channels=channels)
    with torch.no_grad():
        x, grid = runner.noise(3, *size), runner.grid(STEPS)
        *_, end = sample(runner.unet, grid, x, guidance, runner.v_prediction)
    return end.x


@pytest.mark.covering(1)
@pytest.mark.parametrize("g", [1.0, 4.0])
@pytest.mark.parametrize("size", [(SIDE, SIDE), (80, 64)])
def test_a_picture_under_a_mask(pair: Pair, g: float, size: tuple[int, int]) -> None:
    """From equal noise, with a picture and a mask of the model's size and of another one."""
    theirs, editor = pair
    for at in (size, (111, 90)):
        picture, mask = draw_picture(*at), draw_mask(*at)
        ours = repaint(editor, picture, mask, g, "d c" if g > 1 else "", size)
        call: dict[str, Any] = {
            "prompt": PROMPT, "negative_prompt": "d c" if g > 1 else None, "image": picture,
            "mask_image": mask, "guidance_scale": g, "num_inference_steps": STEPS,
            "width": size[0], "height": size[1],
            "latents": editor.runner.noise(3, *size).float(),
        }  # fmt: skip
        latent = latent_of(theirs, **call)
        assert (ours - latent).abs().max() <= 1e-4
        with torch.no_grad():
            decoded = theirs.vae.decode(latent / theirs.vae.config["scaling_factor"]).sample
        want = theirs.image_processor.postprocess(decoded, output_type="np")[0]
        picture = np.asarray(editor.runner.decode(ours)) / 255
        assert np.abs(picture - want).max() <= 1 / 255


def test_a_generated_picture_is_repainted_as_a_whole(pair: Pair) -> None:
    """Without a picture the mask is all ones and the picture grey."""
    theirs, editor = pair
    source = editor.generate(PROMPT, 3, STEPS, 4.0)
    width, height = source.image.size
    latent = latent_of(
        theirs, prompt=PROMPT, image=Image.new("RGB", (width, height)), width=width,
        mask_image=Image.new("L", (width, height), 255), guidance_scale=4.0, height=height,
        num_inference_steps=STEPS, latents=editor.runner.noise(3, width, height).float(),
    )  # fmt: skip
    assert (source.path.x[-1] - latent).abs().max() <= 1e-4


def test_the_mask_changes_what_is_predicted(pair: Pair) -> None:
    """So the parity above does not hold by chance."""
    picture, mask = draw_picture(SIDE, SIDE), draw_mask(SIDE, SIDE)
    one = repaint(pair.editor, picture, mask, 4.0, "", (SIDE, SIDE))
    whole = Image.new("L", (SIDE, SIDE), 255)
    for other in (
        repaint(pair.editor, picture, whole, 4.0, "", (SIDE, SIDE)),
        repaint(pair.editor, draw_picture(SIDE, SIDE, 1), mask, 4.0, "", (SIDE, SIDE)),
    ):
        assert (one - other).abs().max() > 1e-3
