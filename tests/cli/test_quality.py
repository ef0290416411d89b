"""--quality: the model's own number of steps by name, and what it can't go with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mdp_lite.__main__ import main
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.cli.sampling_options import choose_steps
from mdp_lite.names import QUALITIES
from mdp_lite.pictures import images

WORDS = [
    "--source-prompt",
    "a house",
    "--prompt",
    "a boat",
    "--quality",
    "draft",
    "--device",
    "cpu",
    "--quiet",
]


@pytest.mark.parametrize(
    "defaults, steps",
    [
        (Defaults(), (8, 20, 50)),
        (Defaults(num_inference_steps=100), (8, 20, 100)),
        (Defaults(distilled=True, num_inference_steps=4), (2, 4, 4)),
        (Defaults(distilled=True, num_inference_steps=1), (1, 1, 1)),
        (Defaults(num_inference_steps=5), (5, 5, 5)),
    ],
)
def test_the_steps_of_a_model(defaults: Defaults, steps: tuple[int, ...]) -> None:
    assert tuple(map(defaults.steps_of, QUALITIES)) == steps
    assert defaults.steps_of(None) == defaults.num_inference_steps


def test_edits_plans_and_sweeps_take_them(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(checkpoint)]
    out = tmp_path / "a.png"
    assert main(["edit", *WORDS, *model, "-o", str(out)]) == 0
    steps = images.read_settings(out)["num_inference_steps"]
    assert main(["plan", *WORDS, *model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == steps <= 8
    assert main(["sweep", *WORDS, *model, "-o", str(tmp_path / "sweep")]) == 0
    (cell,) = (tmp_path / "sweep" / "sweep.jsonl").read_text().splitlines()
    assert json.loads(cell)["num_inference_steps"] == steps


def test_two_numbers_of_steps_are_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["edit", *WORDS, "--steps", "3", "--model", str(checkpoint)]
    assert main([*words, "-o", str(tmp_path / "a.png")]) == 2
    assert "--quality draft and --steps 3 both say the number of steps" in capsys.readouterr().err


def test_a_saved_source_has_its_own_steps(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, common = tmp_path / "a.safetensors", ["--model", str(checkpoint), "--device", "cpu"]
    words = ["generate", "a house", "--steps", "3", "--save-source", str(file), "--quiet"]
    assert main([*words, *common, "-o", str(tmp_path / "a.png")]) == 0
    words = [
        "edit",
        str(file),
        "--prompt",
        "b",
        "--quality",
        "draft",
        "-o",
        str(tmp_path / "b.png"),
    ]
    assert main([*words, *common]) == 2
    assert (
        "--quality draft is for making a source: the saved one has its own"
        in capsys.readouterr().err
    )


def test_other_commands_are_left_as_they_are() -> None:
    options = replace(Defaults())
    assert choose_steps(options, Defaults()) is options
