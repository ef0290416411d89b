"""The catalogue of well-entry checkpoints: ids that can be asked for, and nothing made up."""

import re
from dataclasses import FrozenInstanceError, asdict

import pytest
from huggingface_hub.utils import validate_repo_id

from mdp_lite.checkpoint.config_files import read_scheduler_config
from mdp_lite_weights import hub
from mdp_lite_weights.catalogue import CATALOGUE, CatalogueEntry
from mdp_lite_weights.families import SCALES, SDXL

IDS = [entry.id for entry in CATALOGUE]
CHECKPOINTS = [entry for entry in CATALOGUE if entry.side]


@pytest.mark.parametrize("entry", CATALOGUE, ids=IDS)
def test_an_entry_is_whole(entry: CatalogueEntry) -> None:
    validate_repo_id(entry.id)
    assert hub.is_repo(entry.id)
    assert entry.family in SCALES
    assert entry.licence and entry.note
    assert (entry.side is None) == (entry.prediction_type is None)
    assert not re.search(r"\b[0-9a-f]{7,}\b", str(asdict(entry)))  # revisions are the user's


@pytest.mark.parametrize("entry", CHECKPOINTS, ids=[entry.id for entry in CHECKPOINTS])
def test_a_checkpoint_is_one_that_is_read(entry: CatalogueEntry) -> None:
    assert entry.side in (512, 768, 1024)
    read_scheduler_config({"prediction_type": entry.prediction_type, "clip_sample": False})


def test_ids_are_named_once() -> None:
    assert len(set(IDS)) == len(IDS)


def test_every_kind_that_people_have_is_there() -> None:
    kinds = {(entry.family, entry.prediction_type) for entry in CHECKPOINTS}
    both = {(f, p) for f in SCALES for p in ("epsilon", "v_prediction")}
    assert kinds == both - {(SDXL, "v_prediction")}  # only few finetunes of SDXL predict it
    assert len(CATALOGUE) - len(CHECKPOINTS) == 5  # four VAEs and the tokenizer


def test_entries_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        CATALOGUE[0].id = "another"  # type: ignore[misc]
