"""Folders as people have them: variants, shards, key names of old and new versions, other VAEs."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mdp_lite.editor import Editor
from mdp_lite_weights import Choices, open_checkpoint, open_vae
from mdp_lite_weights.folder import choose_files
from support.ldm import Tensors, single, write_folder, write_single

UNET = "unet/diffusion_pytorch_model"
Parts = dict[str, Tensors]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Parts]:
    folder = tmp_path_factory.mktemp("layouts") / "plain"
    return folder, write_folder(folder)


@pytest.fixture
def copy(plain: tuple[Path, Parts], tmp_path: Path) -> tuple[Path, Parts]:
    return Path(shutil.copytree(plain[0], tmp_path / "copy")), plain[1]


def rewrite(path: Path, rename: dict[str, str], change: Tensors | None = None) -> None:
    """Replace parts of the keys of a file, and some tensors."""
    tensors = {}
    for key, tensor in load_file(path).items():
        for old, new in rename.items():
            key = key.replace(old, new)
        tensors[key] = tensor
    save_file(tensors | (change or {}), path)


def equal(got: Parts, want: Parts) -> bool:
    same = all(set(got[part]) == set(want[part]) for part in want)
    return same and all(torch.equal(got[p][k], want[p][k]) for p in want for k in want[p])


def to_half(parts: Parts) -> Parts:
    return {part: {k: t.half() for k, t in tensors.items()} for part, tensors in parts.items()}


def add_variant(folder: Path, parts: Parts) -> None:
    """fp16 files beside the plain ones."""
    for part, tensors in to_half(parts).items():
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        save_file(tensors, folder / part / f"{stem}.fp16.safetensors")


def test_plain_before_fp16_unless_asked(copy: tuple[Path, Parts]) -> None:
    folder, parts = copy
    add_variant(folder, parts)
    assert equal(open_checkpoint(folder).tensors, parts)
    assert equal(open_checkpoint(folder, Choices(variant="fp16")).tensors, to_half(parts))
    for path in folder.glob("*/*model.safetensors"):
        path.unlink()
    assert equal(open_checkpoint(folder).tensors, to_half(parts))


def test_a_variant_that_is_not_there(plain: tuple[Path, Parts]) -> None:
    want = "no part has the variant 'fp16': want one of text_encoder/model.fp16.safetensors, unet"
    with pytest.raises(ValueError, match=want):
        Editor.from_pretrained(plain[0], variant="fp16")


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards_that_diffusers_and_transformers_write(
    variant: str | None, plain: tuple[Path, Parts], tmp_path: Path
) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    folder, parts = Path(shutil.copytree(plain[0], tmp_path / "shards")), plain[1]
    kinds = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
    for part, kind in kinds.items():
        model = kind.from_pretrained(plain[0] / part)
        shutil.rmtree(folder / part)
        model.save_pretrained(folder / part, max_shard_size="200KB", variant=variant)
    shards = [path.name for path in folder.glob("*/*-of-*.safetensors")]
    assert len(shards) >= 6 and len(list(folder.glob("*/*.index*json"))) == 3
    assert equal(open_checkpoint(folder, Choices(variant=variant)).tensors, parts)


def test_a_text_encoder_of_either_transformers(copy: tuple[Path, Parts]) -> None:
    folder, parts = copy
    path, ids = folder / "text_encoder/model.safetensors", torch.arange(26)[None]
    rewrite(path, {}, {"text_model.embeddings.position_ids": ids})  # transformers 4, to 4.30
    assert equal(open_checkpoint(folder).tensors, parts)
    rewrite(path, {"text_model.": ""})  # transformers 5.6 and later
    assert equal(open_checkpoint(folder).tensors, parts)


@pytest.mark.parametrize("conv", [False, True])
def test_attention_of_an_old_vae(conv: bool, copy: tuple[Path, Parts]) -> None:
    folder, parts = copy
    path = folder / "vae/diffusion_pytorch_model.safetensors"
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    rewrite(path, old)
    if conv:
        tensors = load_file(path)
        flat = {k: t for k, t in tensors.items() if ".attentions." in k and t.ndim == 2}
        save_file(tensors | {k: t[..., None, None].contiguous() for k, t in flat.items()}, path)
    assert equal(open_checkpoint(folder).tensors, parts)


@pytest.mark.parametrize("form", ["folder", "part", "file", "LDM file", "bare LDM file"])
def test_another_vae(form: str, plain: tuple[Path, Parts], tmp_path: Path) -> None:
    folder, parts = plain
    other = {key: tensor + 0.01 for key, tensor in parts["vae"].items()}
    place = Path(shutil.copytree(folder, tmp_path / "other"))
    save_file(other, place / "vae/diffusion_pytorch_model.safetensors")
    if form == "part":
        place = place / "vae"
    elif form != "folder":
        tensors = single({**parts, "vae": other})
        vae = {k: t for k, t in tensors.items() if k.startswith("first_stage_model.")}
        if form == "bare LDM file":
            vae = {k.removeprefix("first_stage_model."): t for k, t in vae.items()}
        place = write_single(tmp_path / "vae.safetensors", other if form == "file" else vae)
    _, tensors, _ = open_vae(place, Choices())
    assert equal({"vae": tensors}, {"vae": other})
    models = Editor.from_pretrained(folder, vae=place).models
    state = models.vae.state_dict()
    assert all(torch.equal(state[key], other[key]) for key in other)
    state = models.unet.state_dict()
    assert all(torch.equal(state[key], parts["unet"][key]) for key in parts["unet"])


def test_fp8_weights_without_scales_are_read(copy: tuple[Path, Parts]) -> None:
    folder, parts = copy
    path = folder / f"{UNET}.safetensors"
    small = {key: tensor.to(torch.float8_e4m3fn) for key, tensor in parts["unet"].items()}
    save_file(small, path)
    state = Editor.from_pretrained(folder).models.unet.state_dict()
    assert all(torch.equal(state[key], small[key].float()) for key in small)


@pytest.mark.covering(1)
@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("asked", ["auto", "float32", "float16", "bfloat16"])
def test_dtypes(stored: str, asked: str, copy: tuple[Path, Parts]) -> None:
    folder, parts = copy
    kind = getattr(torch, stored)
    save_file({k: t.to(kind) for k, t in parts["unet"].items()}, folder / f"{UNET}.safetensors")
    models = Editor.from_pretrained(folder, "cpu", asked).models
    own = {"float16": "float32"}.get(stored, stored)  # a CPU runs float16 as float32
    want = getattr(torch, own if asked == "auto" else asked)
    for model in (models.unet, models.vae, models.text_encoder):
        assert {p.dtype for p in model.parameters()} == {want}
    key = "conv_in.weight"
    assert torch.equal(models.unet.state_dict()[key], parts["unet"][key].to(kind).to(want))


def test_sd_turbo_is_run_in_few_steps_without_guidance(copy: tuple[Path, Parts]) -> None:
    folder, _ = copy
    path = folder / "scheduler/scheduler_config.json"
    turbo = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | turbo), "utf-8")
    plain = Editor.from_pretrained(folder, prediction_type="v_prediction")
    assert plain.models.defaults.guidance_scale == 7.5 and plain.runner.v_prediction
    named = folder.rename(folder.parent / "sd-turbo")  # its scheduler alone proves nothing
    defaults = Editor.from_pretrained(named).models.defaults
    assert (defaults.num_inference_steps, defaults.guidance_scale) == (4, 1.0)


def test_exactly_what_is_read_is_chosen() -> None:
    small = ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json"]
    small += ["vae/config.json", "text_encoder/config.json", "tokenizer/vocab.json"]
    small += ["tokenizer/merges.txt", "tokenizer/tokenizer_config.json"]
    text, vae = "text_encoder/model", "vae/diffusion_pytorch_model"
    weights = [f"{stem}{kind}" for stem in (text, UNET, vae) for kind in (".safetensors", ".bin")]
    weights += [f"{stem}.fp16.safetensors" for stem in (text, UNET, vae)]
    other = ["v1-5-pruned.ckpt", "v1-5-pruned.safetensors", "README.md", "safety_checker/model.bin"]
    names = {*small, *weights, *other}
    plain = {*small, *(f"{stem}.safetensors" for stem in (text, UNET, vae))}
    assert set(choose_files(names, None)) == plain
    half = {*small, *(f"{stem}.fp16.safetensors" for stem in (text, UNET, vae))}
    assert set(choose_files(names, "fp16")) == half
    shards = {f"{UNET}-0000{i}-of-00002.safetensors" for i in (1, 2)}
    shards |= {f"{UNET}.safetensors.index.json"}
    half_shards = {f"{UNET}.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)}
    sharded = (names | shards | half_shards) - {f"{UNET}.safetensors"}
    assert set(choose_files(sharded, None)) == plain - {f"{UNET}.safetensors"} | shards
