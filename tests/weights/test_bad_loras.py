"""LoRA files that can't be read, or are something else: one sentence each."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mdp_lite_weights.lora import Shapes, read_lora
from support.lora_files import Tensors, factors, kohya, peft, pipeline, write

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
    "DoRA of kohya": (more(a__dora_scale=ONE), "is a DoRA, which is not supported (a.dora_scale)"),
    "DoRA of peft": (more(unet__a__lora_magnitude_vector=ONE), "is a DoRA, which is"),
    "LoCon": (more(lora_unet_a__lora_mid__weight=ONE), "is a LoCon, which is not supported"),
    "LoHa": (more(lora_unet_a__hada_w1_a=ONE), "is a LoHa, which is not supported"),
    "LoKr": (more(lora_unet_a__lokr_w1=ONE), "is a LoKr, which is not supported"),
    "(IA)3 of peft": (more(unet__a__ia3_l=ONE), "is an (IA)3, which is not supported"),
    "(IA)3 of LyCORIS": (more(lora_unet_a__on_input=ONE), "is an (IA)3, which is not supported"),
    "OFT": (more(unet__a__oft_r=ONE), "is an OFT, which is not supported"),
    "SDXL": (more(lora_te2_a__alpha=ONE), "is a LoRA for SDXL, which is not supported"),
    "SDXL of diffusers": (more(text_encoder_2__a__lora_A__weight=ONE), "is a LoRA for SDXL, which"),
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
        more(**{f"{NAME}__diff": ONE}),
        f"1 of 37 keys have no place in this model ({NAME}.diff)",
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
        rename("transformer_blocks_0", "transformer_blocks_1"),
        "keys have no place in this model (lora_unet_down_blocks_1_attentions_0_transformer",
    ),
    "no up": (without("lora_up.weight"), f"{KEY} has no up factor, only alpha and down"),
    "no down": (without("lora_down.weight"), f"{KEY} has no down factor, only alpha and up"),
    "alpha alone": (
        more(lora_unet_time_embedding_linear_1__alpha=ONE),
        "unet.time_embedding.linear_1.weight has no down factor, only alpha",
    ),
    "two names": (
        more(**{f"{KEY.removesuffix('.weight')}.lora_A.weight": torch.ones(4, 32)}),
        f"{KEY.removesuffix('.weight')}.lora_A.weight is there twice, under two names",
    ),
    "another text encoder": (
        other("lora_down.weight", lambda t: torch.ones(4, 2048)),
        f"{KEY}: the LoRA is for a model of another width, 2048 to 64, want 32 to 64",
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
    "3x3 convolutions": (
        more(
            lora_unet_conv_in__lora_down__weight=torch.ones(4, 4, 3, 3),
            lora_unet_conv_in__lora_up__weight=torch.ones(32, 4, 1, 1),
        ),
        "unet.conv_in.weight is a convolution, and LoCon (LoRA of those) is not supported",
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


def check_refusal(path: Path, sentence: str, shapes: Shapes, strength: Any = 1.0) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        read_lora(path, strength, shapes)
    assert "\n" not in str(caught.value) and str(path.parent) not in str(caught.value)


SETTINGS: dict[str, tuple[str, str]] = {
    "DoRA": ('{"unet.use_dora": true}', "peft's setting use_dora is not supported, got True"),
    "bias": ('{"text_encoder.lora_bias": true}', "peft's setting lora_bias is not supported"),
    "PiSSA": (
        '{"unet.init_lora_weights": "pissa"}',
        "peft's setting init_lora_weights is not supported, got 'pissa'",
    ),
    "LoHa": ('{"unet.peft_type": "LOHA"}', "peft's setting peft_type is not supported, got 'LOHA'"),
    "no JSON": ("{", "peft's settings must be JSON, got '{'"),
    "deep JSON": ("[" * 100_000, "peft's settings must be JSON, got '[[["),
    "a list": ("[1]", "peft's settings must be a JSON object, got '[1]'"),
    "nan": (
        '{"unet.lora_alpha": NaN}',
        "peft's alpha of lora_alpha must be a finite number, got nan",
    ),
    "a text": (
        '{"unet.lora_alpha": "8"}',
        "peft's alpha of lora_alpha must be a finite number, got '8'",
    ),
    "a list of alphas": (
        '{"unet.lora_alpha": 8, "unet.alpha_pattern": [1]}',
        "alpha_pattern must be a JSON object, got [1]",
    ),
    "a text in a pattern": (
        '{"unet.alpha_pattern": {"to_q": null}}',
        "peft's alpha of to_q must be a finite number, got None",
    ),
    "a bad pattern": (
        '{"unet.alpha_pattern": {"to_(q": 1}}',
        "alpha_pattern has a bad name, 'to_(q'",
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_bad_settings_of_peft(name: str, pipe: Any, shapes: Shapes, tmp_path: Path) -> None:
    text, sentence = SETTINGS[name]
    tensors = peft(factors(pipe, blocks=("mid_block",)))
    path = write(tmp_path, tensors, {"lora_adapter_metadata": text})
    check_refusal(path, f"{tmp_path.name}/0.safetensors: {sentence}", shapes)


def test_alphas_in_two_places(pipe: Any, shapes: Shapes, tmp_path: Path) -> None:
    tensors = kohya(factors(pipe), 1.0)
    path = write(tmp_path, tensors, {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 8})})
    check_refusal(path, "has alphas in both its tensors and peft's settings", shapes)


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
