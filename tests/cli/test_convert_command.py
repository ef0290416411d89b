"""`mdp-lite convert`: what it writes, prints and refuses."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from support.ldm import write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("convert") / "model"
    write_folder(path)
    return path


def test_there_and_back(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, back = tmp_path / "model.safetensors", tmp_path / "back"
    assert main(["convert", str(folder), str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["files"] == [str(file)] and said["layout"] == "single file"
    assert abs(said["weights"][file.name] - file.stat().st_size) < 200_000  # the header
    tokenizer = str(folder / "tokenizer")
    assert main(["convert", str(file), str(back), "--tokenizer", tokenizer, "--quiet"]) == 0
    want, got = (Editor.from_pretrained(place).models for place in (folder, back))
    for part in ("text_encoder", "unet", "vae"):
        ours, theirs = (getattr(models, part).state_dict() for models in (got, want))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert got.scheduler == want.scheduler


def test_a_dry_run_writes_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "model.safetensors"
    assert main(["convert", str(folder), str(out), "--dry-run", "--dtype", "float16"]) == 0
    assert capsys.readouterr().out.startswith(f"would write {out} (single file)\n")
    assert list(tmp_path.iterdir()) == []


def test_a_dtype(folder: Path, tmp_path: Path) -> None:
    assert main(["convert", str(folder), str(tmp_path / "half"), "--dtype", "float16"]) == 0
    for path in (tmp_path / "half").glob("*/*.safetensors"):
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}


def test_a_pickle_becomes_a_model(folder: Path, tmp_path: Path) -> None:
    assert main(["convert", str(folder), str(tmp_path / "a.safetensors"), "--quiet"]) == 0
    state = load_file(tmp_path / "a.safetensors")
    torch.save({"state_dict": state, "global_step": 7}, tmp_path / "a.ckpt")
    assert main(["convert", str(tmp_path / "a.ckpt"), str(tmp_path / "b.safetensors")]) == 0
    again = load_file(tmp_path / "b.safetensors")
    assert set(again) == set(state) and all(torch.equal(again[k], state[k]) for k in state)


def test_what_would_not_load_is_not_written(
    folder: Path, tmp_path: Path, says_one_line: Callable[[str], None]
) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    path = broken / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["conv_in.bias"]
    save_file(tensors, path)
    for out in ("new", "new.safetensors"):
        assert main(["convert", str(broken), str(tmp_path / out)]) == 2
        says_one_line("broken, unet: 1 keys missing (conv_in.bias), 0 unexpected")
    assert [one.name for one in tmp_path.iterdir()] == ["broken"]
    assert main(["convert", str(folder), str(broken)]) == 2
    says_one_line("broken exists already: want a new name to write")
    assert main(["convert", "none", str(tmp_path / "new")]) == 2
    says_one_line("a model must be one of tiny, small, a folder, a .safetensors file or a hub id")


def test_a_path_in_an_error_can_be_pasted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folders down and with a space: not a part of the path, which would look relative."""
    place = tmp_path / "my models" / "new"
    place.mkdir(parents=True)
    old, pickle, odd = place / "old", place / "a.ckpt", place / "a.txt"
    for path in (old, pickle, odd):
        path.write_text("nothing")
    for words, named in (
        ([str(folder), str(old)], old), ([str(folder), str(pickle)], pickle),
        ([str(folder), str(old / "below")], old / "below"),
        ([str(pickle), str(place / "new")], pickle), ([str(odd), str(place / "new")], odd),
    ):  # fmt: skip
        assert main(["convert", *words]) == 2
        said = capsys.readouterr().err
        assert shlex.quote(str(named)) in said
