"""Conversions that can't be: one sentence each, nothing run, and nothing left on the disk."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mdp_lite_weights import Choices, Hub, open_checkpoint
from mdp_lite_weights.convert import convert
from support.ldm import single, write_folder

UNET, VAE, TEXT = "unet/config.json", "vae/config.json", "text_encoder/config.json"
SCHEDULER = "scheduler/scheduler_config.json"
UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
ALONE = Hub(local_files_only=True)
Damage = Callable[[Path], Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of SD 1.x's build; tests read it and never write to it."""
    folder = tmp_path_factory.mktemp("models") / "whole"
    write_folder(folder)
    return folder


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """The same by links, for a test to damage."""
    return Path(shutil.copytree(whole, tmp_path / "here" / "model", copy_function=os.symlink))


def options(name: str, **changed: Any) -> Damage:
    """Change options of a config file."""

    def damage(folder: Path) -> None:
        data = json.loads((folder / name).read_text("utf-8")) | changed
        (folder / name).unlink()
        (folder / name).write_text(json.dumps(data), "utf-8")

    return damage


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Damage:
    """Change the UNet's tensors."""

    def damage(folder: Path) -> None:
        found = load_file(folder / UNET_WEIGHTS)
        change(found)
        (folder / UNET_WEIGHTS).unlink()
        save_file(found, folder / UNET_WEIGHTS)

    return damage


def no_place(option: str, part: str, want: object, got: object) -> str:
    says = f"{option} of its {part} must be {want!r}, got {got!r}"
    return f"model has no place in a single file: {says}"


UNSAID: dict[str, tuple[Damage, str]] = {
    "other norm": (options(UNET, norm_eps=1e-6), no_place("norm_eps", "unet", 1e-5, 1e-6)),
    "heads": (options(UNET, attention_head_dim=4), no_place("attention_head_dim", "unet", 8, 4)),
    "heads by block": (
        options(UNET, attention_head_dim=[8, 8, 8, 4]),
        no_place("attention_head_dim", "unet", 8, [8, 8, 8, 4]),
    ),
    "phase": (
        options(UNET, flip_sin_to_cos=False),
        no_place("flip_sin_to_cos", "unet", True, False),
    ),
    "groups": (options(VAE, norm_num_groups=16), no_place("norm_num_groups", "vae", 32, 16)),
    "scale": (options(VAE, scaling_factor=0.13), no_place("scaling_factor", "vae", 0.18215, 0.13)),
    "text heads": (
        options(TEXT, num_attention_heads=2),
        no_place("num_attention_heads", "text_encoder", 1, 2),
    ),
    "activation": (
        options(TEXT, hidden_act="relu"),
        no_place("hidden_act", "text_encoder", "quick_gelu", "relu"),
    ),
    "blocks": (
        options(UNET, down_block_types=["DownBlock2D"] * 4),
        "down_block_types of its unet must be",
    ),
    "layers": (options(VAE, layers_per_block=1), no_place("layers_per_block", "vae", 2, 1)),
    "a key of another kind": (
        tensors(lambda found: found.update({"class_embedding.weight": torch.zeros(1)})),
        "model has no place in a single file: unet has (class_embedding.weight)",
    ),
}


def list_names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def check_refusal(name: str | Path, out: Path, sentence: str, **options_: Any) -> None:
    """Checks that convert raises this sentence, in a dry run and a real one, and writes nothing."""
    before = list_names(out.parent) if out.parent.is_dir() else set()
    for dry_run in (True, False):
        with pytest.raises(ValueError, match=re.escape(sentence)) as raised:
            convert(name, out, dry_run=dry_run, **options_)
        assert "\n" not in str(raised.value)
    assert before == (list_names(out.parent) if out.parent.is_dir() else set())


@pytest.mark.parametrize("name", UNSAID)
def test_what_a_single_file_does_not_say(name: str, model: Path, tmp_path: Path) -> None:
    damage, sentence = UNSAID[name]
    damage(model)
    check_refusal(model, tmp_path / "out.safetensors", sentence)


def test_the_bundled_model_is_of_another_build(tmp_path: Path) -> None:
    sentence = "tiny has no place in a single file: down_block_types of its unet must be"
    check_refusal("tiny", tmp_path / "out.safetensors", sentence)


def test_names_to_write(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old.safetensors").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("old", "old.safetensors", "link"):
        check_refusal(
            whole, tmp_path / name, f"{tmp_path.name}/{name} exists already: want a new name"
        )
    for name in ("a.ckpt", "a.pt", "a.bin"):
        check_refusal(whole, tmp_path / name, "want a folder or a .safetensors file to write, got")
    check_refusal(whole, tmp_path / "old.safetensors" / "below", "below can't be written: ")
    assert (tmp_path / "old.safetensors").read_text() == "mine"


def test_names_to_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    out = tmp_path / "out"
    check_refusal(
        tmp_path / "notes.txt", out, "a file to convert must end in .safetensors, .ckpt, .pt"
    )
    check_refusal("no-such-model", out, "got 'no-such-model'")
    check_refusal("org/none", out, "org/none (revision main) is not in", choices=Choices(hub=ALONE))
    (tmp_path / "empty").mkdir()
    check_refusal(tmp_path / "empty", out, "text_encoder must hold model.safetensors or")


def pickle(whole: Path, path: Path, **more: Any) -> Path:
    torch.save({"state_dict": single(open_checkpoint(whole).tensors) | more}, path)
    return path


class Payload:
    """Runs a command when an unguarded pickle is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def test_pickles(whole: Path, model: Path, tmp_path: Path) -> None:
    marker = tmp_path / "run"
    evil = Payload(f"echo run > {marker}")
    torch.save({"state_dict": {"a": torch.ones(1)}, "more": evil}, tmp_path / "evil.ckpt")
    (model / UNET_WEIGHTS).unlink()
    torch.save({"a": evil}, (model / UNET_WEIGHTS).with_suffix(".bin"))
    refusal = "asks for 'posix.system', which is not on the list: not loaded"
    for out in ("out", "out.safetensors"):
        check_refusal(
            tmp_path / "evil.ckpt", tmp_path / out, f"{tmp_path.name}/evil.ckpt {refusal}"
        )
        check_refusal(model, tmp_path / out, f"unet/diffusion_pytorch_model.bin {refusal}")
    assert not marker.exists()
    torch.save({"lora_unet_a.alpha": torch.ones(1)}, tmp_path / "lora.pt")
    check_refusal(tmp_path / "lora.pt", tmp_path / "out", "lora.pt is a LoRA: give it as one")
    start = "model.diffusion_model.input_blocks.0.0.weight"
    eight = {start: torch.zeros(32, 8, 3, 3)}
    pickle(whole, tmp_path / "pix.ckpt", **eight)
    check_refusal(tmp_path / "pix.ckpt", tmp_path / "out", "pix.ckpt is an InstructPix2Pix model")


def test_choices_that_do_not_fit(whole: Path, model: Path, tmp_path: Path) -> None:
    average = Choices(ema=True)
    pickle(whole, tmp_path / "a.ckpt")
    out = tmp_path / "out"
    check_refusal(
        tmp_path / "a.ckpt", out.with_suffix(".safetensors"), "ema chooses", choices=average
    )
    check_refusal(tmp_path / "a.ckpt", out, "a.ckpt holds no whole model_ema", choices=average)
    check_refusal(model, out, "ema is for single files", choices=average)
    weights = (model / UNET_WEIGHTS).rename(model / "unet" / "other.bin")
    check_refusal(model, out, "unet must hold diffusion_pytorch_model.safetensors or diffusion")
    torch.save(load_file(weights), (model / UNET_WEIGHTS).with_suffix(".bin"))
    check_refusal(model, out, "ema is for single files", choices=average)
    sentence = "no part has the variant 'fp16': want one of text_encoder/model.fp16.safetensors, "
    check_refusal(model, out, sentence, choices=Choices(variant="fp16"))
    check_refusal(whole, out, "tokenizer must be a folder", choices=Choices(tokenizer="nowhere"))


def refuse(found: object) -> None:
    raise ValueError("the caller says no")


def test_the_caller_may_refuse_what_was_found(whole: Path, tmp_path: Path) -> None:
    for out in ("out", "out.safetensors"):
        check_refusal(whole, tmp_path / out, "the caller says no", check=refuse)


def test_nothing_is_left_when_writing_fails(model: Path, tmp_path: Path) -> None:
    tensors(lambda found: found.update({"conv_in.bias": torch.full((32,), 1e6)}))(model)
    for out in (tmp_path / "out", tmp_path / "new" / "out.safetensors"):
        with pytest.raises(ValueError, match="conv_in.bias|input_blocks.0.0.bias"):
            convert(model, out, torch.float16)
    with pytest.raises(KeyboardInterrupt):
        convert(model, tmp_path / "out", progress=interrupt)
    before = {"here", *(f"here/{name}" for name in list_names(model.parent))}
    assert list_names(tmp_path) - {"new"} == before
    assert convert(model, tmp_path / "out", torch.bfloat16).out.is_dir()


def interrupt(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_a_full_disk(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(OSError, match="No space left on device: '.*/out'"):
        convert(whole, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_another_process_was_faster(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    with pytest.raises(ValueError, match="exists already"):
        convert(whole, out, progress=lambda done, total: out.write_text("theirs") and None)
    assert out.read_text() == "theirs" and list_names(tmp_path) == {out.name}


def test_a_single_file_says_that_the_clean_latent_is_predicted(model: Path, tmp_path: Path) -> None:
    options(SCHEDULER, prediction_type="sample")(model)
    file = tmp_path / "out.safetensors"
    convert(model, file)
    assert open_checkpoint(str(file)).configs["scheduler"]["prediction_type"] == "sample"
