"""The catalogue of well-known checkpoints: ids that can be asked for, and nothing made up."""

import re
from dataclasses import FrozenInstanceError, asdict

import pytest
from huggingface_hub.utils import validate_repo_id

from mdp_lite.checkpoint.config_files import read_scheduler_config
from mdp_lite.cli.info import FAMILIES
from mdp_lite_weights import hub
from mdp_lite_weights.catalogue import CATALOGUE, CatalogueEntry

IDS = [known.id for known in CATALOGUE]
CHECKPOINTS = [known for known in CATALOGUE if known.side]


@pytest.mark.parametrize("known", CATALOGUE, ids=IDS)
def test_a_row_is_whole(known: CatalogueEntry) -> None:
    validate_repo_id(known.id)
    assert hub.is_repo(known.id)
    assert known.family in FAMILIES.values()
    assert known.licence and known.note
    assert (known.side is None) == (known.prediction_type is None)
    assert not re.search(r"\b[0-9a-f]{7,}\b", str(asdict(known)))  # revisions are the user's


@pytest.mark.parametrize("known", CHECKPOINTS, ids=[known.id for known in CHECKPOINTS])
def test_a_checkpoint_is_one_that_is_read(known: CatalogueEntry) -> None:
    assert known.side in (512, 768)
    read_scheduler_config({"prediction_type": known.prediction_type, "clip_sample": False})


def test_ids_are_named_once() -> None:
    assert len(set(IDS)) == len(IDS)


def test_every_kind_that_people_have_is_there() -> None:
    kinds = {(known.family, known.prediction_type) for known in CHECKPOINTS}
    assert kinds == {(f, p) for f in FAMILIES.values() for p in ("epsilon", "v_prediction")}
    assert len(CATALOGUE) - len(CHECKPOINTS) == 2  # a VAE and the tokenizer


def test_rows_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        CATALOGUE[0].id = "another"  # type: ignore[misc]
