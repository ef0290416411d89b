"""Models of few steps: only a name, a card or metadata makes one, and a note says which.

The kind: a default that is a guess. A scheduler's class or spacing is no evidence, because ordinary
models are saved with every sampler; a wrong guess of 4 steps without guidance ruins their pictures.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LCMScheduler
from safetensors.torch import save_file

from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.checkpoint.few_steps import find_word
from mdp_lite.checkpoint.load import Choices, examine
from mdp_lite.editor import Editor
from support import ldm
from support.checkpoints import write_json

SCHEDULER = "scheduler/scheduler_config.json"
FEW, MANY = Defaults(4, 1.0), Defaults(50, 7.5)


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the random model without its own settings."""
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    (folder / "mdp_lite.json").unlink()
    return Path(folder)


def change(folder: Path, **options: Any) -> None:
    raw = json.loads((folder / SCHEDULER).read_text("utf-8"))
    write_json(folder / SCHEDULER, raw | options)


NAMES = {
    "sd-turbo": "turbo",
    "SDTurbo": "turbo",
    "sdturbo_fp16": "sdturbo",
    "DreamShaper8_LCM": "lcm",
    "dreamshaper-8-lcm": "lcm",
    "sd15_lightning_4step": "lightning",
    "Hyper-SD15-8steps": "hyper",
    "realisticVisionV60B1_v51HyperVAE": "hyper",
    "sd15-hyper": "hyper",
}
PLAIN_NAMES = [
    *("HyperRealism_v2", "hyper-detailed", "hypernetwork", "calcmodel", "turbocharged"),
    *("v1-5-pruned-emaonly", "stable-diffusion-2-1", "enlightening", "model"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_models_of_few_steps(name: str) -> None:
    assert find_word(name) == NAMES[name]


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_names_of_others(name: str) -> None:
    assert find_word(name) is None


OPTIONS = [
    {"timestep_spacing": "trailing"},
    {"timestep_spacing": "trailing", "_class_name": "EulerDiscreteScheduler"},
    {"_class_name": "LCMScheduler", "original_inference_steps": 50},
    {"_class_name": "TCDScheduler", "timestep_spacing": "linspace"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_scheduler_is_no_evidence(options: dict[str, Any], copy: Path) -> None:
    change(copy, **options)
    models = Editor.from_pretrained(copy, "cpu").models
    assert models.defaults == MANY
    assert [note for note in models.notes if "by default" in note] == []


def test_diffusers_own_lcm_config_is_no_evidence(copy: Path) -> None:
    raw = json.loads((copy / SCHEDULER).read_text("utf-8"))
    LCMScheduler.from_config(raw).save_pretrained(copy / "scheduler")
    models = Editor.from_pretrained(copy, "cpu").models
    assert models.defaults == MANY
    assert models.notes == ("sampled by DDIM, the checkpoint was saved with LCMScheduler",)


def test_the_name_of_a_folder(copy: Path) -> None:
    models = Editor.from_pretrained(copy.rename(copy.parent / "my-lcm"), "cpu").models
    assert models.defaults == FEW
    assert models.notes == ("by default steps 4, guidance 1: the name my-lcm says lcm",)


def test_the_repository_of_a_snapshot(copy: Path) -> None:
    snapshots = copy.parent / "models--stabilityai--sd-turbo" / "snapshots"
    snapshots.mkdir(parents=True)
    found = examine(copy.rename(snapshots / ("0123456789" * 4)))
    assert found.defaults == FEW
    want = "by default steps 4, guidance 1: the repository stabilityai/sd-turbo says turbo"
    assert found.found.notes == (want,)


CARDS = {
    "---\ntags:\n- text-to-image\n- lcm\n---\n": "tags of the model card lcm says lcm",
    "---\nbase_model: stabilityai/sd-turbo\n---\n": "base_model of the model card stabilityai/"
    "sd-turbo says turbo",
    "---\ntags: [art, lightning]\n---\n": "tags of the model card art, lightning says lightning",
    "---\nwidget:\n- text: lightning over a turbo engine\n---\n# LCM\n": None,
    "# Faster than SD-Turbo\n": None,
    "": None,
}


@pytest.mark.parametrize("card", CARDS)
def test_the_model_card(card: str, copy: Path) -> None:
    (copy / "README.md").write_text(card, "utf-8")
    found, reason = examine(copy), CARDS[card]
    assert found.defaults == (FEW if reason else MANY)
    want = (f"by default steps 4, guidance 1: {reason}",) if reason else ()
    assert found.found.notes == want


def test_own_settings_count_and_only_guesses_are_told(copy: Path) -> None:
    folder = copy.rename(copy.parent / "sd-turbo")
    write_json(folder / "mdp_lite.json", {"num_inference_steps": 2})
    found = examine(folder)
    assert found.defaults == Defaults(2, 1.0)
    assert found.found.notes == ("by default guidance 1: the name sd-turbo says turbo",)
    write_json(folder / "mdp_lite.json", {"num_inference_steps": 20, "guidance_scale": 5})
    found = examine(folder)
    assert found.defaults == Defaults(20, 5) and found.found.notes == ()


@pytest.mark.parametrize(
    ("name", "metadata", "reason"),
    [
        ("a.safetensors", {"modelspec.title": "SD-Turbo"}, "modelspec.title in the file SD-Turbo"),
        ("sd_turbo.safetensors", {}, "the name sd_turbo"),
        ("a.safetensors", {"modelspec.description": "not a turbo"}, None),
        ("a.safetensors", {}, None),
    ],
    ids=str,
)
def test_a_single_file(name: str, metadata: Any, reason: str | None, tmp_path: Path) -> None:
    tensors: dict[str, torch.Tensor] = ldm.single(ldm.write_folder(tmp_path / "f", False), False)
    save_file(tensors, tmp_path / name, metadata)
    found = examine(tmp_path / name, Choices(tokenizer=tmp_path / "f"))
    assert found.defaults == (FEW if reason else MANY)
    notes = [note for note in found.found.notes if note.startswith("by default")]
    assert notes == ([f"by default steps 4, guidance 1: {reason} says turbo"] if reason else [])
