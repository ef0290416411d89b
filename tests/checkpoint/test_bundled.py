"""The bundled checkpoints: diffusers loads them unchanged and gives the same pictures."""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from mdp_lite import Editor
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.checkpoint.knowledge import split_settings
from mdp_lite.method.schedule import variant_table, window
from support.bundled import MODELS, Bundled
from support.places import ROOT
from train_tiny.tokens import END, START

PARTS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
KINDS = {".json", ".txt", ".md", ".png", ".safetensors"}


@pytest.fixture(scope="module", params=MODELS, ids=lambda one: one.name)
def model(request: pytest.FixtureRequest) -> Bundled:
    return request.param


@pytest.fixture(scope="module")
def editor(model: Bundled) -> Editor:
    return Editor.from_pretrained(model.name, device="cpu")


@pytest.fixture(scope="module")
def theirs(model: Bundled) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(model.folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("part", PARTS)
def test_every_tensor_finds_its_place_in_theirs(model: Bundled, part: str) -> None:
    _, found = PARTS[part].from_pretrained(model.folder, subfolder=part, output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@pytest.mark.representative("4.0-20")
@pytest.mark.parametrize("steps", [20, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("guidance", [1.0, 4.0, 7.5])
def test_same_seed_same_picture(
    model: Bundled, editor: Editor, theirs: StableDiffusionPipeline, steps: int, guidance: float
) -> None:
    settings: dict[str, Any] = {
        "negative_prompt": model.caption(8),
        "num_inference_steps": steps,
        "guidance_scale": guidance,
    }
    generator = torch.Generator().manual_seed(5)
    want = theirs(model.caption(7), generator=generator, output_type="latent", **settings).images
    ours = editor.generate(model.caption(7), seed=5, **settings)
    assert (ours.path.x[-1] - want).abs().max() <= 1e-4 * want.abs().max()
    decoded = theirs.vae.decode(want / theirs.vae.config.scaling_factor).sample
    want_image = theirs.image_processor.postprocess(decoded.detach(), output_type="pil")[0]
    assert np.abs(np.int16(want_image) - np.int16(ours.image)).max() <= 1


def test_prompts_steer(model: Bundled, editor: Editor) -> None:
    one, other = (editor.generate(model.caption(k), seed=5, num_inference_steps=10) for k in (7, 8))
    assert np.abs(np.int16(one.image) - np.int16(other.image)).mean() > 5


def test_same_seed_twice_is_the_same_bits(model: Bundled, editor: Editor) -> None:
    once, twice = (
        editor.generate(model.caption(7), seed=5, num_inference_steps=10) for _ in range(2)
    )
    assert torch.equal(once.path.x, twice.path.x)
    assert once.image.tobytes() == twice.image.tobytes()


def test_a_replayed_picture_comes_back(model: Bundled, editor: Editor) -> None:
    scene, n = model.world.sample(7), editor.models.defaults.num_inference_steps
    source = editor.invert(model.world.draw(scene), model.caption(7))
    back = editor.edit(source, model.caption(8), weights=variant_table("epsilon", window(n, n, n)))
    assert source.original is not None
    assert (back.latent - editor.runner.encode(source.original)).abs().max() <= 1e-5


def test_defaults_are_the_checkpoints_own(model: Bundled, editor: Editor) -> None:
    own, knowledge = split_settings(json.loads((model.folder / "mdp_lite.json").read_text("utf-8")))
    assert knowledge.words and own and set(own) <= set(Defaults.__dataclass_fields__)
    assert editor.models.defaults == Defaults(**own)
    assert len(editor.runner.grid(None).t) == editor.models.defaults.num_inference_steps
    source = editor.generate(model.caption(7), seed=5, num_inference_steps=1)
    assert source.guidance_scale == editor.models.defaults.guidance_scale


def test_its_tokenizer_is_read_without_transformers() -> None:
    """Importing transformers takes longer than an edit; other tests compare the ids with it."""
    code = "import sys; from mdp_lite import Editor; Editor.from_pretrained(device='cpu')"
    line = [sys.executable, "-c", f"{code}; print('transformers' in sys.modules)"]
    rooms = os.pathsep.join(str(ROOT / room) for room in (".", "kernels", "weights"))
    env = os.environ | {"PYTHONPATH": rooms}
    assert subprocess.run(line, env=env, capture_output=True, text=True).stdout.strip() == "False"


def test_every_word_of_the_world_is_one_token(model: Bundled, editor: Editor) -> None:
    tokenizer = editor.models.tokenizer.clip
    ids = {word: tokenizer(word)["input_ids"] for word in model.world.words}
    start, end = map(tokenizer.backend_tokenizer.token_to_id, (START, END))
    assert all(len(found) == 3 and found[::2] == [start, end] for found in ids.values())
    assert len({found[1] for found in ids.values()} - {start, end}) == len(model.world.words)


def test_captions_fit(model: Bundled, editor: Editor) -> None:
    assert not any(editor.runner.is_truncated(model.caption(seed)) for seed in range(200))


def test_the_folder_is_small_and_holds_no_pickle(model: Bundled) -> None:
    files = model.list_files()
    assert sum(path.stat().st_size for path in files) <= model.limit
    assert {path.suffix for path in files} <= KINDS
    assert sum(path.suffix == ".safetensors" for path in files) == 3


def test_the_folder_has_a_model_card(model: Bundled) -> None:
    assert len((model.folder / "README.md").read_text("utf-8")) > 500
