"""LoRA files that can't be read, or are something else: one sentence each."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mdp_lite_weights.lora import Shapes
from support.lora_files import (
    Tensors,
    check_refusal,
    factors,
    kohya,
    pipeline,
    write,
)

DEEP = "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
NAME, PEFT_NAME = f"lora_unet_{DEEP}", "unet.down_blocks.1.attentions.0.proj_in"
KEY = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
ONE = torch.ones(1)
Change = Callable[[Tensors], Any]


@pytest.fixture(scope="module")
def pipe() -> Any:
    return pipeline()


@pytest.fixture(scope="module")
def shapes(pipe: Any) -> Shapes:
    text = {f"text_model.{k}": t.shape for k, t in pipe.text_encoder.state_dict().items()}
    return {"unet": {k: t.shape for k, t in pipe.unet.state_dict().items()}, "text_encoder": text}


def more(**found: torch.Tensor) -> Change:
    """A key or two more; __ stands for a dot."""
    return lambda tensors: tensors.update({k.replace("__", "."): t for k, t in found.items()})


def other(ending: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """Another tensor in the place of one of the module NAME."""
    key = f"{NAME}.{ending}"
    return lambda tensors: tensors.update({key: change(tensors[key])})


def without(ending: str) -> Change:
    return lambda tensors: tensors.pop(f"{NAME}.{ending}")


def only(**found: torch.Tensor) -> Change:
    return lambda tensors: (tensors.clear(), more(**found)(tensors))


def rename(old: str, new: str) -> Change:
    """Another name for a module that is trained."""

    def change(tensors: Tensors) -> None:
        found = {key.replace(old, new): tensor for key, tensor in tensors.items()}
        tensors.clear()
        tensors.update(found)

    return change


FILES: dict[str, tuple[Change, str]] = {
    "OFT": (
        more(unet__a__oft_r=ONE, bundle_emb__b__emb_params=ONE),
        "is an OFT, which is not supported: 1 of 38 keys (unet.a.oft_r); "
        "the rest: 36 of LoRA, 1 of bundled words",
    ),
    "BOFT": (more(lora_unet_a__boft_b0=ONE), "is a BOFT, which is not supported: 1 of 37 keys"),
    "GLoRA": (more(lora_unet_a__b1__weight=ONE), "is a GLoRA, which is not supported: 1 of 37"),
    "VeRA": (only(unet__a__vera_lambda_b=ONE), "is a VeRA, which is not supported: 1 of 1 keys"),
    "LoHa of no module": (
        more(lora_unet_a__hada_w1_a=ONE),
        "1 of 37 keys have no place in this model (lora_unet_a.hada_w1_a)",
    ),
    "(IA)3 of no module": (
        more(lora_unet_a__on_input=ONE),
        "1 of 37 keys have no place in this model (lora_unet_a.on_input)",
    ),
    "half a LoHa": (
        more(lora_unet_conv_in__hada_w1_a=torch.ones(32, 2)),
        "unet.conv_in.weight has no hada_w1_b factor, only hada_w1_a",
    ),
    "half a LoKr": (
        more(lora_unet_conv_in__lokr_w1=torch.ones(4, 2), lora_unet_conv_in__lokr_w2_a=ONE),
        "unet.conv_in.weight has no lokr_w2_b factor, only lokr_w1 and lokr_w2_a",
    ),
    "a LoKr of another shape": (
        more(
            lora_unet_conv_in__lokr_w1=torch.ones(4, 2),
            lora_unet_conv_in__lokr_w2=torch.ones(8, 1, 3, 3),
        ),
        "unet.conv_in.weight: its LoKr does not fit the weight's [32, 4, 3, 3]: "
        "lokr_w1 [4, 2], lokr_w2 [8, 1, 3, 3]",
    ),
    "a turned kernel": (
        more(lora_unet_conv_in__diff=torch.ones(32, 9, 2, 2)),
        "unet.conv_in.weight: its difference does not fit the weight's [32, 4, 3, 3]",
    ),
    "a flat difference, turned": (
        more(lora_unet_conv_in__diff=torch.ones(36, 32)),
        "unet.conv_in.weight: its difference does not fit the weight's [32, 4, 3, 3]: diff",
    ),
    "a DoRA of another width": (
        more(**{f"{NAME}__dora_scale": torch.ones(1, 33)}),
        f"{KEY}: its LoRA does not fit the weight's [64, 32]: ",
    ),
    "DoRA alone": (
        more(lora_unet_conv_in__dora_scale=torch.ones(32, 1, 1, 1)),
        "unet.conv_in.weight has no down factor, only magnitude",
    ),
    "(IA)3 of another width": (
        more(lora_unet_conv_in__weight=torch.ones(1, 5, 1, 1), lora_unet_conv_in__on_input=ONE),
        "unet.conv_in.weight: its (IA)3 does not fit the weight's [32, 4, 3, 3]: got [1, 5, 1, 1]",
    ),
    "(IA)3 with a LoRA": (
        more(**{f"{NAME}__ia3_l": torch.ones(64, 1)}),
        f"{KEY} must have an (IA)3's ia3_l, or weight and on_input, only",
    ),
    "(IA)3 of inputs or outputs": (
        only(unet__mid_block__resnets__0__conv1__ia3_l=torch.ones(1, 64, 1, 1)),
        "its (IA)3 needs peft's adapter_config.json: inputs or outputs?",
    ),
    "SDXL": (more(lora_te2_a__alpha=ONE), "0.safetensors is a LoRA for SDXL, this model is SD 1.x"),
    "SDXL of diffusers": (more(text_encoder_2__a__lora_A__weight=ONE), "is a LoRA for SDXL, this"),
    "SDXL's words": (
        more(bundle_emb__a__clip_g=ONE, lora_a__alpha=ONE),
        "is a LoRA for SDXL, this",
    ),
    "SDXL's pooled state": (more(lora_unet_label_emb_0_0__alpha=ONE), "is a LoRA for SDXL, this"),
    "SDXL's depth": (
        rename("transformer_blocks_0", "transformer_blocks_1"),
        "is a LoRA for SDXL, this model is SD 1.x",
    ),
    "SDXL's width": (
        other("lora_down.weight", lambda t: torch.ones(4, 2048)),
        "is a LoRA for SDXL, this model is SD 1.x",
    ),
    "SD 2's width": (
        other("lora_down.weight", lambda t: torch.ones(4, 1024)),
        "is a LoRA for SD 2.x, this model is SD 1.x",
    ),
    "FLUX": (
        more(lora_unet_double_blocks_0_img_attn_proj__alpha=ONE),
        "is a LoRA for FLUX or another transformer, which is not supported",
    ),
    "SD3": (more(transformer__a__lora_A__weight=ONE), "is a LoRA for SD3, FLUX or another"),
    "no tensors": (only(), "is not a LoRA: no tensor is named as one's, got 0 tensors"),
    "a model": (
        only(conv_in__weight=ONE, conv_in__bias=ONE),
        "is not a LoRA: no tensor is named as one's, got 2 tensors (conv_in.bias, ...)",
    ),
    "a key of no module": (
        more(**{f"lora_unet_x{i}__lora_down__weight": ONE for i in range(7)}),
        "7 of 43 keys have no place in this model (lora_unet_x0.lora_down.weight, "
        "lora_unet_x1.lora_down.weight, lora_unet_x2.lora_down.weight, "
        "lora_unet_x3.lora_down.weight, lora_unet_x4.lora_down.weight, ...)",
    ),
    "a key of no kind": (
        more(**{f"{NAME}__scalar": ONE}),
        f"1 of 37 keys have no place in this model ({NAME}.scalar)",
    ),
    "a difference too": (
        more(**{f"{NAME}__diff": torch.ones(64, 32)}),
        f"{KEY} is a difference, but has down and up too",
    ),
    "no bias": (
        more(**{f"{NAME}__diff_b": ONE}),
        f"1 of 37 keys have no place in this model ({NAME}.diff_b)",
    ),
    "a bare module": (more(**{NAME: ONE}), f"1 of 37 keys have no place in this model ({NAME})"),
    "a bias": (
        more(**{f"{PEFT_NAME}.lora_B.bias": ONE}),
        f"1 of 37 keys have no place in this model ({PEFT_NAME}.lora_B.bias)",
    ),
    "a norm": (
        more(lora_unet_conv_norm_out__lora_down__weight=ONE),
        "1 of 37 keys have no place in this model (lora_unet_conv_norm_out.lora_down.weight)",
    ),
    "a deeper model": (
        rename("blocks_1_attentions_0", "blocks_1_attentions_7"),
        "keys have no place in this model (lora_unet_down_blocks_1_attentions_7_proj_in.alpha",
    ),
    "no up": (without("lora_up.weight"), f"{KEY} has no up factor, only down"),
    "no down": (without("lora_down.weight"), f"{KEY} has no down factor, only up"),
    "alpha alone": (
        more(lora_unet_time_embedding_linear_1__alpha=ONE),
        "unet.time_embedding.linear_1.weight has no down factor, only alpha",
    ),
    "two names": (
        more(**{f"{KEY.removesuffix('.weight')}.lora_A.weight": torch.ones(4, 32)}),
        f"{KEY.removesuffix('.weight')}.lora_A.weight is there twice, under two names",
    ),
    "another text encoder": (
        other("lora_down.weight", lambda t: torch.ones(4, 96)),
        f"{KEY}: the LoRA is for a model of another width, 96 to 64, want 32 to 64",
    ),
    "another UNet": (
        other("lora_up.weight", lambda t: torch.ones(640, 4)),
        f"{KEY}: the LoRA is for a model of another width, 32 to 640, want 32 to 64",
    ),
    "two ranks": (
        other("lora_up.weight", lambda t: torch.ones(64, 3)),
        f"{KEY}: down has rank 4, up has rank 3",
    ),
    "no rank": (
        other("lora_down.weight", lambda t: torch.ones(0, 32)),
        f"{KEY}: down must be a matrix of 16 or 32-bit floats, got torch.float32 [0, 32]",
    ),
    "a vector": (
        other("lora_down.weight", lambda t: torch.ones(32)),
        f"{KEY}: down must be a matrix of 16 or 32-bit floats, got torch.float32 [32]",
    ),
    "whole numbers": (
        other("lora_up.weight", lambda t: torch.ones(64, 4).int()),
        f"{KEY}: up must be a matrix of 16 or 32-bit floats, got torch.int32 [64, 4]",
    ),
    "nan": (other("lora_up.weight", lambda t: t / 0), f"{KEY}: up has values that are not finite"),
    "infinite alpha": (
        other("alpha", lambda t: t / 0),
        f"{KEY}: alpha must be a finite number, got inf",
    ),
    "two alphas": (other("alpha", lambda t: torch.ones(2)), f"{KEY}: alpha must be one number"),
    "another kernel": (
        more(
            lora_unet_conv_in__lora_down__weight=torch.ones(4, 4, 1, 1),
            lora_unet_conv_in__lora_up__weight=torch.ones(32, 4, 1, 1),
        ),
        "unet.conv_in.weight: the LoRA is for a kernel of 1 x 1, want 3 x 3",
    ),
    "another core": (
        more(
            lora_unet_conv_in__lora_down__weight=torch.ones(2, 4, 1, 1),
            lora_unet_conv_in__lora_mid__weight=torch.ones(2, 2, 5, 5),
            lora_unet_conv_in__lora_up__weight=torch.ones(32, 2, 1, 1),
        ),
        "unet.conv_in.weight: its LoRA does not fit the weight's [32, 4, 3, 3]: ",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file(name: str, pipe: Any, shapes: Shapes, tmp_path: Path) -> None:
    change, sentence = FILES[name]
    tensors = kohya(factors(pipe, blocks=("down_blocks.1.attentions.0",)), 2.0)
    change(tensors)
    path = write(tmp_path, tensors)
    check_refusal(path, f"{tmp_path.name}/0.safetensors", shapes)
    check_refusal(path, sentence, shapes)


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), True, "1", None, 10**400])
def test_a_bad_strength(strength: Any, pipe: Any, shapes: Shapes, tmp_path: Path) -> None:
    path = write(tmp_path, kohya(factors(pipe)))
    check_refusal(path, "0.safetensors must be a finite number, got ", shapes, strength)


def test_a_scale_beyond_float32(pipe: Any, shapes: Shapes, tmp_path: Path) -> None:
    path = write(tmp_path, kohya(factors(pipe), 1e30))
    check_refusal(path, "its scale must be a finite number, got 2.5", shapes, 1e30)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("name", ["a.pt", "a.bin", "a.ckpt", "a.safetensors"])
def test_a_pickle(
    name: str, shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Payload()}, tmp_path / name)
    known = "is a pickle, which is never loaded: `mdp-lite convert` makes safetensors of it"
    unknown = "is not a readable safetensors file"
    check_refusal(tmp_path / name, unknown if name.endswith("safetensors") else known, shapes)
    assert not (tmp_path / "executed").exists()


def test_a_file_that_is_cut_short(pipe: Any, shapes: Shapes, tmp_path: Path) -> None:
    path = write(tmp_path, kohya(factors(pipe)))
    os.truncate(path, path.stat().st_size - 1)
    check_refusal(path, "is not a readable safetensors file", shapes)
    path.unlink()
    check_refusal(path, "can't be read: ", shapes)
