"""Files that hold more or less than a model: what changes no picture is ignored, and told.

The kind: a single file is what a training or a tool dumped. Beside the three models it may hold
counters, buffers, optimizers, copies; it may lack a VAE; its text encoder may lie elsewhere, under
other names. What belongs to another architecture stays an error.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from mdp_lite.editor import Editor
from mdp_lite.names import BadCheckpoint
from mdp_lite_weights import keys, open_checkpoint
from support.ldm import Tensors, single, write_folder, write_single

ONE, STEPS = torch.ones(1), torch.linspace(0.9, 0.1, 1000)
Parts = dict[str, Tensors]


class Case:
    """A folder, its tensors by part, and those of the single file that says the same."""

    def __init__(self, folder: Path, openclip: bool) -> None:
        self.folder, self.parts = folder, write_folder(folder, openclip)
        self.tensors = single(self.parts, openclip)


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("leftovers") / "sd1", False)


@pytest.fixture(scope="module")
def sd2(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("leftovers") / "sd2", True)


def equal(got: Parts, want: Parts, parts: Iterable[str] = ("unet", "vae", "text_encoder")) -> bool:
    same = all(set(got[part]) == set(want[part]) for part in parts)
    return same and all(torch.equal(got[p][k], want[p][k]) for p in parts for k in want[p])


def without(tensors: Tensors, *starts: str) -> Tensors:
    return {key: tensor for key, tensor in tensors.items() if not key.startswith(starts)}


HARMLESS: dict[str, Tensors] = {
    "a training's counters": {"global_step": torch.tensor(7), "epoch": ONE},
    "the scale of the latents": {"scale_factor": torch.tensor(0.18215)},
    "the average's counters": {"model_ema.decay": ONE, "model_ema.num_updates": torch.tensor(3)},
    "buffers of the schedule": {"betas": STEPS, "alphas_cumprod_prev": STEPS, "sigmas": STEPS},
    "whole numbers": {"iteration": torch.tensor([4], dtype=torch.int32)},
    "an optimizer": {"optimizer_states.0.exp_avg": torch.ones(3, 3)},
    "a copy of the text encoder": {
        "embedding_manager.embedder.transformer.text_model.final_layer_norm.bias": torch.ones(64)
    },
    "positions": {f"{keys.CLIP_AT}text_model.embeddings.position_ids": torch.arange(26)[None]},
    "the other half of a CLIP": {
        f"{keys.CLIP_AT}vision_model.embeddings.class_embedding": torch.ones(64),
        f"{keys.CLIP_AT}visual_projection.weight": torch.ones(64, 64),
    },
    "a safety checker": {"safety_checker.concept_embeds": torch.ones(17, 64)},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_leftover_is_ignored_and_told_once(name: str, sd1: Case, tmp_path: Path) -> None:
    more = HARMLESS[name]
    found = open_checkpoint(write_single(tmp_path / "m.safetensors", sd1.tensors | more))
    assert equal(found.tensors, sd1.parts)
    told = [note for note in found.notes if f"{len(more)} tensors of the file are not read" in note]
    assert len(told) == 1 and next(iter(more)) in told[0]


def test_a_file_of_weights_alone_says_nothing_of_leftovers(sd1: Case, tmp_path: Path) -> None:
    more = {"alphas_cumprod": torch.linspace(0.99**0.5, 0.0046601, 1000)}  # read, not left over
    found = open_checkpoint(write_single(tmp_path / "m.safetensors", sd1.tensors | more))
    assert not any("not read" in note for note in found.notes)


def test_another_scale_is_told(sd1: Case, tmp_path: Path) -> None:
    more = {"scale_factor": torch.tensor(0.25)}
    found = open_checkpoint(write_single(tmp_path / "m.safetensors", sd1.tensors | more))
    assert "scale_factor 0.25 of the file is not used: latents have 0.18215" in found.notes


FOREIGN: dict[str, Tensors] = {
    "another network": {"depth_model.model.bias": torch.ones(8)},
    "a name with a dot": {"extra.scale": ONE},
    "a matrix": {"projector": torch.ones(4, 4)},
    "a row of features": {"class_token": torch.ones(64)},
    "learned words": {"embedding_manager.string_to_param_dict.*": torch.ones(1, 64)},
    "a block of a VQ model": {"first_stage_model.quantize.embedding.weight": torch.ones(8, 4)},
    "a block of the UNet": {f"{keys.UNET_AT}input_blocks.1.2.weight": torch.ones(8, 4)},
    "a second text encoder": {
        "cond_stage_model.model.token_embedding.weight": torch.ones(8, 64),
    },
}


@pytest.mark.parametrize("name", FOREIGN)
def test_weights_of_something_else_stay_an_error(name: str, sd1: Case, tmp_path: Path) -> None:
    path = write_single(tmp_path / "m.safetensors", sd1.tensors | FOREIGN[name])
    with pytest.raises(BadCheckpoint, match="unexpected|text encoders"):
        Editor.from_pretrained(path, tokenizer=sd1.folder)


# --- no VAE ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["single file", "broken VAE", "folder", "folder, pickled VAE"])
def test_another_vae_beside_a_model_that_lacks_one(form: str, sd1: Case, tmp_path: Path) -> None:
    """A VAE of the user's replaces the model's, so that one is not needed, whatever it is."""
    tensors = without(sd1.tensors, keys.VAE_AT)
    if form == "broken VAE":
        tensors[f"{keys.VAE_AT}quantize.embedding.weight"] = ONE
    if "folder" in form:
        path = tmp_path / "folder"
        write_folder(path)
        weights = path / "vae/diffusion_pytorch_model.safetensors"
        weights.unlink()
        (path / "vae/config.json").unlink()
        if "pickled" in form:
            weights.with_suffix(".bin").write_bytes(b"pickle")
    else:
        path = write_single(tmp_path / "no.vae.safetensors", tensors)
    with pytest.raises(BadCheckpoint, match="no VAE: give one|incomplete|vae/config.json"):
        Editor.from_pretrained(path, tokenizer=sd1.folder)
    models = Editor.from_pretrained(path, tokenizer=sd1.folder, vae=sd1.folder).models
    for part, want in sd1.parts.items():
        assert equal({part: getattr(models, part).state_dict()}, {part: want}, [part])


def test_without_a_text_encoder_no_vae_helps(sd1: Case, tmp_path: Path) -> None:
    path = write_single(tmp_path / "m.safetensors", without(sd1.tensors, keys.TEXT_AT, keys.VAE_AT))
    with pytest.raises(BadCheckpoint, match="holds no VAE and no text encoder: want a whole"):
        Editor.from_pretrained(path, tokenizer=sd1.folder, vae=sd1.folder)


# --- SD 2.x under other names ------------------------------------------------------------------

PLACES = (
    "cond_stage_model.transformer.text_model.",
    "cond_stage_model.transformer.",
    "cond_stage_model.model.text_model.",
    "cond_stage_model.model.",
    "cond_stage_model.text_model.",
)


def rename_text(case: Case, place: str) -> Tensors:
    """The file with its text encoder under transformers' names at a place."""
    text = {k.removeprefix("text_model."): t for k, t in case.parts["text_encoder"].items()}
    return without(case.tensors, keys.TEXT_AT) | {place + k: t for k, t in text.items()}


@pytest.mark.parametrize("place", PLACES)
def test_sd2_is_known_by_its_shapes(place: str, sd2: Case, tmp_path: Path) -> None:
    path = write_single(tmp_path / "m.safetensors", rename_text(sd2, place))
    found = open_checkpoint(path)
    want = open_checkpoint(write_single(tmp_path / "n.safetensors", sd2.tensors))
    assert equal(found.tensors, sd2.parts) and found.configs == want.configs
    assert found.configs["text_encoder"]["hidden_act"] == "gelu" and found.pad_token == "!"
    assert any("Stable Diffusion 2.x: known by its shapes" in note for note in found.notes)


@pytest.mark.parametrize("place", PLACES)
def test_sd1_at_the_same_places_stays_sd1(place: str, sd1: Case, tmp_path: Path) -> None:
    found = open_checkpoint(write_single(tmp_path / "m.safetensors", rename_text(sd1, place)))
    assert equal(found.tensors, sd1.parts)
    assert found.configs["text_encoder"]["hidden_act"] == "quick_gelu"
    assert found.configs["unet"]["attention_head_dim"] == 8 and found.pad_token is None


def test_sd2_reads_the_layer_before_the_last(sd2: Case, tmp_path: Path) -> None:
    """Of 24 layers 23, under both names; a file that holds 23 has them all read."""
    tensors, at = rename_text(sd2, PLACES[0]), f"{PLACES[0]}encoder.layers."
    one = {k.removeprefix(f"{at}0."): t for k, t in tensors.items() if k.startswith(f"{at}0.")}
    for count in (23, 24):
        more = {f"{at}{i}.{k}": t for i in range(count) for k, t in one.items()}
        found = open_checkpoint(write_single(tmp_path / "m.safetensors", tensors | more))
        assert found.configs["text_encoder"]["num_hidden_layers"] == 23


def test_the_width_of_the_text_decides_before_linear_projections() -> None:
    """SD 1 with projections that a tool made linear has width 768; SD 2 has 1024."""
    from mdp_lite_weights.places import is_sd2

    def unet(width: int, ndim: int) -> Tensors:
        at = f"{keys.UNET_AT}input_blocks.1.1."
        return {
            f"{at}transformer_blocks.0.attn2.to_k.weight": torch.empty(8, width),
            f"{at}proj_in.weight": torch.empty((8, 8, 1, 1)[:ndim]),
        }

    answers = {(w, n): is_sd2(unet(w, n)) for w in (768, 1024, 64) for n in (2, 4)}
    assert [key for key, sd2 in answers.items() if sd2] == [(1024, 2), (1024, 4), (64, 2)]


def test_its_conditions_are_transformers(sd2: Case, tmp_path: Path) -> None:
    from transformers import CLIPTextModel

    path = write_single(tmp_path / "m.safetensors", rename_text(sd2, PLACES[0]))
    editor = Editor.from_pretrained(path, tokenizer=sd2.folder)
    theirs = CLIPTextModel.from_pretrained(sd2.folder / "text_encoder")
    ids = torch.tensor([editor.models.tokenizer.ids("a red house")[0]])
    with torch.no_grad():
        want = theirs(ids).last_hidden_state
    assert (editor.runner.condition("a red house") - want).abs().max() <= 1e-5
