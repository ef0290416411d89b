"""Sources as files: read back bit for bit, by another process too, or refused by name."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.editor import Editor, Source
from mdp_lite.names import CannotWrite
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.store import source_file
from support.checkpoints import SCHEDULER, write_checkpoint, write_json
from support.source_cases import STEPS, change_unet, picture, same_bits

CONFIG = "scheduler/scheduler_config.json"

AGAIN = """
import sys, torch
from mdp_lite import Editor

torch.set_num_threads(1)
checkpoint, out = sys.argv[1:3]
editor = Editor.from_pretrained(checkpoint, device="cpu")
for path in sys.argv[3:]:
    one = editor.edit(editor.load_source(path), "a blue boat", "c", guidance_scale=2.0)
    torch.save((one.latent, one.image.tobytes()), f"{path}.pt")
"""


SOME = Inversion("null-text", inner_steps=2, early_stop=0.0, tuned_steps=(1, 3))
MAKERS: dict[str, Callable[[Editor], Source]] = {
    "generate": lambda editor: editor.generate("a red house", 7, STEPS),
    "unguided": lambda editor: editor.generate("a red house", 8, STEPS, 1.0, width=16),
    "replay": lambda editor: editor.invert(picture(), "a house", "replay", STEPS),
    "ddim": lambda editor: editor.invert(picture(), "a house", "ddim", STEPS, 2.0, "night"),
    "padded": lambda editor: editor.invert(picture(), "", "replay", STEPS, fit="pad"),
    "fixed-point": lambda editor: editor.invert(picture(), "", "fixed-point", STEPS),
    "negative": lambda editor: editor.invert(picture(), "a house", "negative-prompt", STEPS),
    "null-text": lambda editor: editor.invert(picture(), "a house", "null-text", STEPS),
    "some steps": lambda editor: editor.invert(picture(), "a house", SOME, STEPS),
    "direct": lambda editor: editor.invert(picture(), "a house", "direct", STEPS),
    "friendly": lambda editor: editor.invert(picture(), "a house", "edit-friendly", STEPS),
    "own": lambda editor: editor.invert(picture(), "", "replay", STEPS, fit="own"),
}


@pytest.fixture(scope="module")
def sources(editor: Editor) -> dict[str, Source]:
    return {name: make(editor) for name, make in MAKERS.items()}


@pytest.fixture
def saved(editor: Editor, sources: dict[str, Source], tmp_path: Path) -> Path:
    editor.save_source(sources["replay"], tmp_path / "house.safetensors")
    return tmp_path / "house.safetensors"


@pytest.mark.covering(1)
@pytest.mark.parametrize("name", MAKERS)
def test_what_is_loaded_is_what_was_saved(every_editor: Editor, tmp_path: Path, name: str) -> None:
    path, source = tmp_path / "new" / f"{name}.safetensors", MAKERS[name](every_editor)
    every_editor.save_source(source, path)
    assert same_bits(source, every_editor.load_source(path))
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_an_edit_in_a_new_process_has_the_same_bits(
    editor: Editor, sources: dict[str, Source], checkpoint: Path, tmp_path: Path
) -> None:
    paths = {name: tmp_path / f"{name}.safetensors" for name in sources}
    for name, path in paths.items():
        editor.save_source(sources[name], path)
    command = [sys.executable, "-c", AGAIN, checkpoint, tmp_path, *paths.values()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name, path in paths.items():
        latent, pixels = torch.load(f"{path}.pt", weights_only=True)
        here = editor.edit(sources[name], "a blue boat", "c", guidance_scale=2.0)
        assert torch.equal(latent, here.latent), name
        assert pixels == here.image.tobytes(), name


def test_the_same_source_has_the_same_bytes_and_no_path(sources: dict[str, Source]) -> None:
    data = source_file.to_file_bytes(sources["replay"])
    assert data == source_file.to_file_bytes(sources["replay"])
    assert str(Path.home()).encode() not in data and b"/tmp" not in data


# A saved source in another editor.

OTHERS = {
    "grid": (
        {"timestep_spacing": "trailing"}, {},
        "was made on another grid: timestep_spacing is 'leading', the editor's 'trailing'",
    ),
    "scheduler": (
        {"beta_end": 0.013}, {},
        "was made on another grid: beta_end is 0.012, the editor's 0.013",
    ),
    "prediction": (
        {}, {"prediction_type": "v_prediction"},
        "was made on another grid: prediction_type is 'epsilon', the editor's 'v_prediction'",
    ),
    "precision": (
        {}, {"dtype": "bfloat16"},
        "was made in float32, the editor's models are in bfloat16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_grid_or_precision_is_named(saved: Path, tmp_path: Path, name: str) -> None:
    config, chosen, sentence = OTHERS[name]
    folder = write_checkpoint(tmp_path / "other")
    found = json.loads((folder / CONFIG).read_text("utf-8"))
    write_json(folder / CONFIG, found | config)
    other = Editor.from_pretrained(folder, device="cpu", **chosen)
    with pytest.raises(ValueError, match=sentence) as error:
        other.load_source(saved)
    assert str(error.value).startswith(f"{tmp_path.name}/house.safetensors: ")


def change_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer_config.json"
    write_json(path, json.loads(path.read_text("utf-8")) | {"note": "another"})


@pytest.mark.parametrize("change", [change_unet, change_tokenizer])
def test_another_model_is_named(
    editor: Editor, saved: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = write_checkpoint(tmp_path / "random")
    twin = Editor.from_pretrained(folder, device="cpu")
    assert model_hash(twin.models.origin) == model_hash(editor.models.origin)
    assert twin.load_source(saved).prompt == "a house"
    change(folder)
    other = Editor.from_pretrained(folder, device="cpu")
    theirs, ours = (model_hash(one.models.origin)[:12] for one in (editor, other))
    sentence = (
        f"was made by another model: random .SHA-256 {theirs}., the editor has random .{ours}"
    )
    with pytest.raises(ValueError, match=sentence):
        other.load_source(saved)


def test_models_whose_files_have_changed_since_are_not_hashed(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "random")
    twin = Editor.from_pretrained(folder, device="cpu")
    change_unet(folder)
    with pytest.raises(ValueError, match=r"unet/\S+ has changed since the model was loaded"):
        twin.save_source(twin.generate("a boat", 0, 1), tmp_path / "boat.safetensors")
    assert not (tmp_path / "boat.safetensors").exists()


# File names, and failed writes.


@pytest.mark.parametrize("name", ["house.png", "house", 3])
def test_another_name_is_refused(editor: Editor, sources: dict[str, Source], name: object) -> None:
    for call in (
        lambda: editor.save_source(sources["replay"], name),
        lambda: editor.load_source(name),
    ):
        with pytest.raises(ValueError, match="a source's file must end in .safetensors"):
            call()


def test_a_failed_write_leaves_the_old_file(
    editor: Editor, sources: dict[str, Source], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    old = saved.read_bytes()
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(CannotWrite, match="house.safetensors can't be written: No space left"):
        editor.save_source(replace(sources["ddim"], prompt="another"), saved)
    assert saved.read_bytes() == old and list(saved.parent.iterdir()) == [saved]


def test_the_scheduler_of_these_tests_is_the_checkpoints(editor: Editor) -> None:
    assert editor.models.origin.scheduler == SCHEDULER
