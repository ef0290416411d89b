"""Configs of the UNet, the VAE and the text encoder, as diffusers and transformers write them.

The kind: keys that change none of our numbers, because they belong to training, saving, another
task or a block that Stable Diffusion does not have. Every option of the UNet is tried: either ours
has the output of diffusers with it, or it is refused by name.
"""

import inspect
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, LatentConsistencyModelPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from transformers import CLIPConfig, CLIPTextConfig, PreTrainedConfig

from mdp_lite.checkpoint.config_files import read_clip_config, read_unet_config, read_vae_config
from mdp_lite.checkpoint.config_keys import TRANSFORMERS
from mdp_lite.checkpoint.config_notes import list_unknown
from mdp_lite.editor import Editor
from mdp_lite.models.condition import add_guidance
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE
from mdp_lite.names import BadCheckpoint
from support import diffusers_pipelines
from support.checkpoints import write_json

Raw = dict[str, Any]
SMALL: Raw = {
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
    "cross_attention_dim": 6,
}
CHANGED: dict[str, list[Any]] = {
    "act_fn": ["gelu", "mish"],
    "addition_embed_type": ["text"],
    "addition_embed_type_num_heads": [32],
    "addition_time_embed_dim": [8],
    "attention_head_dim": [[2, 4]],
    "attention_type": ["gated"],
    "center_input_sample": [True],
    "class_embed_type": ["identity"],
    "class_embeddings_concat": [None],
    "conv_in_kernel": [5],
    "conv_out_kernel": [5],
    "cross_attention_dim": [[6, 6], [6, 8]],
    "cross_attention_norm": ["layer_norm"],
    "downsample_padding": [0],
    "dropout": [0.1],
    "dual_cross_attention": [True],
    "encoder_hid_dim": [6],
    "encoder_hid_dim_type": ["text_proj"],
    "flip_sin_to_cos": [False, None],
    "freq_shift": [1, 0.0, 1.0],
    "layers_per_block": [[1, 1], [1, 2]],
    "mid_block_only_cross_attention": [True, False],
    "mid_block_scale_factor": [2.0, 1.0],
    "mid_block_type": [None],
    "norm_eps": [1e-3],
    "num_attention_heads": [4],
    "num_class_embeds": [3],
    "only_cross_attention": [True, [False, False]],
    "projection_class_embeddings_input_dim": [5],
    "resnet_out_scale_factor": [2.0],
    "resnet_skip_time_act": [True],
    "resnet_time_scale_shift": ["scale_shift"],
    "reverse_transformer_layers_per_block": [[1, 1]],
    "sample_size": [16, [16, 24], None],
    "time_cond_proj_dim": [8],
    "time_embedding_act_fn": ["silu"],
    "time_embedding_dim": [16],
    "time_embedding_type": ["fourier"],
    "timestep_post_act": ["silu"],
    "transformer_layers_per_block": [2, [1, 2]],
    "upcast_attention": [True, None],
    "use_linear_projection": [True, None],
}
PAIRS = [(key, value) for key, values in CHANGED.items() for value in values]


def build(key: str, value: Any) -> Any:
    """diffusers' UNet with one option changed; None if it can't be built or run."""
    torch.manual_seed(0)
    try:
        model = UNet2DConditionModel(**SMALL | {key: value}).eval()
        return diffusers_pipelines.randomise(model, 0)
    except ValueError:
        return None


@torch.no_grad()
@pytest.mark.parametrize(("key", "value"), PAIRS, ids=str)
def test_an_option_of_the_unet_is_read_ignored_or_refused(key: str, value: Any) -> None:
    theirs = build(key, value)
    raw = json.loads(theirs.to_json_string()) if theirs else SMALL | {key: value}
    try:
        config = read_unet_config(raw)
    except BadCheckpoint as error:
        assert str(error).startswith(f"unet: {key} ")
        if theirs:  # it changes shapes or numbers, so that ours could not have its output
            assert key in ("cross_attention_dim", "layers_per_block") or changes(theirs, key)
        return
    ours = UNet(config)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, c, t = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 6), torch.tensor(7)
    cond, guided = None, c
    if config.time_cond_proj_dim:
        guided = add_guidance(c, 0, 3.5)
        embed = LatentConsistencyModelPipeline.get_guidance_scale_embedding
        cond = embed(None, torch.full((2,), 2.5), config.time_cond_proj_dim)
    want = theirs(x, t, c, timestep_cond=cond).sample
    assert (ours.eval()(x, t, guided) - want).abs().max() <= 1e-5


def changes(theirs: Any, key: str) -> bool:
    """Whether a UNet with this option differs from the plain one in shapes or in its output."""
    plain = UNet2DConditionModel(**SMALL).eval()
    x, c = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 6)
    try:
        plain.load_state_dict(theirs.state_dict(), strict=True)
        with torch.no_grad():
            outputs = [model(x, torch.tensor(7), c).sample for model in (plain, theirs)]
    except (RuntimeError, ValueError):
        return True
    return bool((outputs[0] - outputs[1]).abs().max() > 1e-4)


def test_every_option_of_the_unet_and_the_vae_is_tried_or_a_shape() -> None:
    shapes = {"in_channels", "out_channels", "down_block_types", "up_block_types"}
    shapes |= {"block_out_channels", "norm_num_groups"}
    names = set(inspect.signature(UNet2DConditionModel.__init__).parameters) - {"self"}
    assert names == set(CHANGED) | shapes
    vae = dict.fromkeys(inspect.signature(AutoencoderKL.__init__).parameters, 1)
    assert list_unknown("vae", vae) == {"self": 1}


def test_an_average_of_the_weights(tmp_path: Path) -> None:
    """EMAModel.save_pretrained writes its own settings into the UNet's config."""
    model = UNet2DConditionModel(**SMALL)
    average = EMAModel(
        model.parameters(), model_cls=UNet2DConditionModel, model_config=model.config
    )
    average.save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert {"decay", "optimization_step", "inv_gamma"} <= set(raw)
    assert list_unknown("unet", raw) == {}
    assert read_unet_config(raw) == read_unet_config(json.loads(model.to_json_string()))
    assert list_unknown("unet", raw | {"new": None, "_private": 1, "odd": 0}) == {"odd": 0}


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {"sample_size": [32, 48]},
        {"sample_size": 32, "force_upcast": False},
        {"mid_block_add_attention": None, "force_upcast": None},
        {"use_quant_conv": False, "use_post_quant_conv": None},
        {"scaling_factor": 1, "decay": 0.9},
        {"layers_per_block": None},  # left out
    ],
    ids=str,
)
def test_a_vae(options: Raw) -> None:
    known = {k: v for k, v in options.items() if k not in ("decay", "layers_per_block")}
    theirs = AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, **known,
    ).eval()  # fmt: skip
    raw = json.loads(theirs.to_json_string()) | options
    raw = {k: v for k, v in raw.items() if k != "layers_per_block" or v is not None}
    ours, z = VAE(read_vae_config(raw)), torch.randn(1, 4, 8, 8)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    want = theirs.decode(z / theirs.config.scaling_factor).sample
    assert (ours.eval().decode(z) - want).abs().max() <= 1e-5
    assert list_unknown("vae", raw) == {}


@pytest.mark.parametrize("key, value", [("latents_mean", [0.0] * 4), ("shift_factor", 0.1)])
def test_a_vae_of_other_latents_is_refused(key: str, value: Any) -> None:
    raw = json.loads(AutoencoderKL().to_json_string())
    with pytest.raises(BadCheckpoint, match=f"vae: {key} "):
        read_vae_config(raw | {key: value})


SIZES: Raw = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
# What transformers 4.x wrote for every model, beyond the fields of today.
OLD: Raw = dict.fromkeys(TRANSFORMERS) | {
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.1,
    "dropout": 0.0,
    "is_decoder": False,
    "max_length": 20,
    "num_beams": 1,
    "num_labels": 2,
    "pruned_heads": {},
    "temperature": 1.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float16",
    "torchscript": False,
    "transformers_version": "4.22.0.dev0",
    "gradient_checkpointing": False,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
}


def write_dumps() -> list[Raw]:
    """Text encoders' configs: as saved, in full, of old versions, and inside a whole CLIP's."""
    rng, dumps = random.Random(0), []
    fields = {k: v for k, v in PreTrainedConfig().to_dict().items() if isinstance(v, bool)}
    for i in range(60):
        more = {k: not v for k, v in fields.items() if rng.random() < 0.2 and k != "return_dict"}
        more |= rng.choice([{}, {"dtype": "float16"}, {"eos_token_id": 2}, {"projection_dim": 8}])
        config = CLIPTextConfig(**SIZES, **more, hidden_act=rng.choice(("gelu", "quick_gelu")))
        dump = json.loads(config.to_json_string(use_diff=i % 2 == 0))
        whole = json.loads(CLIPConfig(text_config=dump).to_json_string(use_diff=False))
        dumps.append((dump, OLD | dump, whole)[i % 3])
    return dumps


def without(raw: Raw, name: str) -> Raw:
    return {key: value for key, value in raw.items() if key != name}


def test_dumps_of_text_encoders() -> None:
    for raw in write_dumps():
        given = without(raw.get("text_config") or raw, "use_return_dict")
        given = {name: value for name, value in given.items() if value is not None}  # 5.16 refuses
        theirs = CLIPTextConfig.from_dict(given)
        ours = read_clip_config("text_encoder", raw)
        names = (*SIZES, "vocab_size", "num_hidden_layers", "hidden_act", "layer_norm_eps")
        assert all(getattr(ours, name) == getattr(theirs, name) for name in names)
        assert list_unknown("text_encoder", raw) == {}


def test_training_of_the_text_encoder_changes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    """The whole folder, with such fields in every config, loads without a note."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in checkpoint.iterdir():
        if path.name not in ("text_encoder", "unet"):
            (folder / path.name).symlink_to(path)
    more = {"text_encoder": OLD, "unet": {"decay": 0.9999, "power": 0.7, "brand_new": None}}
    for part, options in more.items():
        (folder / part).mkdir()
        for path in (checkpoint / part).glob("*.safetensors"):
            (folder / part / path.name).symlink_to(path)
        raw = json.loads((checkpoint / part / "config.json").read_text("utf-8"))
        write_json(folder / part / "config.json", options | raw)
    assert Editor.from_pretrained(folder, "cpu").models.notes == ()
    write_json(folder / "unet" / "config.json", raw | {"magic": [1]})
    (note,) = Editor.from_pretrained(folder, "cpu").models.notes
    assert note == "unet: unknown options were ignored: magic [1]"
