"""Single files of SDXL: bit-equal to the folder, read alike by diffusers, refused by name."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite_weights import open_checkpoint
from support.ldm import write_folder, write_single
from support.sdxl_files import PARTS, SmallXL, small_xl

Tensors = dict[str, Tensor]
UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP, OPENCLIP = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
ONE, STEPS = torch.ones(1), torch.linspace(0.9, 0.1, 1000)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> SmallXL:
    return SmallXL(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def equal(
    got: dict[str, Tensors], want: dict[str, Tensors], parts: tuple[str, ...] = PARTS
) -> bool:
    same = all(set(got[part]) == set(want[part]) for part in parts)
    return same and all(torch.equal(got[p][k], want[p][k]) for p in parts for k in want[p])


def latents(editor: Editor, empty: str = "") -> Tensor:
    source = editor.generate("a b c", 3, 2, 5.0, empty, height=64, width=64)
    return source.path.x


def test_bit_equal_to_the_folder(case: SmallXL) -> None:
    file, folder = open_checkpoint(case.file), open_checkpoint(case.folder)
    assert file.zero_empty and equal(file.tensors, folder.tensors)
    first = Editor.from_pretrained(case.file, tokenizer=case.folder)
    second = Editor.from_pretrained(case.folder)
    for part in ("unet", "vae"):
        assert getattr(first.models, part).config == getattr(second.models, part).config
    text, other = first.models.text_encoder, second.models.text_encoder
    assert text.config == other.config and first.models.scheduler == second.models.scheduler
    for empty in ("", "d"):  # an empty negative prompt stands for zeros
        assert torch.equal(latents(first, empty), latents(second, empty))


def test_diffusers_reads_the_same_from_it(case: SmallXL) -> None:
    load = StableDiffusionXLPipeline.from_single_file
    got = load(str(case.file), config=str(case.folder), local_files_only=True)
    want = StableDiffusionXLPipeline.from_pretrained(case.folder, local_files_only=True)
    states = [{p: getattr(pipe, p).state_dict() for p in PARTS} for pipe in (got, want)]
    assert equal(*states)


def test_the_names_are_those_of_the_original(case: SmallXL) -> None:
    """Of the generative-models repository: fused in_proj, a bare transposed text_projection."""
    assert case.tensors[f"{OPENCLIP}text_projection"].shape == (128, 96)
    assert case.tensors[f"{OPENCLIP}transformer.resblocks.2.attn.in_proj_weight"].shape[0] == 384
    for key in (
        f"{OPENCLIP}positional_embedding",
        f"{OPENCLIP}ln_final.bias",
        f"{CLIP}text_model.encoder.layers.1.mlp.fc2.bias",
        f"{UNET}label_emb.0.2.bias",
        f"{UNET}input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight",
        f"{UNET}middle_block.1.transformer_blocks.2.norm3.bias",
        f"{UNET}output_blocks.2.2.conv.weight",
        f"{UNET}output_blocks.8.0.skip_connection.weight",
        f"{VAE}decoder.up.0.block.2.conv2.bias",
    ):
        assert key in case.tensors
    assert not any("input_blocks.9." in key for key in case.tensors)


@pytest.mark.parametrize("kind", ["transformers' names", "transformers' names, bare", "a weight"])
def test_the_second_text_encoder_under_other_names(kind: str, case: SmallXL, path: Path) -> None:
    """Some tools write it as transformers has it, or its projection as a linear layer's weight."""
    want = open_checkpoint(case.folder).tensors
    text = want["text_encoder_2"]
    if kind == "a weight":
        change = {f"{OPENCLIP}text_projection.weight": text["text_projection.weight"]}
        case.write(path, change, (f"{OPENCLIP}text_projection",))
    else:
        bare = "text_model." if "bare" in kind else "no prefix"
        change = {OPENCLIP + key.removeprefix(bare): tensor for key, tensor in text.items()}
        case.write(path, change, (OPENCLIP,))
    found = open_checkpoint(path)
    assert equal(found.tensors, want)
    part = "text_encoder_2"
    assert found.configs[part] == open_checkpoint(case.file).configs[part]


@pytest.mark.parametrize(
    ("change", "data", "want", "zero", "says"),
    [
        ({}, {}, "epsilon", False, "nearly all of Stable Diffusion XL"),
        ({"v_pred": ONE[:0]}, {}, "v_prediction", False, "marked so in the file"),
        ({"v_pred": ONE[:0], "ztsnr": ONE[:0]}, {}, "v_prediction", True, "ends in pure noise"),
        ({"ztsnr": ONE}, {}, "v_prediction", True, "ends in pure noise"),
        ({}, {"modelspec.prediction_type": "v"}, "v_prediction", False, "the file's metadata"),
        (
            {"alphas_cumprod": torch.linspace(0.99, 0, 1000)},
            {},
            "v_prediction",
            True,
            "ends in pure noise",
        ),
    ],
)
def test_the_prediction_type(
    change: Tensors,
    data: dict[str, str],
    want: str,
    zero: bool,
    says: str,
    case: SmallXL,
    path: Path,
) -> None:
    found = open_checkpoint(case.write(path, change, **data))
    scheduler = found.configs["scheduler"]
    assert scheduler["prediction_type"] == want and any(says in note for note in found.notes)
    assert scheduler["rescale_betas_zero_snr"] is zero
    assert scheduler["timestep_spacing"] == ("trailing" if zero else "leading")


LEFTOVERS: dict[str, Tensors] = {
    "the noise levels": {"denoiser.sigmas": STEPS},
    "buffers of the schedule": {"betas": STEPS, "alphas_cumprod_prev": STEPS},
    "beside OpenCLIP": {f"{OPENCLIP}logit_scale": ONE, f"{OPENCLIP}attn_mask": torch.ones(16, 16)},
    "positions": {f"{CLIP}text_model.embeddings.position_ids": torch.arange(16)[None]},
    "beside CLIP": {
        f"{CLIP}text_projection.weight": torch.ones(64, 64),
        "conditioner.embedders.0.logit_scale": ONE,
    },
    "the average's counters": {"model_ema.decay": ONE},
    "another scale": {"scale_factor": torch.tensor(0.18215)},
}


@pytest.mark.parametrize("name", LEFTOVERS)
def test_a_leftover_is_ignored_and_told(name: str, case: SmallXL, path: Path) -> None:
    found = open_checkpoint(case.write(path, LEFTOVERS[name]))
    assert equal(found.tensors, open_checkpoint(case.folder).tensors)
    count = f"{len(LEFTOVERS[name])} tensors of the file are not read"
    assert sum(count in note for note in found.notes) == 1
    scale = "scale_factor 0.18215 of the file is not used: latents have 0.13025"
    assert (scale in found.notes) == (name == "another scale")


def test_the_scale_of_sdxl_is_not_told(case: SmallXL, path: Path) -> None:
    found = open_checkpoint(case.write(path, {"scale_factor": torch.tensor(0.13025)}))
    assert not any("scale_factor 0" in note for note in found.notes)


def test_tokenizers_beside_the_file(case: SmallXL, tmp_path: Path) -> None:
    path = case.write(tmp_path / "model.safetensors", {})
    for place, pad in (("tokenizer", "<|endoftext|>"), ("tokenizer_2", "n</w>")):
        tokenizer = small_xl().tokenizer
        tokenizer.pad_token = pad
        tokenizer.save_pretrained(tmp_path / place)
    both = Editor.from_pretrained(path).models.tokenizer
    assert both.second.clip.pad_token_id == tokenizer.convert_tokens_to_ids("n</w>")
    other = Editor.from_pretrained(case.file, tokenizer=tmp_path / "tokenizer").models.tokenizer
    assert other.second.clip.pad_token_id == tokenizer.convert_tokens_to_ids("!") == 0
    assert other.first.clip.pad_token_id == both.first.clip.pad_token_id


@pytest.mark.covering(1)
@pytest.mark.parametrize("form", ["LDM", "diffusers"])
@pytest.mark.parametrize("base", ["folder", "file", "without a VAE"])
def test_another_vae_in_a_file_takes_the_scale(
    form: str, base: str, case: SmallXL, tmp_path: Path
) -> None:
    """A VAE alone does not say by what latents are multiplied; diffusers needs a config for it."""
    vae = {k: t + 0.01 for k, t in case.tensors.items() if k.startswith(VAE)}
    other = write_single(tmp_path / "vae.safetensors", vae)
    theirs = AutoencoderKL.from_single_file(
        str(other), config=str(case.folder), subfolder="vae", local_files_only=True
    )
    if form == "diffusers":
        other = write_single(tmp_path / "vae.safetensors", theirs.state_dict())
    file = case.write(tmp_path / "m.safetensors", {}, (VAE,) if base == "without a VAE" else ())
    place = case.folder if base == "folder" else file
    models = Editor.from_pretrained(place, vae=other, tokenizer=case.folder).models
    assert models.vae.config.scaling_factor == theirs.config.scaling_factor == 0.13025
    assert "the other VAE is a file: latents are scaled by 0.13025" in models.notes
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = theirs.decode(z / theirs.config.scaling_factor).sample
        assert torch.allclose(models.vae.decode(z), want, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("own", "want"), [(0.5, 0.5), (None, 0.18215)])
def test_the_scale_of_the_base_goes_before_the_family(
    own: float | None, want: float, case: SmallXL, tmp_path: Path
) -> None:
    """Without one in its config diffusers takes 0.18215, of whatever family the folder is."""
    folder = Path(shutil.copytree(case.folder, tmp_path / "own"))
    config = json.loads((folder / "vae/config.json").read_text("utf-8"))
    config["scaling_factor"] = own
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "vae/config.json").write_text(json.dumps(kept), "utf-8")
    vae = {k: t for k, t in case.tensors.items() if k.startswith(VAE)}
    path = write_single(tmp_path / "vae.safetensors", vae)
    assert Editor.from_pretrained(folder, vae=path).models.vae.config.scaling_factor == want
    assert AutoencoderKL.from_pretrained(folder / "vae").config.scaling_factor == want


def test_a_vae_in_a_whole_checkpoint_has_its_scale(case: SmallXL, tmp_path: Path) -> None:
    folder = tmp_path / "sd1"
    write_folder(folder)
    for place, scale in ((case.folder, 0.13025), (case.file, 0.13025)):
        vae = Editor.from_pretrained(folder, vae=place).models.vae
        assert vae.config.scaling_factor == scale
