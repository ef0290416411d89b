"""Bad input to the Python API: a ValueError of one sentence, before the first step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mdp_lite.editor import Editor, Source
from mdp_lite.method.schedule import Weights
from mdp_lite.pipeline.inversion_methods import Inversion

NAN, INF = float("nan"), float("inf")
N = 4  # steps of the source that is edited


def weights(**columns: torch.Tensor) -> Weights:
    """A table of N steps of 0, but for these columns."""
    zeros = torch.zeros(N, dtype=torch.float64)
    return Weights(**({"c": zeros, "eps": zeros, "x": zeros, "beta": zeros} | columns))


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    return editor.generate("a red house", num_inference_steps=N)


GENERATE: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt must be a text, got NoneType"),
    ({"prompt": 3}, "prompt must be a text, got int"),
    ({"prompt": ["a"]}, "prompt must be a text, got list"),
    ({"negative_prompt": None}, "negative_prompt must be a text, got NoneType"),
    *(
        (
            {"num_inference_steps": n},
            f"num_inference_steps must be a whole number from 1 to 1000, got {n}",
        )
        for n in (0, -1, 1001, 1.5, NAN, "5", True)
    ),
    *(
        ({"guidance_scale": g}, f"guidance_scale must be a finite number, got {g!r}")
        for g in (NAN, INF, "7", True)
    ),
    *(
        (
            {"guidance_scale": g},
            f"guidance_scale must be from 1 (no guidance) to 100, got {g}",
        )
        for g in (-1, 0, 0.5, 1e30)
    ),
    *(({"seed": s}, f"seed must be from 0 to 2^63 - 1, got {s}") for s in (-1, 2**63)),
    *(({"seed": s}, f"seed must be a whole number, got {s!r}") for s in (1.0, "1", None, True)),
    *(
        ({side: value}, f"{side} must be a multiple of 4 from 4 to 4096, got {value}")
        for side in ("width", "height")
        for value in (0, -4, 30, 4100, 10**9)
    ),
    ({"width": 32.0}, "width must be a whole number, got 32.0"),
    ({"height": "32"}, "height must be a whole number, got '32'"),
]
EDIT: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt must be a text, got NoneType"),
    ({"negative_prompt": 3}, "negative_prompt must be a text, got int"),
    ({"guidance_scale": NAN}, "guidance_scale must be a finite number, got nan"),
    ({"t_max": 5}, "t_max must be at most the 4 steps of the path, got 5"),
    ({"t_max": -1}, "t_max must be a number of steps, 0 or more, got -1"),
    ({"t_max": NAN}, "t_max must be a finite number, got nan"),
    ({"t_max": 2, "t_m": 3}, "t_m must be at most t_max = 2, got 3"),
    ({"t_m": -1}, "t_m must be a number of steps, 0 or more, got -1"),
    ({"t_m": INF}, "t_m must be a finite number, got inf"),
    ({"t_m": "1"}, "t_m must be a finite number, got '1'"),
    ({"strength": -0.1}, "strength must be from 0 to 1, got -0.1"),
    ({"strength": 1.1}, "strength must be from 0 to 1, got 1.1"),
    ({"strength": NAN}, "strength must be a finite number, got nan"),
    ({"strength": 0.5, "t_m": 1}, "strength and t_m set the same thing: give one of them"),
    ({"variant": "eps"}, "variant must be one of epsilon, c, x, beta, got 'eps'"),
    (
        {"schedule": "sin"},
        "schedule must be one of constant, linear, cosine, exp, leash, local-leash, got 'sin'",
    ),
    (
        {"weight": 0.5, "t_max": N, "t_m": 0},
        "weight must have a step to mix, got none by t_m 0 of 4",
    ),
    (  # the look of so few steps covers the window
        {"weight": 0.5, "schedule": "local-leash"},
        "weight must have a step to mix, got none by t_m 1 of 4 steps (local-leash)",
    ),
    ({"weights": torch.zeros(N)}, "weights must be a Weights, got Tensor"),
    ({"weights": weights(x=torch.zeros(3))}, "weights.x must be a tensor of 4 rows, one a step"),
    ({"weights": weights(c=torch.zeros(()))}, "weights.c must be a tensor of 4 rows, one a step"),
    ({"weights": weights(eps=torch.full((N,), INF))}, "weights.eps must be finite numbers"),
    ({"weights": weights(beta=torch.full((N,), NAN))}, "weights.beta must be finite numbers"),
    ({"weights": weights(local=torch.full((N,), NAN))}, "weights.local must be finite numbers"),
    ({"weights": weights(tilt=torch.zeros(N + 1))}, "weights.tilt must be a tensor of 4 rows"),
    (
        {"weights": weights(), "variant": "c"},
        "weights is the whole table: give no variant, window or strength with it",
    ),
]
INVERT: list[tuple[dict[str, Any], str]] = [
    ({"image": "picture.png"}, "picture must be a PNG, JPEG or WebP file, got no such file: "),
    ({"image": None}, "image must be a PIL image, a path, bytes or a numpy array, got NoneType"),
    (
        {"image": torch.zeros(1, 3, 32, 32)},
        "must be a PIL image, a path, bytes or a numpy array, got Tensor",
    ),
    ({"image": Image.new("RGB", (0, 4))}, "image must have at least one pixel, got 0x4"),
    ({"image": Image.new("F", (4, 4))}, "got mode F"),
    ({"prompt": None}, "prompt must be a text, got NoneType"),
    ({"method": "null"}, "direct, edit-friendly or an Inversion, got 'null'"),
    ({"method": Inversion("magic")}, "method must be one of replay, ddim, fixed-point, "),
    ({"method": 3}, "or an Inversion, got int"),
    ({"method": Inversion("replay", seed=3)}, "seed is not a setting of replay, got 3"),
    ({"method": "negative-prompt", "negative_prompt": "night"}, "got negative_prompt 'night'"),
    ({"method": "null-text", "num_inference_steps": 101}, "null-text must have at most 100 steps"),
    ({"width": 30}, "width must be a multiple of 4 from 4 to 4096, got 30"),
    ({"num_inference_steps": 0}, "num_inference_steps must be a whole number from 1 to 1000"),
]


def refused(call: Callable[[], Any], sentence: str) -> None:
    """The call raises ValueError with this sentence, in one line."""
    with pytest.raises(ValueError) as caught:
        call()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def stop(done: int, total: int, latent: torch.Tensor) -> None:
    pytest.fail("a step was taken before the input was refused")


@pytest.mark.parametrize(("bad", "sentence"), GENERATE)
def test_generate_refuses(editor: Editor, bad: dict[str, Any], sentence: str) -> None:
    refused(lambda: editor.generate(**{"prompt": "a", "on_step": stop} | bad), sentence)


@pytest.mark.parametrize(("bad", "sentence"), EDIT)
def test_edit_refuses(editor: Editor, source: Source, bad: dict[str, Any], sentence: str) -> None:
    good = {"source": source, "prompt": "a", "on_step": stop}
    refused(lambda: editor.edit(**good | bad), sentence)


@pytest.mark.parametrize(("bad", "sentence"), INVERT)
def test_invert_refuses(editor: Editor, bad: dict[str, Any], sentence: str) -> None:
    good = {"image": Image.new("RGB", (40, 30)), "on_step": stop}
    refused(lambda: editor.invert(**good | bad), sentence)


def test_edit_refuses_what_is_no_source(editor: Editor) -> None:
    sentence = "source must be a Source, from editor.generate or editor.invert(picture), got Image"
    refused(lambda: editor.edit(Image.new("RGB", (4, 4)), "a"), sentence)  # type: ignore[arg-type]


def test_edit_refuses_a_source_of_another_model(editor: Editor, source: Source) -> None:
    wide = replace(source, path=source.path._replace(c=torch.zeros(1, 26, 32)))
    want = "source must be of this model (latent channels, tokens, width (4, 26, 16))"
    refused(lambda: editor.edit(wide, "a"), f"{want}, got (4, 26, 32)")


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("tpu", "device must be cpu, cuda or mps, got 'tpu'"),
        ("xpu", "device must be one of cpu, cuda, mps, got 'xpu'"),
        ("cuda:99", "device cuda:99 is not there"),
        (3.5, "device must be cpu, cuda or mps, got 3.5"),
    ],
)
def test_a_device_that_is_not_there(checkpoint: Path, device: Any, sentence: str) -> None:
    refused(lambda: Editor.from_pretrained(checkpoint, device), sentence)


@pytest.mark.parametrize("dtype", ["float", "fp16", torch.float64, torch.int8, None])
def test_a_dtype_that_is_not_supported(checkpoint: Path, dtype: Any) -> None:
    sentence = f"dtype must be auto, float32, float16, bfloat16, got {dtype!r}"
    refused(lambda: Editor.from_pretrained(checkpoint, "cpu", dtype), sentence)
