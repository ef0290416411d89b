"""What only the model's schedule can refuse is refused when no weight has been read yet.

The kind: 1000 steps pass the range of the option, but a checkpoint may have fewer timesteps, or an
offset that takes the first step beyond the last one. A large model is read for seconds first.
"""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mdp_lite.__main__ import main
from support.places import ROOT

TINY = ROOT / "weights" / "mdp_lite_weights" / "tiny"
SOURCE = ["--source-prompt", "a", "--prompt", "b"]
STEPS = "--steps must"
BAD = {
    "generate": (["generate", "a", "--steps", "60"], STEPS),
    "generate wide": (["generate", "a", "--width", "62"], "--width must be a multiple of 4"),
    "edit": (["edit", *SOURCE, "--steps", "60"], STEPS),
    "edit high": (["edit", *SOURCE, "--height", "30"], "--height must be a multiple of 4"),
    "edit t_max": (["edit", *SOURCE, "--steps", "4", "--t-max", "9"], "--t-max"),
    "edit t_m": (["edit", *SOURCE, "--steps", "4", "--t-max", "2", "--t-m", "3"], "--t-m"),
    "edit all": (["edit", *SOURCE, "--variant", "all", "--steps", "4", "--t-max", "9"], "--t-max"),
    "edit picture": (["edit", "in.png", "--prompt", "b", "--steps", "60"], STEPS),
    "invert": (["invert", "in.png", "--steps", "60"], STEPS),
    "invert wide": (["invert", "in.png", "--width", "30"], "--width must be a multiple of 4"),
    "plan": (["plan", *SOURCE, "--steps", "60"], STEPS),
    "sweep": (["sweep", *SOURCE, "--steps", "60"], STEPS),
    "sweep t_max": (["sweep", *SOURCE, "--steps", "4", "--t-max", "2,9"], "--t-max"),
    "batch": (["batch", "in.png", "--prompt", "b", "-o", "out", "--steps", "60"], STEPS),
    "batch dry": (
        ["batch", "in.png", "--prompt", "b", "-o", "out", "--dry-run", "--steps", "60"], STEPS,
    ),
    "compile": (["compile", "-o", "packages", "--width", "30"], "--width must be a multiple of 4"),
}  # fmt: skip


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundled model with 55 timesteps, beside a picture; its weights may not be read."""
    folder = tmp_path / "short"
    shutil.copytree(TINY, folder)
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(config | {"num_train_timesteps": 55}), "utf-8")
    Image.new("RGB", (64, 64)).save(tmp_path / "in.png")
    monkeypatch.chdir(tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("a weight was read")

    monkeypatch.setattr("mdp_lite.checkpoint.load.assign_tensors", refuse)
    return folder


@pytest.mark.parametrize(("line", "want"), BAD.values(), ids=list(BAD))
def test_no_weight_is_read_for_what_does_not_fit(
    line: list[str], want: str, short: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--model", str(short)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("mdp-lite: ") and want in told[0]


def test_what_fits_reads_the_weights(short: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a", "--steps", "50", "--model", str(short)]) != 2
    assert "a weight was read" in capsys.readouterr().err
