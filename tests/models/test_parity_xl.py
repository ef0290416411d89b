"""SDXL against diffusers' pipeline: random models of seven shapes, other sizes, empty negatives."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor

from mdp_lite.checkpoint.models import Models
from mdp_lite.editor import Editor
from mdp_lite.models.condition import unpack
from support.sdxl import SIZE, ddim, draw_xl, pipeline_xl

SEEDS = range(7)
PROMPT, STEPS, G = "a b c d", 5, 4.0
SQUARE = (8 * SIZE, 8 * SIZE)


class Pair(NamedTuple):
    """One random checkpoint in diffusers and here."""

    theirs: StableDiffusionXLPipeline
    editor: Editor

    @property
    def models(self) -> Models:
        return self.editor.models

    def split(self, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return unpack(c, self.models.unet.config.pooled_dim)


@pytest.fixture(scope="module", params=SEEDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    theirs = pipeline_xl(request.param)
    theirs.set_progress_bar_config(disable=True)
    folder = tmp_path_factory.mktemp("xl") / str(request.param)
    theirs.save_pretrained(folder)
    theirs.scheduler = ddim(theirs)
    return Pair(theirs, Editor.from_pretrained(folder, device="cpu"))


def encode(pair: Pair, prompt: str, negative: str | None) -> list[Tensor]:
    """diffusers' states and pooled states: of the prompt, of the negative one."""
    states, null_states, pooled, null_pooled = pair.theirs.encode_prompt(
        prompt, device="cpu", num_images_per_prompt=1, negative_prompt=negative
    )
    return [states, pooled, null_states, null_pooled]


@pytest.mark.covering(1)
@pytest.mark.parametrize("negative", ["", "a b"])
def test_both_text_encoders(pair: Pair, negative: str) -> None:
    """An empty negative prompt is zeros where the checkpoint says so, else an encoded text."""
    runner = pair.editor.runner
    c, null = runner.condition(PROMPT, SQUARE), runner.null_condition(negative, SQUARE)
    ours = [*pair.split(c)[:2], *pair.split(null)[:2]]
    for one, other in zip(ours, encode(pair, PROMPT, negative or None), strict=True):
        assert (one - other).abs().max() <= 1e-5
    assert (null[..., : ours[0].shape[1], :] == 0).all() == (
        not negative and pair.models.zero_empty
    )


def test_sizes_stand_in_both_rows(pair: Pair) -> None:
    runner, want = pair.editor.runner, [[96, 80, 0, 0, 96, 80]]
    for c in (runner.condition(PROMPT, (80, 96)), runner.null_condition("", (80, 96))):
        assert pair.split(c)[2].tolist() == want


def test_the_unet(pair: Pair) -> None:
    x, t = torch.randn(2, 4, SIZE, SIZE + 2), torch.tensor(431)
    c = torch.cat([pair.editor.runner.condition(one, (72, 64)) for one in (PROMPT, "d")])
    states, pooled, sizes = pair.split(c)
    with torch.no_grad():
        added = {"text_embeds": pooled, "time_ids": sizes}
        theirs = pair.theirs.unet(x, t, states, added_cond_kwargs=added).sample
        ours = pair.models.unet(x, t, c)
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_another_pooled_state_or_size_is_another_prediction(pair: Pair) -> None:
    """The packed rows are read: none of these differences is lost."""
    x, t, c = torch.randn(1, 4, SIZE, SIZE), torch.tensor(7), pair.editor.runner.condition(PROMPT)
    dim, k = pair.models.unet.config.pooled_dim, c.shape[1] - pair.models.tokenizer.length
    with torch.no_grad():
        base = pair.models.unet(x, t, c)
        for place in (0, dim - 1, dim, dim + 5):
            other = c.clone()
            row, column = divmod(place, c.shape[2])
            other[0, c.shape[1] - k + row, column] += 1
            assert not torch.equal(pair.models.unet(x, t, other), base)


@pytest.mark.covering(1)
@pytest.mark.parametrize("size", [SQUARE, (80, 64)])
@pytest.mark.parametrize("negative", ["", "a b"])
def test_pictures_of_prompts(pair: Pair, size: tuple[int, int], negative: str) -> None:
    width, height = size
    ours = pair.editor.generate(PROMPT, 3, STEPS, G, negative, width, height)
    generator = torch.Generator().manual_seed(3)
    call = dict(prompt=PROMPT, negative_prompt=negative or None, guidance_scale=G)
    call |= dict(num_inference_steps=STEPS, width=width, height=height, generator=generator)
    latent = pair.theirs(**call, output_type="latent").images
    assert (ours.path.x[-1] - latent).abs().max() <= 1e-4
    with torch.no_grad():
        decoded = pair.theirs.vae.decode(latent / pair.theirs.vae.config["scaling_factor"]).sample
    picture = pair.theirs.image_processor.postprocess(decoded, output_type="np")[0]
    assert np.abs(np.asarray(ours.image) / 255 - picture).max() <= 1 / 255


def test_the_shapes_cover_what_sdxl_has() -> None:
    drawn = [draw_xl(seed) for seed in SEEDS]
    assert {o["zero_empty"] for o in drawn} == {True, False}
    assert {o["prediction"] for o in drawn} == {"epsilon", "v_prediction"}
    assert {o["linear"] for o in drawn} == {True, False}
    assert any(max(o["blocks"]) > 1 and len(set(o["blocks"])) > 1 for o in drawn)
    assert any(not o["attends"][0] for o in drawn)
