"""Saved sources and the cache on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.pipeline.result import Cost
from support.source_cases import picture

Says = Callable[[str], None]
Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def house(work_folder: Path) -> None:
    """A picture in the working folder."""
    picture().save("house.png")


def pixels(name: str) -> bytes:
    return Image.open(name).tobytes()


FIRST = {
    "generate": ("generate", "a house", "--seed", "3"),
    "invert": ("invert", "house.png", "--method", "ddim", "--negative-prompt", "night"),
    "edit": ("edit", "house.png", "--prompt", "a boat", "--steps", "3", "--fit", "own"),
}
SAME = {
    "generate": ("--source-prompt", "a house", "--seed", "3"),
    "invert": ("house.png", "--method", "ddim", "--negative-prompt", "night"),
    "edit": ("house.png", "--steps", "3", "--fit", "own"),
}


@pytest.mark.parametrize("name", FIRST)
def test_a_saved_source_gives_the_same_edit(run: Run, name: str) -> None:
    report = run(*FIRST[name], "--save-source", "saved/source.safetensors")
    assert "saved/source.safetensors" in report["files"]
    run("edit", *SAME[name], "--prompt", "a red boat", "-o", "plain.png")
    report = run("edit", "saved/source.safetensors", "--prompt", "a red boat", "-o", "again.png")
    assert report["costs"]["source"] == Cost(0, 0)._asdict()
    assert pixels("again.png") == pixels("plain.png")
    assert [path.name for path in Path("saved").iterdir()] == ["source.safetensors"]


def test_a_saved_source_can_be_planned_and_swept(run: Run) -> None:
    run("generate", "a house", "--save-source", "s.safetensors")
    planned = run("plan", "s.safetensors", "--prompt", "a boat")
    plain = run("plan", "--source-prompt", "a house", "--prompt", "a boat")
    assert planned == plain
    swept = run("sweep", "s.safetensors", "--prompt", "a boat", "-o", "sweep")
    assert swept["costs"]["source"] == Cost(0, 0)._asdict()


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_the_cache_makes_no_source_twice(
    run: Run, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    flag = ("--cache", "cache") if how == "flag" else ()
    if how == "variable":
        monkeypatch.setenv("MDP_LITE_CACHE", "cache")
    words = ("edit", "house.png", "--prompt", "a boat", *flag)
    assert run(*words, "--dry-run")["costs"]["source"]["unet_rows"] == 10
    assert not Path("cache").exists()
    assert run(*words, "-o", "first.png")["costs"]["source"]["unet_rows"] == 10
    assert run(*words, "--dry-run")["costs"]["source"]["unet_rows"] == 0
    assert run(*words, "-o", "again.png")["costs"]["source"]["unet_rows"] == 0
    assert pixels("first.png") == pixels("again.png")


def test_a_dry_run_saves_no_source(run: Run) -> None:
    report = run("generate", "a house", "--save-source", "new/s.safetensors", "--dry-run")
    assert "new/s.safetensors" in report["files"] and not Path("new").exists()


BAD = {
    "seed": (["--seed", "3"], "seed is for making a source: the saved one has its own"),
    "steps": (["--steps", "3"], "steps is for making a source: the saved one has its own"),
    "prompt": (["--source-prompt", "a"], "source-prompt is for making a source"),
    "itself": (["--save-source", "s.safetensors"], "output must not be the input picture"),
    "name": (["--save-source", "s.png"], "must end in .safetensors, got 's.png'"),
    "cache": (["--cache", "house.png"], "--cache must be a folder, got a file"),
    "dtype": (["--dtype", "bfloat16"], "was made in float32, the editor's models are in bfloat16"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_words_are_one_line(run: Run, says_one_line: Says, name: str) -> None:
    run("generate", "a house", "--save-source", "s.safetensors")
    words, sentence = BAD[name]
    line = ["edit", "s.safetensors", "--prompt", "a boat", "--model", "model", *words]
    assert main([*line, "--quiet"]) == 2
    says_one_line(sentence)
    assert not Path("edited.png").exists()


def test_a_models_file_is_no_source(run: Run, says_one_line: Says) -> None:
    file = "model/unet/diffusion_pytorch_model.safetensors"
    assert main(["edit", file, "--prompt", "a boat", "--model", "model"]) == 2
    says_one_line("unet/diffusion_pytorch_model.safetensors: holds no source of mdp_lite")
