"""The commands of the comparison of uploaded pictures: both sides get the same settings."""

from pathlib import Path

import pytest

from benchmarks.sides import Model
from benchmarks.test_bundled import CPU
from benchmarks.upload_edit import (
    DTYPES,
    OPENVINO,
    SIDES,
    build_commands,
    build_openvino,
    build_published,
)
from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.commands.edit import EditCommandOptions

A, B = Path("a.png"), Path("out")


def read_ours(words: list[str]) -> EditCommandOptions:
    assert words[:2] == ["-m", "mdp_lite"]
    options = read_command_line(words[2:])
    assert isinstance(options, EditCommandOptions)
    return options


@pytest.mark.parametrize("size", DTYPES)
def test_the_same_work_has_the_same_settings(size: str) -> None:
    ours, theirs = build_commands(Model(size, Path("folder"), CPU), A, B, 8).values()
    options = read_ours(ours)
    said = dict(zip(theirs, theirs[1:], strict=False))
    assert said["--steps"] == str(options.sampling.steps) == "8"
    assert float(said["--guidance"]) == options.sampling.guidance_scale
    assert said["--dtype"] == options.model.dtype == DTYPES[size]
    assert said["--picture"] == options.source.picture == str(A)
    assert "--skip" in theirs and options.inversion.method == "replay"


def test_the_published_steps_skip_nothing() -> None:
    ours, theirs = build_published(Model("sd15", Path("folder"), CPU), A, B).values()
    assert read_ours(ours).sampling.quality == "draft"
    assert "--skip" not in theirs and theirs[theirs.index("--steps") + 1] == "50"
    assert [Path(words[words.index("-o") + 1]).stem for words in (ours,)] == [SIDES[0]]


def test_openvino_has_the_same_settings() -> None:
    model = Model("sd15", Path("folder"), CPU)
    (theirs,) = build_openvino(model, Path("converted"), A, B, 8).values()
    _, other = build_commands(model, A, B, 8).values()
    assert Path(theirs[3]).stem == OPENVINO and theirs[4:6] == other[3:5]
    said, want = (dict(zip(one, one[1:], strict=False)) for one in (theirs, other))
    for option in ("--steps", "--guidance", "--picture"):
        assert said[option] == want[option]
    assert said["--precision"] == "bf16"
