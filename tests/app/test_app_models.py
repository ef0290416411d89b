"""Several models on the page: each visitor's own, loaded in turn, with a lone editor's pixels."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.app.forecast import forecast
from mdp_lite.app.form import EditForm, default_form
from mdp_lite.app.models import PageModels, offer_several
from mdp_lite.app.runs import run_edit
from mdp_lite.app.sheet_plans import plan_variants
from mdp_lite.app.sheets import make_sheet
from mdp_lite.app.streaming import StoppedByVisitor
from mdp_lite.app.studio import Studio
from mdp_lite.cli.model_options import ModelOptions
from mdp_lite.editor import Editor
from mdp_lite.model_pool.lending import ModelLender
from mdp_lite.model_pool.local_pool import PoolSettings, run_pool
from mdp_lite.model_pool.specs import ModelSpec, read_editor_facts
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from support.checkpoints import write_checkpoint
from support.studios import GENERATED, REAL, edit, picture, run_to_end, submission

KINDS: dict[str, dict[str, Any]] = {"sd": {}, "xl": {"xl": True}, "fill": {"inpaints": True}}
ROOM = 2.6  # in models of the size of sd: beside the first there is room for xl alone, or fill


def spec_of(folder: Path, alias: str) -> ModelSpec:
    return ModelSpec(alias, ModelOptions(name=str(folder / alias), device="cpu"))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random models of three kinds."""
    folder = tmp_path_factory.mktemp("zoo")
    for seed, (alias, kind) in enumerate(KINDS.items()):
        write_checkpoint(folder / alias, seed=seed, **kind)
    return folder


@pytest.fixture(scope="module")
def editors(zoo: Path) -> dict[str, Editor]:
    """A lone editor of each."""
    return {alias: Editor.from_pretrained(zoo / alias, device="cpu") for alias in KINDS}


@pytest.fixture
def lender(zoo: Path, editors: dict[str, Editor]) -> Iterator[ModelLender]:
    """A pool of all of them, of which only two fit into the memory."""
    room = int(ROOM * read_editor_facts(editors["sd"]).bytes) + 1
    others = (spec_of(zoo, "xl"), spec_of(zoo, "fill"))
    with run_pool(editors["sd"], PoolSettings("sd", spec_of(zoo, "sd"), others, room)) as one:
        yield one


@pytest.fixture
def studio(lender: ModelLender, editors: dict[str, Editor], tmp_path: Path) -> Iterator[Studio]:
    """A page of all of them."""
    one = Studio(
        editors["sd"], tmp_path / "studio", menu=offer_several(editors["sd"], "sd", lender)
    )
    yield one
    one.close()


def edit_alone(editor: Editor, form: EditForm = REAL) -> bytes:
    """The pixels of the lone editor's edit of a form by strength."""
    source = editor.invert(picture(), form.source_prompt, form.method, form.steps)
    done = editor.edit(
        source, form.prompt, form.variant, strength=form.strength,
        guidance_scale=form.guidance_scale,
    )  # fmt: skip
    return done.picture.tobytes()


def pixels(path: Path) -> bytes:
    return images.open_picture(path).tobytes()


@pytest.mark.parametrize("alias", KINDS)
def test_a_chosen_model_makes_what_its_lone_editor_makes(
    alias: str, studio: Studio, editors: dict[str, Editor]
) -> None:
    visitor = studio.sessions.get_or_create("one")
    assert studio.choose(visitor, alias).alias == alias
    result, reports = edit(studio, visitor, REAL)
    assert pixels(result.edit_file) == edit_alone(editors[alias])
    assert result.settings["model"] == alias == result.last.model == result.item.model
    words = [one.stage for one in reports if not one.total]
    if alias == "sd":
        assert words == []
    else:
        assert all(alias in one and " kB" in one for one in words) and words
    assert [one.state for one in studio.models if one.alias == alias] == ["loaded"]


def test_two_visitors_with_two_models_take_turns_in_the_memory_of_one(
    studio: Studio, lender: ModelLender, editors: dict[str, Editor]
) -> None:
    """Neither xl nor fill fits beside the other: each run makes the other one leave."""
    results: dict[str, bytes] = {}

    def visit(alias: str) -> None:
        visitor = studio.sessions.get_or_create(alias)
        studio.choose(visitor, alias)
        for strength in (0.5, 0.75):
            result, _ = edit(studio, visitor, replace(REAL, strength=strength))
            results[f"{alias} {strength}"] = pixels(result.edit_file)
            assert sum(lender._pool.bytes.values()) <= lender._pool.bound

    threads = [threading.Thread(target=visit, args=[alias]) for alias in ("xl", "fill", "sd")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert results == {
        f"{alias} {strength}": edit_alone(editors[alias], replace(REAL, strength=strength))
        for alias in ("xl", "fill", "sd")
        for strength in (0.5, 0.75)
    }


@pytest.mark.parametrize("form", [REAL, GENERATED], ids=["real", "generated"])
@pytest.mark.parametrize("alias", ["xl", "fill"])
def test_the_forecast_of_an_unloaded_model_is_its_cost(
    alias: str, form: EditForm, studio: Studio
) -> None:
    visitor = studio.sessions.get_or_create("one")
    studio.choose(visitor, alias)
    before = forecast(studio, visitor, submission(form))
    assert {one.alias: one.state for one in studio.models}[alias] == "unloaded"
    result, _ = edit(studio, visitor, form)
    assert (before.source, before.edit) == (result.last.source.cost, result.edit.cost)
    after = forecast(studio, visitor, submission(form))
    assert after.source_ready and after.rows == result.edit.cost.unet_rows


def test_a_source_belongs_to_its_model(studio: Studio) -> None:
    visitor = studio.sessions.get_or_create("one")
    first, _ = edit(studio, visitor, REAL)
    studio.choose(visitor, "fill")
    other, _ = edit(studio, visitor, REAL)
    studio.choose(visitor, "sd")
    again, _ = edit(studio, visitor, REAL)
    assert (first.reused, other.reused, again.reused) == (False, False, True)


def test_a_sheet_is_of_the_model_of_its_source(studio: Studio, editors: dict[str, Editor]) -> None:
    """Even if the visitor has chosen another one since."""
    visitor = studio.sessions.get_or_create("one")
    studio.choose(visitor, "xl")
    result, _ = edit(studio, visitor, REAL)
    studio.choose(visitor, "sd")
    plan = plan_variants(result.last.form)
    sheet, _ = run_to_end(make_sheet(studio, visitor, plan, "compare"))
    assert pixels(sheet.cells[0].file) == edit_alone(editors["xl"])


def test_the_defaults_and_the_fields_are_those_of_the_chosen_model(studio: Studio) -> None:
    visitor = studio.sessions.get_or_create("one")
    assert studio.find_model(visitor).alias == "sd" and not studio.find_model(visitor).reads_xl
    xl = studio.choose(visitor, "xl")
    assert xl.reads_xl and default_form(xl.dry_editor, "picture").steps == 10
    with pytest.raises(BadInput, match="only Stable Diffusion XL|SDXL|second text encoder"):
        edit(studio, studio.sessions.get_or_create("two"), replace(REAL, prompt_2="a boat"))
    edit(studio, visitor, replace(REAL, prompt_2="a boat"))


@pytest.mark.parametrize("alias", ["nothing", "", None, 3, ["sd"]])
def test_only_models_of_the_page_can_be_chosen(alias: object, studio: Studio) -> None:
    visitor = studio.sessions.get_or_create("one")
    with pytest.raises(BadInput, match="model must be one of sd, xl, fill, got"):
        studio.choose(visitor, alias)
    assert studio.find_model(visitor).alias == "sd"


def break_file(zoo: Path, alias: str, name: str) -> Callable[[], None]:
    """Cut a file of a model; what is returned mends it."""
    file = zoo / alias / name
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    return lambda: None if file.write_bytes(data) else None


def test_a_model_that_fails_to_load_is_an_error_and_the_page_goes_on(
    studio: Studio, zoo: Path, editors: dict[str, Editor]
) -> None:
    visitor = studio.sessions.get_or_create("one")
    studio.choose(visitor, "fill")
    mend = break_file(zoo, "fill", "unet/diffusion_pytorch_model.safetensors")
    try:
        with pytest.raises(BadInput, match="the model 'fill' could not be loaded: ") as caught:
            edit(studio, visitor, REAL)
    finally:
        mend()
    assert str(zoo) not in str(caught.value)
    assert [one.state for one in studio.models] == ["loaded", "unloaded", "failed"]
    studio.choose(visitor, "xl")
    result, _ = edit(studio, visitor, REAL)
    assert pixels(result.edit_file) == edit_alone(editors["xl"])


def test_a_model_with_a_broken_config_can_not_be_chosen(studio: Studio, zoo: Path) -> None:
    visitor = studio.sessions.get_or_create("one")
    mend = break_file(zoo, "xl", "unet/config.json")
    try:
        with pytest.raises(BadInput, match="config.json"):
            studio.choose(visitor, "xl")
    finally:
        mend()
    assert studio.find_model(visitor).alias == "sd"
    assert studio.choose(visitor, "xl").reads_xl  # once it is mended


def test_stop_ends_the_wait_for_a_model(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor, may_load = studio.sessions.get_or_create("one"), threading.Event()
    load = ModelSpec.load
    monkeypatch.setattr(ModelSpec, "load", lambda self, loras: may_load.wait(60) and load(self))
    studio.choose(visitor, "xl")
    run = run_edit(studio, visitor, submission(REAL))
    try:
        assert next(run).total == 0
        visitor.stop()
        with pytest.raises(StoppedByVisitor):
            run_to_end(run)
    finally:
        may_load.set()
    studio.choose(visitor, "sd")
    edit(studio, visitor, REAL)


def test_one_model_needs_no_pool(editors: dict[str, Editor], tmp_path: Path) -> None:
    before = threading.active_count()
    studio = Studio(editors["sd"], tmp_path)
    (only,) = studio.models
    assert (only.alias, only.state, only.size) == ("sd", "loaded", (32, 32))
    assert only.bytes == read_editor_facts(editors["sd"]).bytes
    assert only.disk_bytes > only.bytes  # float32 on both, and configs
    assert threading.active_count() == before
    studio.close()


def test_models_are_found_by_the_names_in_pictures(studio: Studio) -> None:
    menu: PageModels = studio.menu
    assert [getattr(menu.find_by_name(name), "alias", None) for name in ("xl", "none", 3)] == [
        "xl", None, None,
    ]  # fmt: skip
