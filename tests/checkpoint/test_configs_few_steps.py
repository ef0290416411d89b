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
from safetensors.torch import load_file, save_file

from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.checkpoint.few_steps import find_word
from mdp_lite.checkpoint.load import Choices, examine
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite.pipeline.request import build_weights
from support import ldm
from support.checkpoints import write_json

SCHEDULER = "scheduler/scheduler_config.json"
EULER = "sampled by Euler on trailing timesteps"
BY_DEFAULT = "by default steps 4, guidance 1"
FEW, MANY = Defaults(4, 1.0, distilled=True), Defaults(50, 7.5)


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
    "Hyper-SDXL-8steps-lora": "hyper",
    "realisticVisionV60B1_v51HyperVAE": "hyper",
    "sd15-hyper": "hyper",
    "TCD-SDXL-LoRA": "tcd",
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
    assert models.notes == (
        "sampled by LCM, by default steps 4, guidance 1: the name my-lcm says lcm",
    )


def test_the_repository_of_a_snapshot(copy: Path) -> None:
    snapshots = copy.parent / "models--stabilityai--sd-turbo" / "snapshots"
    snapshots.mkdir(parents=True)
    found = examine(copy.rename(snapshots / ("0123456789" * 4)))
    assert found.defaults == FEW
    want = f"{EULER}, {BY_DEFAULT}: the repository stabilityai/sd-turbo says turbo"
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
    how = "sampled by LCM" if reason and "lcm" in reason else EULER
    want = (f"{how}, by default steps 4, guidance 1: {reason}",) if reason else ()
    assert found.found.notes == want


def test_own_settings_count_and_only_guesses_are_told(copy: Path) -> None:
    folder = copy.rename(copy.parent / "sd-turbo")
    reason = "the name sd-turbo says turbo"
    write_json(folder / "mdp_lite.json", {"num_inference_steps": 2})
    found = examine(folder)
    assert found.defaults == Defaults(2, 1.0, distilled=True)
    assert found.found.notes == (f"{EULER}, by default guidance 1: {reason}",)
    write_json(folder / "mdp_lite.json", {"num_inference_steps": 20, "guidance_scale": 5})
    found = examine(folder)
    assert found.defaults == Defaults(20, 5, distilled=True) and found.found.notes == (
        f"{EULER}: {reason}",
    )


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
    notes = [note for note in found.found.notes if "by default" in note]
    assert notes == ([f"{EULER}, {BY_DEFAULT}: {reason} says turbo"] if reason else [])


LORAS = {
    "pytorch_lora_weights": ("models--latent-consistency--lcm-lora-sdv1-5", "lcm", "leading", 4),
    "sdxl_lightning_8step_lora": ("a", "euler", "trailing", 8),
    "Hyper-SD15-2steps-lora": ("a", "ddim", "trailing", 2),
    "sd_turbo_lora": ("a", "euler", "trailing", 4),
    "Hyper-SDXL-1step-lora": ("a", "tcd", "leading", 1),
    "TCD-SD15-LoRA": ("a", "tcd", "leading", 4),
}


@pytest.mark.parametrize("name", LORAS)
def test_a_lora_makes_it_a_model_of_few_steps(name: str, copy: Path, tmp_path: Path) -> None:
    """Its grid, steps and guidance count more than the checkpoint's own, and a note says so."""
    folder, sampler, spacing, steps = LORAS[name]
    path = tmp_path / folder / "snapshots" / f"{name}.safetensors"
    path.parent.mkdir(parents=True)
    write_lora(copy, path)
    write_json(copy / "mdp_lite.json", {"num_inference_steps": 50, "guidance_scale": 7.5})
    models = Editor.from_pretrained(copy, "cpu", loras=[path]).models
    assert models.defaults == Defaults(steps, 1.0, distilled=True)
    assert (models.scheduler.sampler, models.scheduler.timestep_spacing) == (sampler, spacing)
    (note,) = models.notes
    assert "of a LoRA, the " in note and f"by default steps {steps}, guidance 1" in note
    weak = Editor.from_pretrained(copy, "cpu", loras=[(path, 0.0)]).models
    assert weak.defaults == MANY and weak.scheduler.sampler == "ddim"


def write_lora(folder: Path, path: Path) -> None:
    """A LoRA of one layer of this model."""
    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    key = next(k for k in unet if k.endswith("attn2.to_q.weight"))
    rows, columns = unet[key].shape
    base = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
    pair = {"up": torch.ones(rows, 1), "down": torch.ones(1, columns)}
    tensors = {f"{base}.lora_{side}.weight": tensor for side, tensor in pair.items()}
    save_file(tensors | {f"{base}.alpha": torch.tensor(1.0)}, path)


def test_options_count_more_than_evidence(copy: Path) -> None:
    folder = copy.rename(copy.parent / "sd-turbo")
    models = Editor.from_pretrained(folder, "cpu", sampler="lcm").models
    assert models.scheduler.sampler == "lcm"
    options = {"sampler": "ddim", "timestep_spacing": "leading", "prediction_type": "sample"}
    found = Editor.from_pretrained(folder, "cpu", **options).models.scheduler
    assert (found.sampler, found.timestep_spacing) == ("ddim", "leading")
    assert found.prediction_type == "sample"


ONE_STEP = {  # by Hyper-SD's card, and for TCD's LoRA by its own
    "Hyper-SD15-1step": ("tcd", {"eta": 1.0}, "TCD with eta 1, by default steps 1"),
    "Hyper-SDXL-1step-Unet-Comfyui.fp16": (
        "lcm",
        {"first_timestep": 800},
        "LCM from timestep 800, by default steps 1",
    ),
    "my-tcd": ("tcd", {"eta": 0.3}, "TCD with eta 0.3, by default steps 4"),
    "Hyper-SDXL-4steps-Unet": ("ddim", {}, "DDIM on trailing timesteps, by default steps 4"),
    "Hyper-SD15-8steps-CFG": ("ddim", {}, "DDIM on trailing timesteps, by default steps 8"),
}


@pytest.mark.parametrize("name", ONE_STEP)
def test_hyper_and_tcd(name: str, copy: Path) -> None:
    """The sampler, its own options, and the note that says so."""
    sampler, options, note = ONE_STEP[name]
    found = examine(copy.rename(copy.parent / name))
    own = {"eta": 0.3, "first_timestep": None} | options
    scheduler = found.scheduler
    assert (scheduler.sampler, scheduler.eta, scheduler.first_timestep) == (sampler, *own.values())
    assert any(note in line for line in found.found.notes)


def test_a_hyper_folder_of_the_tcd_scheduler(copy: Path) -> None:
    """More than one step is DDIM's, but here the folder says otherwise; an ordinary one can't."""
    change(copy, _class_name="TCDScheduler", eta=0.5)
    assert examine(copy).scheduler.sampler == "ddim"
    found = examine(copy.rename(copy.parent / "hyper-sd15-4steps"))
    assert (found.scheduler.sampler, found.scheduler.eta) == ("tcd", 0.3)
    found = examine(copy.parent / "hyper-sd15-4steps", Choices(sampler="tcd"))
    assert (found.scheduler.sampler, found.scheduler.eta) == ("tcd", 0.5)  # as it is asked for


@pytest.mark.parametrize("options", [{"eta": 1.5}, {"first_timestep": 1000}], ids=str)
def test_odd_options_of_a_sampler_are_refused(options: dict[str, Any], copy: Path) -> None:
    change(copy, sampler="tcd" if "eta" in options else "lcm", **options)
    with pytest.raises(BadInput, match="scheduler: want eta to 1 and first_timestep below 1000"):
        examine(copy, Choices(sampler="tcd" if "eta" in options else "lcm"))


@pytest.mark.parametrize("option", ["sampler", "timestep_spacing", "prediction_type"])
def test_options_are_checked(option: str, copy: Path) -> None:
    with pytest.raises(BadInput, match=f"{option} must be one of"):
        Editor.from_pretrained(copy, "cpu", **{option: "heun"})


def test_a_cfg_lora_leaves_the_guidance(copy: Path, tmp_path: Path) -> None:
    path = tmp_path / "Hyper-SD15-8steps-CFG-lora.safetensors"
    write_lora(copy, path)
    assert Editor.from_pretrained(copy, "cpu", loras=[path]).models.defaults == Defaults(
        8, 7.5, distilled=True
    )


def test_a_stored_source_is_for_its_sampler(copy: Path, tmp_path: Path) -> None:
    plain, turbo = (Editor.from_pretrained(copy, "cpu", sampler=s) for s in ("ddim", "euler"))
    source = turbo.generate("a red house", num_inference_steps=2, width=32, height=32)
    turbo.save_source(source, tmp_path / "a.safetensors")
    with pytest.raises(BadInput, match="was made on another grid: sampler is 'euler'"):
        plain.load_source(tmp_path / "a.safetensors")


@pytest.mark.parametrize("n", [1, 2, 4, 8, 9])
def test_the_default_edit_of_few_steps(n: int) -> None:
    """Up to 8 steps it is a table of its own; a window of one or two steps would be none."""
    usual = build_weights(n, FEW)
    assert (usual.eps == (0.5 if n == 2 else 0.75)).all() == (n <= 8)
    if n > 8:
        return
    assert usual.x[-1] == 0 and (usual.x[:-1] > 0).all()
    ends = [build_weights(n, FEW, strength=s) for s in (0.0, 0.5, 1.0)]
    assert (ends[0].eps == 1).all() and torch.equal(ends[1].eps, usual.eps)
    assert torch.equal(ends[1].x, usual.x) and not any(w.any() for w in ends[2][:4])
    own = build_weights(n, FEW, t_max=n, t_m=1)  # a window of the caller's is the caller's
    assert own.eps.tolist() == [1.0] + [0.0] * (n - 1)
    noisy = build_weights(n, FEW, noisy=True)  # its own table on recorded noise too
    assert torch.equal(noisy.eps, usual.eps) and noisy.local is None
    assert build_weights(n, MANY, noisy=True).local is not None
