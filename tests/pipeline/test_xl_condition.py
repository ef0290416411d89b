"""A second prompt and the six sizes of SDXL: diffusers' numbers, in sources, edits and files."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from mdp_lite.editor import Editor
from mdp_lite.models.condition import unpack
from mdp_lite.names import BadInput
from mdp_lite.pipeline.once import once
from mdp_lite.pipeline.provenance import describe_source
from mdp_lite.pipeline.xl import PLAIN, SIZES, XLCondition
from mdp_lite.store.cache import Cache
from support.sdxl import ddim, pipeline_xl

STEPS, G, SIZE = 3, 3.0, (80, 64)  # width, height
PROMPT, OTHER = "a b", "c d e"
NEGATIVES = {
    "negative_original_size": (32, 48),
    "negative_crops_coords_top_left": (4, 0),
    "negative_target_size": (64, 64),
}
CASES: dict[str, dict[str, Any]] = {
    "a second prompt": {"prompt_2": "d"},
    "two second prompts": {"prompt_2": "d", "negative_prompt_2": "f g"},
    "an original size": {"original_size": (512, 384)},
    "a crop": {"crops_coords_top_left": (16, 8), "target_size": (128, 96)},
    "own sizes of the null row": {"original_size": (99, 98), **NEGATIVES},
    "all": {"prompt_2": "d", "negative_prompt_2": "f", "target_size": (128, 96), **NEGATIVES},
    "empty ones": {"prompt_2": "", "negative_prompt_2": ""},
}


class Pair(NamedTuple):
    theirs: Any
    editor: Editor


@pytest.fixture(scope="module", params=[0, 1])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    theirs = pipeline_xl(request.param)
    theirs.set_progress_bar_config(disable=True)
    folder = tmp_path_factory.mktemp("xl") / "model"
    theirs.save_pretrained(folder)
    theirs.scheduler = ddim(theirs)
    return Pair(theirs, Editor.from_pretrained(folder, "cpu"))


@pytest.fixture(scope="module")
def xl_editor(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    folder = tmp_path_factory.mktemp("plain") / "model"
    pipeline_xl(1).save_pretrained(folder)
    return Editor.from_pretrained(folder, "cpu")


def generate(editor: Editor, prompt: str = PROMPT, **settings: Any) -> Any:
    return editor.generate(prompt, 3, STEPS, G, "h", *SIZE, xl=XLCondition(**settings))


@pytest.mark.covering(1)
@pytest.mark.parametrize("case", CASES)
def test_a_picture_of_diffusers(case: str, pair: Pair) -> None:
    settings = CASES[case]
    latent = pair.theirs(
        PROMPT, width=SIZE[0], height=SIZE[1], num_inference_steps=STEPS, guidance_scale=G,
        negative_prompt="h", generator=torch.Generator().manual_seed(3), output_type="latent",
        **settings,
    ).images  # fmt: skip
    source = generate(pair.editor, **settings)
    assert (source.path.x[-1] - latent).abs().max() <= 1e-4
    plain = generate(pair.editor)
    assert torch.equal(plain.path.x, source.path.x) == (case == "empty ones")


def test_a_second_negative_prompt_alone_is_encoded(pair: Pair) -> None:
    """An empty negative prompt is zeros in some models, but not if its other half has words."""
    null = pair.editor.runner.null_condition("", SIZE, XLCondition(negative_prompt_2="f"))
    want = pair.theirs.encode_prompt(
        PROMPT, device="cpu", negative_prompt="", negative_prompt_2="f"
    )[1]
    dim = pair.editor.models.unet.config.pooled_dim
    assert (unpack(null, dim).states - want).abs().max() <= 1e-5


def test_an_edit_has_the_sizes_of_its_source(xl_editor: Editor) -> None:
    sizes = {"original_size": (512, 384), **NEGATIVES}
    source = generate(xl_editor, negative_prompt_2="f", **sizes)
    edit = xl_editor.edit(source, OTHER, t_max=2, t_m=1)
    told = XLCondition(negative_prompt_2="f", **sizes)
    assert torch.equal(xl_editor.edit(source, OTHER, t_max=2, t_m=1, xl=told).latent, edit.latent)
    for xl in (XLCondition(prompt_2="d"), XLCondition(original_size=(64, 64))):
        other = xl_editor.edit(source, OTHER, t_max=2, t_m=1, xl=xl)
        assert not torch.equal(other.latent, edit.latent)
    same = xl_editor.edit(source, PROMPT, t_max=2, t_m=1)
    assert same.cost.unet_rows == 0 and torch.equal(same.latent, source.path.x[-1])
    moved = xl_editor.edit(source, PROMPT, t_max=2, t_m=1, xl=XLCondition(original_size=(9, 9)))
    assert moved.cost.unet_rows > 0  # another size is another condition


@pytest.mark.representative("two second prompts", "all")
@pytest.mark.parametrize("case", CASES)
def test_once_is_generate_then_edit(case: str, xl_editor: Editor) -> None:
    xl = XLCondition(**CASES[case])
    source = generate(xl_editor, **CASES[case])
    for reads in (None, XLCondition(prompt_2="i")):
        edit = xl_editor.edit(source, OTHER, t_max=3, t_m=2, guidance_scale=G, xl=reads)
        found = once(
            xl_editor, PROMPT, OTHER, 3, None, STEPS, G, "h", *SIZE, t_max=3, t_m=2,
            xl=reads, source_xl=xl,
        )  # fmt: skip
        assert torch.equal(found.latent, edit.latent)


def test_an_inverted_picture(xl_editor: Editor) -> None:
    image = generate(xl_editor).image
    xl = XLCondition(prompt_2="d", original_size=(512, 384))
    settings = {"num_inference_steps": STEPS, "fit": "own"}
    plain, source = (
        xl_editor.invert(image, PROMPT, "replay", xl=one, **settings) for one in (None, xl)
    )
    assert not torch.equal(plain.path.c, source.path.c) and source.xl == xl
    edit = xl_editor.edit(source, PROMPT, strength=0.0, xl=XLCondition(prompt_2="d"))
    assert (edit.latent - source.path.x[-1]).abs().max() <= 1e-5


def test_saved_and_cached(xl_editor: Editor, tmp_path: Path) -> None:
    path, settings = tmp_path / "source.safetensors", CASES["all"]
    source = generate(xl_editor, **settings)
    xl_editor.save_source(source, path)
    again = xl_editor.load_source(path)
    assert again.xl == source.xl == XLCondition(**settings)
    assert describe_source("m", again)["xl"]["negative_target_size"] == [64, 64]
    assert "xl" not in describe_source("m", generate(xl_editor))
    cached = Editor(xl_editor.models, xl_editor.device, cache=None)
    cached.cache = Cache(tmp_path / "cache")
    costs = [generate(cached, **one).cost.unet_rows for one in (settings, {}, settings)]
    assert costs[0] > 0 and costs[1] > 0 and costs[2] == 0


BAD: dict[str, dict[str, Any]] = {
    "original_size must be two whole numbers": {"original_size": 512},
    "target_size must be two whole numbers": {"target_size": (0, 5)},
    "crops_coords_top_left must be two whole": {"crops_coords_top_left": (-1, 0)},
    "must be given together": {"negative_original_size": (5, 5)},
    "negative_target_size must be given together": {"negative_crops_coords_top_left": (5, 5)},
    "prompt_2 must be a text": {"prompt_2": 5},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_ones(message: str) -> None:
    with pytest.raises(BadInput, match=message):
        XLCondition(**BAD[message])


def test_models_with_one_text_encoder(editor: Editor) -> None:
    """What changes no number is not refused."""
    plain = editor.generate("a cat", 1, 2)
    for xl in (PLAIN, XLCondition(prompt_2=""), XLCondition(prompt_2="a cat")):
        assert torch.equal(editor.generate("a cat", 1, 2, xl=xl).path.x, plain.path.x)
    with pytest.raises(BadInput, match="prompt_2 is for a second text encoder, the model has one"):
        editor.generate("a cat", 1, 2, xl=XLCondition(prompt_2="a dog"))
    for name in SIZES[:3]:
        with pytest.raises(BadInput, match=f"{name} is for Stable Diffusion XL"):
            editor.generate("a cat", 1, 2, xl=XLCondition(**{name: (8, 8)}))
    with pytest.raises(BadInput, match="xl must be an XLCondition"):
        editor.edit(plain, "a dog", xl={"prompt_2": "a dog"})  # pyright: ignore
