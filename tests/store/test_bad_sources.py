"""Files without a source, or with a damaged one: each is refused by name and never read in part."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mdp_lite.editor import Editor
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.store import source_header
from support.source_cases import STEPS, picture


@pytest.fixture
def saved(editor: Editor, tmp_path: Path) -> Path:
    source = editor.invert(picture(), "a house", "replay", STEPS)
    editor.save_source(source, tmp_path / "house.safetensors")
    return tmp_path / "house.safetensors"


def rewrite(path: Path, settings: dict | None = None, **tensors: torch.Tensor | None) -> None:
    """Write the file with other settings or tensors, and the right SHA-256 for them."""
    with safe_open(path, "pt") as file:
        old = json.loads(file.metadata()[source_header.HEADER])
    del old["sha256"]
    merged = {k: v for k, v in (load_file(path) | tensors).items() if v is not None}
    save_file(
        merged, path, {source_header.HEADER: source_header.header(old | (settings or {}), merged)}
    )


def with_nan(path: Path, name: str) -> torch.Tensor:
    tensor = load_file(path)[name]
    tensor.view(-1)[3] = torch.nan
    return tensor


def how(**settings: object) -> dict:
    """The settings of a replayed inversion, but for these."""
    return asdict(Inversion("replay")) | settings


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (lambda p: p.write_bytes(b""), "no readable safetensors file"),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:-100]), "no readable safetensors file"),
    "cut in the header": (lambda p: p.write_bytes(p.read_bytes()[:50]), "no readable safetensors"),
    "no file": (lambda p: p.unlink(), "no such file"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "no such file"),
    "a picture": (lambda p: picture().save(p, "PNG"), "no readable safetensors file"),
    "a model's": (lambda p: save_file({"x": torch.zeros(3)}, p), "holds no source of mdp_lite"),
    "one bit": (
        lambda p: p.write_bytes(p.read_bytes()[:-9] + bytes([p.read_bytes()[-9] ^ 4])
                                + p.read_bytes()[-8:]),
        "damaged: its content does not match the SHA-256",
    ),
    "no JSON": (
        lambda p: save_file({"x": torch.zeros(3)}, p, {source_header.HEADER: "{"}),
        "damaged: its settings are no JSON object",
    ),
    "format": (lambda p: rewrite(p, {"format": 2}), "has format 2, this version reads 4"),
    "type": (lambda p: rewrite(p, {"prompt": 3}), "prompt must be of type <class 'str'>, got 3"),
    "guidance": (lambda p: rewrite(p, {"guidance_scale": 0.5}), "guidance_scale must be from 1"),
    "method": (lambda p: rewrite(p, {"inversion": how(method="magic")}), "method must be one of"),
    "settings": (lambda p: rewrite(p, {"inversion": {}}), "inversion must have the settings of"),
    "setting": (lambda p: rewrite(p, {"inversion": how(seed=3)}), "seed is not a setting of"),
    "tuning": (lambda p: rewrite(p, {"tuning": [[1]]}), "tuning must be pairs of iterations"),
    "null": (lambda p: rewrite(p, null=torch.zeros(1)), r"null must be \(4, 1, .*, got \(1,\)"),
    "seed": (lambda p: rewrite(p, {"seed": -1}), "seed must be from 0"),
    "cost": (lambda p: rewrite(p, {"unet_rows": -1}), "cost must be 0 or more"),
    "fit": (lambda p: rewrite(p, {"fit": {"mode": "pad"}}), "fit must be that of pad"),
    "missing": (lambda p: rewrite(p, picture=None), "picture is missing or unknown"),
    "unknown": (lambda p: rewrite(p, y=torch.zeros(1)), "y is missing or unknown"),
    "of an inpainting model": (
        lambda p: rewrite(p, channels=torch.zeros(1, 5, 8, 8).double()),
        "channels is missing or unknown",
    ),
    "mask of another size": (
        lambda p: rewrite(p, mask=torch.zeros(2, 3).byte()),
        r"mask must be \(28, 40\) in torch.uint8, got \(2, 3\) in torch.uint8",
    ),
    "NaN": (lambda p: rewrite(p, x=with_nan(p, "x")), "x must be finite, got NaN"),
    "NaN in c": (lambda p: rewrite(p, c=with_nan(p, "c")), "c must be finite, got NaN"),
    "dtype": (lambda p: rewrite(p, x=load_file(p)["x"].float()), "x must be .* in torch.float64"),
    "shape": (
        lambda p: rewrite(p, eps=load_file(p)["eps"][:-1]),
        r"eps must be \(4, 1, 4, 8, 8\) in torch.float64, got \(3, 1, 4, 8, 8\)",
    ),
    "grid": (
        lambda p: rewrite(p, a=load_file(p)["a"].flip(0)),
        "its grid's a is not the editor's for 4 steps",
    ),
    "no steps": (
        lambda p: rewrite(p, t=torch.zeros(0, dtype=torch.int64)), "num_inference_steps must be",
    ),
    "image": (
        lambda p: rewrite(p, image=torch.zeros(32, 30, 3, dtype=torch.uint8)),
        "width must be a multiple of 4",
    ),
    "picture": (
        lambda p: rewrite(p, picture=torch.zeros(32, 32, 4, dtype=torch.uint8)),
        r"picture must be \(h, w, 3\) in uint8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_wrong_is_refused(editor: Editor, saved: Path, name: str) -> None:
    spoil, sentence = WRONG[name]
    spoil(saved)
    with pytest.raises(ValueError, match=sentence) as error:
        editor.load_source(saved)
    assert str(error.value).startswith(f"{saved.parent.name}/house.safetensors: ")
    assert str(saved.parent.parent) not in str(error.value)


def test_a_rewritten_file_is_whole(editor: Editor, saved: Path) -> None:
    rewrite(saved, {"prompt": "another"})
    assert editor.load_source(saved).prompt == "another"
