"""Commands in the files of results run anywhere: they name no folder of one machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.record import RESULTS, format_command


def find_commands(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (one for key, one in value.items() if key == "command" and isinstance(one, str))
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for part in parts:
            yield from find_commands(part)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_stored_commands_have_no_absolute_path(path: Path) -> None:
    commands = list(find_commands(json.loads(path.read_text("utf-8"))))
    assert [one for one in commands if any(word.startswith("/") for word in one.split())] == []


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.md")), ids=lambda path: path.name)
def test_benches_of_edits_name_their_model(path: Path) -> None:
    """What is the default model may change, and a published table may not."""
    lines = path.read_text("utf-8").splitlines()
    commands = [line for line in lines if line.strip().startswith("mdp-lite bench edits")]
    assert [line for line in commands if "--model " not in line] == []


def test_the_values_of_options_for_places_are_replaced() -> None:
    words = ["--size", "sd15", "--models", "/a b/c", "--out", "/x.json", "--rounds", "3"]
    assert format_command("upload_edit", words) == (
        "python -m benchmarks.upload_edit --size sd15 --models FOLDER --out FILE --rounds 3"
    )
