"""Models without weights: the sizes, costs, defaults and words of the loaded ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.cli.model_options import ModelOptions
from mdp_lite.editor import Editor
from mdp_lite.model_pool.dry_models import open_dry_editor
from mdp_lite.model_pool.specs import ModelSpec
from mdp_lite.names import BadCheckpoint
from mdp_lite.pipeline.xl import XLCondition
from support.checkpoints import SCHEDULER, write_checkpoint

KINDS: dict[str, dict[str, Any]] = {
    "sd": {},
    "v": {"scheduler": replace(SCHEDULER, prediction_type="v_prediction")},
    "xl": {"xl": True},
    "fill": {"inpaints": True},
}
PHOTO = Image.new("RGB", (40, 30), "grey")


def open_both(place: object, **options: Any) -> tuple[Editor, Editor]:
    """The model without weights, and loaded."""
    spec = ModelSpec("one", ModelOptions(name=str(place), device="cpu", **options))
    return open_dry_editor(spec), spec.load()


@pytest.fixture(scope="module", params=KINDS)
def pair(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Editor, Editor]:
    folder = write_checkpoint(tmp_path_factory.mktemp(request.param) / "m", **KINDS[request.param])
    return open_both(folder)


@pytest.mark.parametrize("method", ["replay", "edit-friendly", "null-text", "negative-prompt"])
def test_costs_are_those_of_a_dry_run_of_the_loaded_model(
    method: str, pair: tuple[Editor, Editor]
) -> None:
    costs = []
    for editor in (pair[0], dry_run_editor(pair[1])):
        source = editor.invert(PHOTO, "a red house", method)
        costs.append((source.cost, editor.edit(source, "a blue boat").cost))
    assert costs[0] == costs[1]


def test_it_plans_edits_of_a_source_of_the_loaded_model(pair: tuple[Editor, Editor]) -> None:
    dry, loaded = pair
    source = loaded.generate("a red house", 3)
    assert dry.edit(source, "a blue boat").cost == loaded.edit(source, "a blue boat").cost


def test_what_it_says_of_itself_is_the_loaded_model_s(pair: tuple[Editor, Editor]) -> None:
    dry, loaded = pair
    for name in ("name", "defaults", "scheduler", "origin", "knowledge", "c_shape", "inpaints"):
        assert getattr(dry.models, name) == getattr(loaded.models, name), name
    assert dry.runner.size == loaded.runner.size
    assert dry.models.unet.config == loaded.models.unet.config


def test_it_reads_no_weights(pair: tuple[Editor, Editor]) -> None:
    parts = pair[0].models.unet, pair[0].models.vae, pair[0].models.text_encoder
    assert sum(one.nbytes for part in parts for one in part.parameters()) <= 16


def test_words_and_cuts_are_found_as_by_the_loaded_model() -> None:
    dry, loaded = open_both("tiny")
    for prompt in ("a red house", "a zebra and a Lamborghini", "house " * 60):
        assert dry.runner.find_unknown_words(prompt) == loaded.runner.find_unknown_words(prompt)
        assert dry.runner.describe_cuts(prompt) == loaded.runner.describe_cuts(prompt)


def test_texts_are_told_apart(pair: tuple[Editor, Editor]) -> None:
    dry = pair[0].runner
    one, other = (dry.condition(text) for text in ("a red house", "a blue house"))
    assert (one == dry.condition("a red house")).all() and (one != other).any()
    if pair[0].models.unet.config.pooled_dim:
        second = dry.condition("a red house", xl=XLCondition(prompt_2="a boat"))
        assert (second != one).any()


def test_a_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m")
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(BadCheckpoint, match="config.json"):
        open_dry_editor(ModelSpec("m", ModelOptions(name=str(folder), device="cpu")))
