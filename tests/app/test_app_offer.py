"""`mdp-lite app` with several models: which are offered, what a dry run says, what is left out."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.__main__ import main
from mdp_lite.app.offer import open_menu, read_first, read_offer
from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.commands.app import AppOptions
from mdp_lite.editor import Editor
from mdp_lite.model_pool.local_pool import PoolSettings
from mdp_lite.names import DEFAULT_MODEL, BadInput
from support.checkpoints import write_checkpoint

pytest.importorskip("gradio")  # the command's module needs it


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three models, a broken one, and a file that is none."""
    folder = tmp_path_factory.mktemp("zoo")
    for seed, (name, kind) in enumerate({"fill": "inpaints", "sd": "", "xl": "xl"}.items()):
        write_checkpoint(folder / name, seed=seed, **({kind: True} if kind else {}))
    (folder / "broken" / "unet").mkdir(parents=True)
    (folder / "junk.safetensors").write_bytes(b"x")
    return folder


def read(*words: str) -> AppOptions:
    args = read_command_line(["app", "--device", "cpu", *words])
    assert isinstance(args, AppOptions)
    return args


def offer(args: AppOptions, notes: list[str] | None = None) -> PoolSettings:
    editor = Editor.from_pretrained(read_first(args).model.name, device="cpu")
    return read_offer(args, editor, [].append if notes is None else notes.append)


def test_without_a_name_it_is_the_bundled_model_alone() -> None:
    args = read()
    found = offer(args)
    assert (found.alias, found.others, found.grows) == (DEFAULT_MODEL, (), False)
    before = threading.active_count()
    with open_menu(Editor.from_pretrained(device="cpu"), found) as menu:
        assert [one.alias for one in menu] == [DEFAULT_MODEL] and not menu.can_grow
        assert threading.active_count() == before  # no pool runs


def test_named_models_and_those_of_a_folder_are_offered(zoo: Path) -> None:
    notes: list[str] = []
    args = read("--model", f"{zoo}/sd", "--model", f"big={zoo}/xl", "--models", str(zoo))
    found = offer(args, notes)
    assert (found.alias, found.first.is_pinned) == ("sd", True)
    assert [one.alias for one in found.others] == ["big", "fill"]  # xl and sd are offered already
    assert len(notes) == 2
    assert "left out: model broken: a checkpoint folder must hold text_encoder" in notes[0]
    assert "left out: model junk: " in notes[1]


def test_options_of_the_model_are_of_the_first_alone(zoo: Path) -> None:
    args = read("--model", f"{zoo}/sd", "--model", f"{zoo}/xl", "--clip-skip", "1", "--cache", "c")
    found = offer(args)
    assert found.first.model.checkpoint.clip_skip == 1
    assert found.others[0].model.checkpoint.clip_skip == 0
    assert found.others[0].model.cache == found.first.model.cache == "c"


def test_a_folder_s_model_that_never_fits_is_left_out(zoo: Path) -> None:
    notes: list[str] = []
    args = read("--model", f"{zoo}/sd", "--models", str(zoo), "--model-memory", "0.001")
    assert [one.alias for one in offer(args, notes).others] == ["fill", "xl"]
    args = read("--models", str(zoo), "--model-memory", "20MB")  # tiny takes more alone
    assert offer(args, notes).others == ()
    assert "more than the 20 MB of --model-memory" in notes[-1]


def test_two_of_one_name_are_told_apart_or_refused(zoo: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    found = offer(read("--model", f"xl={zoo}/sd", "--models", str(zoo)), notes)
    assert [one.alias for one in found.others] == ["fill"]
    assert any("another model is called 'xl'" in one for one in notes)
    file = tmp_path / "models.toml"
    file.write_text(f"[[models]]\nalias = '{DEFAULT_MODEL}'\nmodel = '{zoo}/sd'")
    with pytest.raises(
        BadInput, match=f"each model must have another name, got {DEFAULT_MODEL}, {DEFAULT_MODEL}"
    ):
        offer(read("--models", str(file)))


def test_a_file_of_models_is_read_as_by_the_service(zoo: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(f"[[models]]\nalias = 'second'\nmodel = '{zoo}/sd'\ndtype = 'bfloat16'")
    (one,) = offer(read("--models", str(file))).others
    assert (one.alias, one.model.dtype) == ("second", "bfloat16")


def test_a_dry_run_lists_them_with_their_sizes(
    zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["app", "--device", "cpu", "--model", f"{zoo}/sd", "--models", str(zoo), "--dry-run"]
    assert main([*words, "--model-memory", "1GB"]) == 0
    out = capsys.readouterr().out.splitlines()
    start = "model sd: Stable Diffusion of another shape, 32x32, 441 kB on disk, 384 kB in memory"
    assert f"{start}, stays loaded" in out
    assert sum(one.endswith("loaded when a visitor edits by it") for one in out) == 2
    assert out[-1] == "at most 1 GB for the weights of loaded models"
    assert main([*words, "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(data["models"]) == ["sd", "fill", "xl"] and data["model_memory"] > 0
    assert data["models"]["xl"]["bytes"] > data["models"]["sd"]["bytes"]
    assert main(["app", "--model", f"{zoo}/sd", "--dry-run", "--json"]) == 0
    assert "models" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--model", "a=tiny", "--model", "a=b"], "each model must have another name, got a, a"),
        (["--model", "=tiny"], "model must be [NAME=]MODEL"),
        (["--models", "nowhere"], "models must be a readable TOML file, got 'nowhere'"),
        (["--model-memory", "much"], "--model-memory must be a number, got 'much'"),
        (["--model", "tiny", "--model", "no=nothing-here"], "a model must be one of tiny, small"),
    ],
)
def test_a_wrong_option_is_one_line(words: list[str], error: str, says_one_line: Any) -> None:
    assert main(["app", "--device", "cpu", *words, "--dry-run"]) == 2
    says_one_line(error)


def test_the_hub_is_for_those_whom_the_operator_lets(zoo: Path) -> None:
    args = read("--model", f"{zoo}/sd", "--allow-hub")
    found = offer(args)
    assert found.grows
    with open_menu(Editor.from_pretrained(zoo / "sd", device="cpu"), found) as menu:
        assert menu.can_grow and [one.alias for one in menu] == ["sd"]
