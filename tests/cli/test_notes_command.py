"""Commands say what a model of a narrow world can't do: unknown words, pictures unlike its own."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.eval import world
from mdp_lite.pipeline.warn import warn_unlike, warn_words
from support.batching import write_jsonl

PHOTO = "the picture looks like none of them: the result will be blurred. For photos load"
WORDS = 'the model was trained on 41 words, not on "zebra"'
FAST = ["--model", "tiny", "--steps", "2"]


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sentences that a process logs once are logged again; files are in a new folder."""
    warn_unlike.cache_clear()
    warn_words.cache_clear()
    monkeypatch.chdir(tmp_path)
    levels = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(levels).save("photo.png")
    world.draw(world.sample(5)).save("scene.png")


def run(capsys: pytest.CaptureFixture[str], *line: str) -> list[str]:
    """What a command says on stderr."""
    assert main([*line, *FAST]) == 0
    return capsys.readouterr().err.splitlines()


COMMANDS = {
    "edit": ("edit", "{}", "--prompt", "a house", "-o", "out.png"),
    "invert": ("invert", "{}", "-o", "out.png"),
    "sweep": ("sweep", "{}", "--prompt", "a house", "-o", "out.png"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_picture_that_will_be_blurred_is_noted_once(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [one.format("photo.png") for one in COMMANDS[name]]
    notes = [one for one in run(capsys, *line) if PHOTO in one]
    assert len(notes) == 1 and notes[0].startswith("mdp-lite: the model was trained on synthetic")
    warn_unlike.cache_clear()
    assert not run(capsys, *line, "--quiet")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_scene_is_not_noted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = [one.format("scene.png") for one in COMMANDS[name]]
    assert not any("trained on" in one for one in run(capsys, *line))


@pytest.mark.parametrize(
    "line",
    [
        ("generate", "a zebra", "-o", "out.png"),
        ("edit", "--source-prompt", "a house", "--prompt", "a zebra", "-o", "out.png"),
        ("edit", "scene.png", "--source-prompt", "a zebra", "--prompt", "a house", "-o", "out.png"),
        ("sweep", "scene.png", "--prompt", "a zebra", "-o", "out.png"),
    ],
    ids=["generate", "edit", "source", "sweep"],
)  # fmt: skip
def test_unknown_words_are_noted_once(
    line: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert sum(WORDS in one for one in run(capsys, *line)) == 1


def test_a_batch_notes_both(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"image": name, "prompt": "a zebra"} for name in ("photo.png", "scene.png")]
    said = run(capsys, "batch", write_jsonl(Path("job.jsonl"), rows), "-o", "out")
    assert sum(PHOTO in one for one in said) == 1 and sum(WORDS in one for one in said) == 1


def test_info_says_what_the_model_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "tiny", "--json", "--no-hash"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["pictures"] == "synthetic scenes"
    assert len(data["words"]) == 41 and "house" in data["words"]
    assert main(["info", "tiny", "--no-hash"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(one.startswith("words         it knows 41: a, an, at, blue") for one in lines)
    assert all(len(one) <= 100 for one in lines if ", yellow" in one or "it knows" in one)


def test_no_command_leaves_a_handler(capsys: pytest.CaptureFixture[str]) -> None:
    before = list(logging.getLogger("mdp_lite").handlers)
    run(capsys, "edit", "photo.png", "--prompt", "a zebra", "-o", "out.png")
    assert logging.getLogger("mdp_lite").handlers == before
