"""Names in LoRA files: the same factors in the style of every trainer give the same weights.

The kind is "the same module under another name": a prefix for the part, dots or underscores, block
names of diffusers or of LDM, an ending, a name of an adapter.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mdp_lite_weights.lora import read_loras
from support.lora_files import (
    ALL,
    CONVS,
    UNET,
    Factors,
    Tensors,
    diffusers,
    factors,
    is_xl,
    kohya,
    long_name,
    ours,
    peft,
    pipeline,
    pipeline_of,
    same_change,
    shapes,
    write,
)

BLOCKS = (*ALL, "time_embedding", "add_embedding", "conv_in", "conv_out")
# diffusers' names and LDM's, as the files of LyCORIS and ComfyUI have them.
LDM = {
    "time_embedding.linear_1": "time_embed.0",
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "down_blocks.0.resnets.1.conv1": "input_blocks.2.0.in_layers.2",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks.4.0.skip_connection",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "mid_block.resnets.1.conv2": "middle_block.2.out_layers.3",
    "mid_block.attentions.0.proj_in": "middle_block.1.proj_in",
    "mid_block.resnets.0.time_emb_proj": "middle_block.0.emb_layers.1",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.1.conv",
    "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
    "up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj": (
        "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj"
    ),
}
Style = Callable[[Factors], Tensors]


LDM_XL = {name: ldm for name, ldm in LDM.items() if not name.startswith("up_blocks")} | {
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "down_blocks.2.attentions.1.transformer_blocks.2.attn2.to_k": (
        "input_blocks.8.1.transformer_blocks.2.attn2.to_k"
    ),
    "up_blocks.0.attentions.2.proj_out": "output_blocks.2.1.proj_out",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
    "up_blocks.1.attentions.0.proj_in": "output_blocks.3.1.proj_in",
    "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
    "up_blocks.2.resnets.2.conv1": "output_blocks.8.0.in_layers.2",
}


@pytest.fixture(scope="module", params=["SD 1.x", pytest.param("SDXL", marks=pytest.mark.slow)])
def pipe(request: pytest.FixtureRequest) -> Any:
    return pipeline_of(request.param)


@pytest.fixture(scope="module")
def pairs(pipe: Any) -> Factors:
    return factors(pipe, blocks=BLOCKS, ends=UNET + CONVS)


def rename(unet: str, text: str, down: str, up: str, second: str = "text_encoder_2.") -> Style:
    """A style of dots: prefixes of the parts, endings of the halves."""
    prefixes = {"unet": unet, "text_encoder": text, "text_encoder_2": second}

    def write_names(pairs: Factors) -> Tensors:
        tensors: Tensors = {}
        for place, (one, two) in pairs.items():
            name = prefixes[place[0]] + long_name(place)
            tensors |= {name + down: one, name + up: two}
        return tensors

    return write_names


def ldm(unet: str, flat: bool, down: str, up: str) -> Style:
    """The modules in LDM, by its names."""

    def write_names(pairs: Factors) -> Tensors:
        tensors: Tensors = {}
        for old, new in (LDM_XL if "add_embedding" in str(pairs.keys()) else LDM).items():
            name = unet + (new.replace(".", "_") if flat else new)
            one, two = pairs["unet", old]
            tensors |= {name + down: one, name + up: two}
        return tensors

    return write_names


KOHYA = (".lora_down.weight", ".lora_up.weight")
STYLES: dict[str, Style] = {
    "peft": peft,
    "diffusers": diffusers,
    "adapter's name": rename(
        "unet.", "text_encoder.", ".lora_A.default.weight", ".lora_B.default.weight"
    ),
    "another name": rename("", "", ".lora_A.my-style_2.weight", ".lora_B.my-style_2.weight"),
    "no prefix": rename("", "", ".lora_A.weight", ".lora_B.weight"),
    "lora_linear_layer": rename(
        *("unet.", "text_encoder."),
        *(".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    ),
    "OneTrainer": rename("lora_unet.", "lora_te.", *KOHYA),
    "OneTrainer, XL": rename("lora_unet.", "lora_te1.", *KOHYA, "lora_te2."),
    "omi": rename("unet.", "clip_l.", *KOHYA, "clip_g."),
    "ComfyUI": rename(
        *("diffusion_model.", "text_encoders.clip_l.transformer.", *KOHYA),
        "text_encoders.clip_g.transformer.",
    ),
    "ComfyUI's clip": rename("unet.", "clip_l.transformer.", *KOHYA, second="clip_g.transformer."),
    "ComfyUI, SD 2": rename("unet.", "clip_h.transformer.", *KOHYA),
    "whole checkpoint": rename("model.diffusion_model.", "cond_stage_model.transformer.", *KOHYA),
    "kohya, te1": lambda pairs: {
        key.replace("lora_te_", "lora_te1_"): t for key, t in kohya(pairs).items()
    },
    "LDM, kohya": ldm("lora_unet_", True, *KOHYA),
    "LDM, ComfyUI": ldm("diffusion_model.", False, *KOHYA),
    "LDM, peft in ComfyUI": ldm("diffusion_model.", False, ".lora_A.weight", ".lora_B.weight"),
}


@pytest.mark.representative(
    "adapter's name", "lora_linear_layer", "OneTrainer", "ComfyUI", "LDM, kohya", "whole checkpoint"
)
@pytest.mark.parametrize("style", STYLES)
def test_a_style(style: str, pipe: Any, pairs: Factors, tmp_path: Path) -> None:
    if style.startswith("LDM"):
        names = LDM_XL if is_xl(pairs) else LDM
        pairs = {("unet", name): pairs["unet", name] for name in names}
    paths = [write(tmp_path, tensors) for tensors in (kohya(pairs), STYLES[style](pairs))]
    want, got = (ours(pipe, read_loras([(path, 0.8)], shapes(pipe))) for path in paths)
    assert same_change(pipe, got, want) == len(pairs)


def test_alphas_in_every_style(pipe: Any, pairs: Factors, tmp_path: Path) -> None:
    """peft's names with alphas need no adapter_config.json."""
    want = ours(pipe, read_loras([(write(tmp_path, kohya(pairs, 1.0)), 1.0)], shapes(pipe)))
    for unet, end in (("base_model.model.", "lora_A"), ("unet.", "lora_A.default")):
        ends = f".{end}.weight", f".{end.replace('_A', '_B')}.weight"
        tensors = rename(unet, "text_encoder.", *ends)(pairs)
        alphas = {k.removesuffix(ends[0]) + ".alpha" for k in tensors if k.endswith(ends[0])}
        tensors |= {key: torch.tensor(1.0) for key in alphas}
        got = ours(pipe, read_loras([(write(tmp_path, tensors), 1.0)], shapes(pipe)))
        assert same_change(pipe, got, want) == len(pairs)


def test_convolutions_that_are_matrices_here_and_the_other_way(tmp_path: Path) -> None:
    """SD 2.x has matrices where SD 1.x has 1x1 convolutions; some trainers write either."""
    for linear in (False, True):
        pipe = pipeline(linear=linear)
        name = "lora_unet_mid_block_attentions_0_proj_in"
        down, up = torch.randn(4, 64), torch.randn(64, 4)
        flat = write(tmp_path, {f"{name}{KOHYA[0]}": down, f"{name}{KOHYA[1]}": up})
        conv = {
            f"{name}{KOHYA[0]}": down[..., None, None],
            f"{name}{KOHYA[1]}": up[..., None, None],
        }
        paths = (flat, write(tmp_path, conv))
        one, two = (ours(pipe, read_loras([(path, 1.0)], shapes(pipe))) for path in paths)
        assert same_change(pipe, one, two) == 1
