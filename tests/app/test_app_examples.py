"""The app's examples are synthetic scenes that training never used, with their captions."""

import pytest

from mdp_lite.app.examples import EXAMPLES, FOLDER, Example
from mdp_lite.app.form import MAX_TEXT
from mdp_lite.eval.village.captions import caption
from mdp_lite.eval.worlds import VILLAGE
from mdp_lite.pictures import images

MOST = ("object", "color", "friend", "friend_color", "ground", "season", "time")
SAID = {"house": MOST, "boat": MOST, "balloon": ("object", "color", "ground", "time")}
SEEDS = {"house": 20_208_393, "boat": 20_000_724, "balloon": 20_000_245}


@pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: one.name)
def test_an_example_is_a_scene_that_training_did_not_use(one: Example) -> None:
    scene = VILLAGE.sample(SEEDS[one.name])
    assert VILLAGE.is_held_back(scene) and one.source_prompt == caption(scene, SAID[one.name])
    assert images.open_picture(one.file).tobytes() == VILLAGE.draw(scene).tobytes()
    assert one.prompt != one.source_prompt and len(one.prompt) < MAX_TEXT


def test_every_picture_of_the_folder_is_an_example() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(SEEDS) == {one.name for one in EXAMPLES}
