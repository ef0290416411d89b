"""Settings of peft beside a LoRA that change its numbers, or are damaged: one sentence each."""

import json
from pathlib import Path
from typing import Any

import pytest

from mdp_lite_weights.lora import Shapes
from support.lora_files import check_refusal, factors, kohya, peft, pipeline, write


@pytest.fixture(scope="module")
def pipe() -> Any:
    return pipeline()


@pytest.fixture(scope="module")
def shapes(pipe: Any) -> Shapes:
    text = {f"text_model.{k}": t.shape for k, t in pipe.text_encoder.state_dict().items()}
    return {"unet": {k: t.shape for k, t in pipe.unet.state_dict().items()}, "text_encoder": text}


SETTINGS: dict[str, tuple[str, str]] = {
    "DoRA": (
        '{"unet.use_dora": true}',
        "unet.mid_block.attentions.0.proj_in.weight: peft's setting use_dora wants a "
        "lora_magnitude_vector, got none",
    ),
    "bias": ('{"text_encoder.lora_bias": true}', "peft's setting lora_bias is not supported"),
    "PiSSA": (
        '{"unet.init_lora_weights": "pissa"}',
        "peft's setting init_lora_weights is not supported, got 'pissa'",
    ),
    "OFT": ('{"unet.peft_type": "OFT"}', "peft's setting peft_type is not supported, got 'OFT'"),
    "no rank": ('{"unet.rank_pattern": {"a": 0}}', "peft's rank of a must be positive, got 0"),
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
