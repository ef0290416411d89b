"""What people are told of a model, loaded or not: the same."""

from pathlib import Path

import pytest

from mdp_lite.checkpoint.load import examine
from mdp_lite.editor import Editor
from mdp_lite.pipeline.abilities import describe_abilities, examine_abilities, read_abilities


def test_the_bundled_model_is_described_in_a_few_words() -> None:
    found = read_abilities(Editor.from_pretrained("tiny", device="cpu").models)
    assert describe_abilities(found) == "64x64 synthetic scenes; knows 41 words"
    assert found == examine_abilities(examine("tiny"))
    assert len(found.words) == 41 and "house" in dict(found.groups)["objects"]


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint_xl", "checkpoint_inpaint"])
def test_a_model_that_says_nothing_has_its_size(name: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(name)
    found = read_abilities(Editor.from_pretrained(folder, device="cpu").models)
    assert found == examine_abilities(examine(folder))
    assert describe_abilities(found) == f"{found.width}x{found.height} pictures"
    assert ("inpainting" in found.family) == (name == "checkpoint_inpaint")
