"""LoRA files of every form with random factors, and a small Stable Diffusion for them."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from mdp_lite_weights.lora import Deltas, Shapes, merge_deltas, read_lora
from support.sdxl import pipeline_xl

Place = tuple[str, str]  # a part of the pipeline, and a module in it
Factors = dict[Place, tuple[Tensor, Tensor]]  # down [rank, in], up [out, rank]
Tensors = dict[str, Tensor]
Weights = dict[str, Tensors]  # part -> key -> tensor

BOUND = 1e-5  # of the largest change of a weight
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
UNET = (*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")
TEXTS = ("encoder", "text_model.encoder", "text_projection")
SOME = ("down_blocks.1", "mid_block", "up_blocks.3", *TEXTS)  # peft takes its time with all
ALL = ("down_blocks", "mid_block", "up_blocks", *TEXTS)
CONVS = (
    *("conv1", "conv2", "conv_shortcut", "time_emb_proj", "samplers.0.conv", "linear_1"),
    *("linear_2", "conv_in", "conv_out"),
)
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "text_projection")
PARTS = ("unet", "text_encoder", "text_encoder_2")


def pipeline(linear: bool = False) -> StableDiffusionPipeline:
    """The blocks of SD 1.x (linear: 2.x), so that names are real, and random weights."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64, 64, 64),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
        use_linear_projection=linear,
    )
    text = CLIPTextConfig(
        vocab_size=20,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
    )
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    pipe = StableDiffusionPipeline(
        vae=None,  # type: ignore[arg-type]
        text_encoder=CLIPTextModel(text),
        tokenizer=None,  # type: ignore[arg-type]
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,  # type: ignore[arg-type]
        feature_extractor=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )
    for part in (pipe.unet, pipe.text_encoder):
        part.eval().requires_grad_(False)
    return pipe


def list_parts(pipe: Any) -> list[str]:
    return [part for part in PARTS if getattr(pipe, part, None) is not None]


def factors(
    pipe: Any,
    rank: int = 4,
    seed: int = 1,
    blocks: tuple[str, ...] = SOME,
    ends: tuple[str, ...] = UNET,
) -> Factors:
    """Random pairs, zero in neither half, for what trainers train: attention, MLPs, projections."""
    generator = torch.Generator().manual_seed(seed)
    pairs: Factors = {}
    for part in list_parts(pipe):
        for name, module in getattr(pipe, part).named_modules():
            if name.endswith(ends if part == "unet" else TEXT) and name.startswith(blocks):
                out, width, *kernel = module.weight.shape
                down = torch.randn(rank, width, *kernel, generator=generator)
                pairs[part, name] = (
                    down,
                    0.05 * torch.randn(out, rank, *(1 for _ in kernel), generator=generator),
                )
    return pairs


def long_name(place: Place) -> str:
    """The module's name with the text_model. that transformers had until 5.6."""
    part, module = place
    return f"text_model.{module}" if part == "text_encoder" else module


KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te_"}
KOHYA_XL = KOHYA | {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}


def kohya(pairs: Factors, alpha: float | None = None) -> Tensors:
    """kohya's sd-scripts: lora_unet_down_blocks_0_..._to_q.lora_down.weight."""
    tensors: Tensors = {}
    prefixes = KOHYA_XL if is_xl(pairs) else KOHYA
    for place, (down, up) in pairs.items():
        name = prefixes[place[0]] + long_name(place).replace(".", "_")
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return tensors


def is_xl(pairs: Factors) -> bool:
    return any(part == "text_encoder_2" for part, _ in pairs)


def ldm(pairs: Factors, alpha: float) -> Tensors:
    """kohya's form with the block names of single-file checkpoints."""
    blocks = {f"down_blocks_{b}_attentions_{i}": (b, i) for b in range(3) for i in range(2)}
    names = {old: f"input_blocks_{1 + 3 * b + i}_1" for old, (b, i) in blocks.items()}
    ups = range(2) if is_xl(pairs) else range(1, 4)
    blocks = {f"up_blocks_{b}_attentions_{i}": (b, i) for b in ups for i in range(3)}
    names |= {old: f"output_blocks_{3 * b + i}_1" for old, (b, i) in blocks.items()}
    names["mid_block_attentions_0"] = "middle_block_1"
    tensors = kohya(pairs, alpha)
    for old, new in names.items():
        tensors = {key.replace(f"{old}_", f"{new}_"): tensor for key, tensor in tensors.items()}
    return tensors


def peft(pairs: Factors, prefix: bool = True) -> Tensors:
    """unet.down_blocks.0...to_q.lora_A.weight."""
    names = {place: long_name(place) if prefix else place[1] for place in pairs}
    halves = {f"{part}.{names[part, module]}": pair for (part, module), pair in pairs.items()}
    tensors = {f"{name}.lora_A.weight": down for name, (down, _) in halves.items()}
    return tensors | {f"{name}.lora_B.weight": up for name, (_, up) in halves.items()}


def diffusers(pairs: Factors) -> Tensors:
    """diffusers 0.17 to 0.20: ...to_q.lora.down.weight, ...q_proj.lora_linear_layer.down.weight."""
    tensors: Tensors = {}
    for (part, module), pair in pairs.items():
        ending = "lora" if part == "unet" else "lora_linear_layer"
        name = f"{part}.{long_name((part, module))}.{ending}"
        tensors |= {f"{name}.down.weight": pair[0], f"{name}.up.weight": pair[1]}
    return tensors


def processors(pairs: Factors, prefix: bool = True) -> Tensors:
    """The first form of diffusers: ...attn1.processor.to_q_lora.down.weight; attention alone."""
    tensors: Tensors = {}
    for (part, module), pair in pairs.items():
        at, _, last = long_name((part, module)).removesuffix(".0").rpartition(".")
        last = last if part == "unet" else f"to_{last.removesuffix('_proj')}"
        middle = ".processor" if part == "unet" else ""
        name = (f"{part}." if prefix else "") + f"{at}{middle}.{last}_lora"
        tensors |= {f"{name}.down.weight": pair[0], f"{name}.up.weight": pair[1]}
    return tensors


def attention(pairs: Factors) -> Factors:
    """The pairs of attention's projections alone."""
    ends = (*ATTENTION, "q_proj", "k_proj", "v_proj", "out_proj")
    return {place: pair for place, pair in pairs.items() if place[1].endswith(ends)}


def pipeline_of(family: str) -> Any:
    """A small pipeline of a family that LoRAs are for."""
    return pipeline_xl(0) if family == "SDXL" else pipeline(linear=family == "SD 2.x")


def write(folder: Path, tensors: Tensors, header: dict[str, str] | None = None) -> Path:
    """A safetensors file with a text or two in its header."""
    path = folder / f"{len(list(folder.glob('*')))}.safetensors"
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, path, header)
    return path


def weights(pipe: Any) -> Weights:
    found = {part: getattr(pipe, part).state_dict() for part in list_parts(pipe)}
    text = {f"text_model.{key}": tensor for key, tensor in found["text_encoder"].items()}
    return found | {"text_encoder": text}


def shapes(pipe: Any) -> Shapes:
    return {part: {k: t.shape for k, t in found.items()} for part, found in weights(pipe).items()}


def ours(pipe: Any, deltas: Deltas) -> Weights:
    merge = lambda part, k, t: merge_deltas(t, deltas[part][k]) if k in deltas[part] else t  # noqa: E731
    parts = weights(pipe).items()
    return {part: {k: merge(part, k, t) for k, t in tensors.items()} for part, tensors in parts}


def same_change(pipe: Any, got: Weights, want: Weights) -> int:
    """Checks both against where they started; how many weights have changed."""
    changed = 0
    for part, start in weights(pipe).items():
        assert set(got[part]) == set(want[part]) == set(start)
        for key, tensor in start.items():
            change = (want[part][key] - tensor).abs().max()
            changed += bool(change)
            assert (got[part][key] - want[part][key]).abs().max() <= BOUND * change, key
    return changed


def check_refusal(path: Path, sentence: str, shapes: Shapes, strength: Any = 1.0) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        read_lora(path, strength, shapes)
    assert "\n" not in str(caught.value) and str(path.parent) not in str(caught.value)
