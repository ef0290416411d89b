"""The menu of models: its value, choosing, offers for pictures of other models, and the hub."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.app import hub_models
from mdp_lite.app.actions import Actions
from mdp_lite.app.components.model import model_value, read_id
from mdp_lite.app.hub_models import HubModels
from mdp_lite.app.model_actions import ModelActions, adapt_form
from mdp_lite.app.models import offer_several
from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio
from mdp_lite.cli.model_options import CheckpointOptions, EngineOptions, ModelOptions
from mdp_lite.editor import Editor
from mdp_lite.model_pool.lending import ModelLender
from mdp_lite.model_pool.local_pool import PoolSettings, run_pool
from mdp_lite.model_pool.specs import ModelSpec, read_editor_facts
from mdp_lite.pictures import images
from support.checkpoints import write_checkpoint
from support.studios import REAL, edit

pytest.importorskip("gradio")  # the component's module builds one of gradio's
HUB = "lab/model"


def choose_model(studio: Studio, visitor: Session, alias: object) -> dict[str, Any]:
    """The menu after a choice."""
    return ModelActions(studio).choose(visitor, alias).model or {}


def fetch_model(studio: Studio, visitor: Session, hub_id: Any) -> dict[str, Any]:
    """The menu after a model of the hub was named, as its event is read."""
    return ModelActions(studio).fetch(visitor, read_id(hub_id)).model or {}


def options_of(place: object) -> ModelOptions:
    offline = CheckpointOptions(offline=True)
    return ModelOptions(name=str(place), device="cpu", checkpoint=offline)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    for seed, alias in enumerate(("sd", "xl", "hub")):
        write_checkpoint(folder / alias, xl=alias == "xl", seed=seed)
    return folder


@pytest.fixture(scope="module")
def first(zoo: Path) -> Editor:
    return Editor.from_pretrained(zoo / "sd", device="cpu")


@pytest.fixture
def lender(zoo: Path, first: Editor) -> Iterator[ModelLender]:
    """A pool of sd and xl that may grow, with room for three of sd's size."""
    sd, xl = (ModelSpec(alias, options_of(zoo / alias)) for alias in ("sd", "xl"))
    room = 3 * read_editor_facts(first).bytes
    with run_pool(first, PoolSettings("sd", sd, (xl,), room, grows=True)) as one:
        yield one


@pytest.fixture
def studio(lender: ModelLender, first: Editor, tmp_path: Path) -> Iterator[Studio]:
    hub = HubModels(lender, options_of("sd"), EngineOptions())
    menu = offer_several(first, "sd", lender, hub.fetch)
    one = Studio(first, tmp_path / "studio", menu=menu)
    yield one
    one.close()


@pytest.fixture
def on_hub(zoo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The model HUB is in the hub's cache."""
    from huggingface_hub import constants

    from support.hub_cache import write_snapshot

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    root = zoo / "hub"
    files = {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*") if path.is_file()
    }  # fmt: skip
    write_snapshot(tmp_path / "cache", HUB, files)


def test_the_value_says_what_each_model_can_do(studio: Studio) -> None:
    visitor = studio.sessions.get_or_create("one")
    value = choose_model(studio, visitor, "xl")
    assert (value["current"], value["offer"], value["error"]) == ("xl", None, "")
    assert [one["id"] for one in value["models"]] == ["sd", "xl"]
    sd, xl = value["models"]
    assert sd["about"] == "32x32 Stable Diffusion of another shape"
    assert sd["sizes"] == "441 kB on disk, 384 kB in memory"
    assert (sd["mark"], xl["mark"]) == ("loaded", "")
    edit(studio, visitor, REAL)
    assert choose_model(studio, visitor, "sd")["models"][1]["mark"] == "loaded"


def test_a_model_that_says_what_it_knows_is_described_so(tmp_path: Path) -> None:
    studio = Studio(Editor.from_pretrained("tiny", device="cpu"), tmp_path)
    value = choose_model(studio, studio.sessions.get_or_create("one"), "tiny")
    words = len(studio.editor.models.knowledge.words)
    assert value["models"][0]["about"] == f"64x64 synthetic scenes; knows {words} words"
    assert not value["can_use_hub"]
    studio.close()


@pytest.mark.parametrize("alias", ["no", "", 4, None, ["sd"], "x" * 10_000])
def test_a_wrong_choice_is_said_and_changes_nothing(alias: object, studio: Studio) -> None:
    visitor = studio.sessions.get_or_create("one")
    value = choose_model(studio, visitor, alias)
    assert value["current"] == "sd" and value["error"].startswith("Model must be one of sd, xl")


def test_a_picture_of_another_model_offers_it(studio: Studio) -> None:
    visitor = studio.sessions.get_or_create("one")
    choose_model(studio, visitor, "xl")
    result, _ = edit(studio, visitor, REAL)
    actions = Actions(studio)
    maker = actions.find_maker(str(result.edit_file))
    assert maker == "xl"
    assert model_value(studio, visitor, offered=maker)["offer"] is None  # it is chosen already
    choose_model(studio, visitor, "sd")
    change = actions.restore(visitor, str(result.edit_file), REAL)
    offer = (change.model or {})["offer"]
    assert offer == {
        "id": "xl", "text": "This picture was made with the model xl, which is here too.",
    }  # fmt: skip
    for name in ("another", None, ["xl"], {}):
        assert studio.menu.find_by_name(name) is None


def test_the_form_takes_the_new_model_s_defaults_and_keeps_the_wish(studio: Studio) -> None:
    own = replace(REAL, steps=4, t_max=4, t_m=2, prompt_2="a boat", strength=0.8, seed=5)
    xl, sd = studio.menu.get("xl"), studio.menu.get("sd")
    adapted = adapt_form(own, xl)
    assert (adapted.steps, adapted.prompt_2) == (10, "a boat")
    assert (adapted.prompt, adapted.strength, adapted.seed) == (own.prompt, 0.8, 5)
    assert 0 <= adapted.t_m <= adapted.t_max <= adapted.steps
    assert adapt_form(own, sd).prompt_2 == ""
    visitor = studio.sessions.get_or_create("one")
    visitor.page.form = own
    change = ModelActions(studio).choose(visitor, "xl")
    assert change.form == adapted and change.facts and change.facts.reads_xl


def test_a_model_of_the_hub_is_fetched_and_offered_to_all(
    studio: Studio, on_hub: None, zoo: Path
) -> None:
    one, two = (studio.sessions.get_or_create(name) for name in ("one", "two"))
    value = fetch_model(studio, one, HUB)
    assert (value["current"], value["error"]) == (HUB, "")
    assert [each["id"] for each in choose_model(studio, two, "sd")["models"]] == ["sd", "xl", HUB]
    result, _ = edit(studio, one, REAL)
    alone = Editor.from_pretrained(zoo / "hub", device="cpu")
    source = alone.invert(result.last.source.picture, REAL.source_prompt, REAL.method, REAL.steps)
    want = alone.edit(source, REAL.prompt, strength=REAL.strength, guidance_scale=3.0).picture
    assert images.open_picture(result.edit_file).tobytes() == want.tobytes()
    assert fetch_model(studio, two, HUB)["current"] == HUB  # it is not fetched again


@pytest.mark.parametrize("name", ["tiny", "", "a/b/c", "../x", "lab/.. ", "org/näme", 3, None])
def test_only_ids_of_the_hub_are_fetched(name: object, studio: Studio) -> None:
    value = fetch_model(studio, studio.sessions.get_or_create("one"), name)
    assert value["current"] == "sd" and "organisation/model" in value["error"]


def test_a_folder_of_the_server_is_no_id(
    studio: Studio, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(zoo.parent)
    folder = f"{zoo.name}/hub"
    assert os.path.isdir(folder)
    value = fetch_model(studio, studio.sessions.get_or_create("one"), folder)
    assert value["current"] == "sd" and "organisation/model" in value["error"]


def test_a_model_that_is_not_there_is_an_error(studio: Studio, on_hub: None) -> None:
    value = fetch_model(studio, studio.sessions.get_or_create("one"), "lab/nothing")
    assert value["current"] == "sd" and "lab/nothing" in value["error"]
    assert [one["id"] for one in value["models"]] == ["sd", "xl"]


def test_visitors_may_fetch_a_few_models_only(
    studio: Studio, on_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_models, "MAX_MODELS", 0)
    value = fetch_model(studio, studio.sessions.get_or_create("one"), HUB)
    assert value["error"].startswith("This page has fetched 0 models")


def test_a_model_that_never_fits_is_not_added(
    first: Editor, zoo: Path, on_hub: None, tmp_path: Path
) -> None:
    own, sd = read_editor_facts(first).bytes, ModelSpec("sd", options_of(zoo / "sd"))
    with run_pool(first, PoolSettings("sd", sd, (), own, grows=True)) as lender:
        hub = HubModels(lender, options_of("sd"), EngineOptions())
        menu = offer_several(first, "sd", lender, hub.fetch)
        studio = Studio(first, tmp_path / "studio", menu=menu)
        value = fetch_model(studio, studio.sessions.get_or_create("one"), HUB)
        assert "more than the 384 kB of --model-memory" in value["error"]
        studio.close()


def test_without_leave_nothing_is_fetched(first: Editor, tmp_path: Path) -> None:
    studio = Studio(first, tmp_path)
    value = fetch_model(studio, studio.sessions.get_or_create("one"), HUB)
    assert (value["can_use_hub"], value["current"]) == (False, "sd")
    assert value["error"] == "This page does not fetch models of the hub"
    studio.close()
