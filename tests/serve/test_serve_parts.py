"""The parts of the service alone: the store, costs, settings, keys, the command's options."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from mdp_lite.__main__ import main
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.editor import Editor
from mdp_lite.names import SCHEDULES, VARIANTS
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.result import Source
from mdp_lite.serve import fields
from mdp_lite.serve.costs import rows_of_edit, rows_of_source, rows_of_sweep
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.fields import InversionName, SteeringFields, SweepFields
from mdp_lite.serve.gate import owner_of, strip_port
from mdp_lite.serve.options import load_hook, parse_limits, read_keys
from mdp_lite.serve.settings import Limits, ServiceSettings, check_settings
from mdp_lite.serve.store import SourceStore, source_bytes
from mdp_lite.serve.work import (
    EditSpec,
    PictureRecipe,
    PromptRecipe,
    build_request,
    get_or_make_source,
)
from support.inverting import picture
from support.serving import ManualClock

PICTURE, KEY = picture(), "k" * 20


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    return editor.generate("a red house", 1, 3)


def test_the_names_are_the_core_s() -> None:
    assert set(get_args(fields.Variant)) == set(VARIANTS)
    assert set(get_args(fields.Schedule)) == set(SCHEDULES)
    assert set(get_args(fields.InversionName)) == set(METHODS) - {"null-text"}


def test_a_source_lasts_while_it_is_used(source: Source) -> None:
    clock = ManualClock()
    store = SourceStore(Limits(seconds=10), clock)
    name = store.put(source, "a")
    for _ in range(3):
        clock.now += 9
        assert store.get(name, "a") is source and store.seconds_left(name) == 10
    clock.now += 10
    assert store.get(name, "a") is None and len(store) == store.size == 0


def test_the_store_is_bounded_and_no_owner_evicts_others(source: Source) -> None:
    store = SourceStore(Limits(sources=4), ManualClock())
    mine = store.put(source, "a")
    theirs = [store.put(source, "b") for _ in range(10)]
    assert len(store) == 4 and store.get(mine, "a") is source
    assert [store.get(name, "b") is not None for name in theirs] == [False] * 7 + [True] * 3
    assert store.get(mine, "b") is None and not store.drop(mine, "b") and store.drop(mine, "a")


def test_the_store_is_bounded_in_bytes(source: Source) -> None:
    store = SourceStore(Limits(source_bytes=3 * source_bytes(source)), ManualClock())
    for _ in range(5):
        store.put(source, "a")
    assert len(store) == 3 and store.size == 3 * source_bytes(source)


def test_ids_are_not_guessed(source: Source) -> None:
    store = SourceStore(Limits(), ManualClock())
    names = {store.put(source, "") for _ in range(100)}
    assert len(names) == 100 and min(map(len, names)) > 20


@pytest.mark.covering(1)
@pytest.mark.parametrize("g", [None, 1.0, 2.0])
@pytest.mark.parametrize("method", get_args(InversionName))
def test_the_cost_of_an_inversion(editor: Editor, method: str, g: float | None) -> None:
    recipe = PictureRecipe(PICTURE, "a house", Inversion(method), 3, g, "", None, "crop")
    assert rows_of_source(editor, recipe) == get_or_make_source(editor, recipe).cost.unet_rows


@pytest.mark.parametrize("record_noise", [False, True])
@pytest.mark.parametrize("g", [None, 1.0])
def test_the_cost_of_a_generated_source(
    editor: Editor, g: float | None, record_noise: bool
) -> None:
    recipe = PromptRecipe("a house", 1, 3, g, "", (40, 24), record_noise=record_noise)
    assert rows_of_source(editor, recipe) == get_or_make_source(editor, recipe).cost.unet_rows


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("auto", [False, True])
def test_the_cost_of_an_edit_at_most(
    editor: Editor, source: Source, variant: Any, auto: bool
) -> None:
    spec = EditSpec("a boat", SteeringFields(variant=variant, mask_auto=auto), None, None)
    edit = editor.edits([build_request(source, spec)])[0]
    assert edit.cost.unet_rows <= rows_of_edit(editor, source, spec) <= 3 * 3 + 10


@pytest.mark.parametrize(
    "recipe",
    [
        PictureRecipe(PICTURE, "a house", Inversion(), 8, None, "", None, "crop"),
        PictureRecipe(PICTURE, "a house", Inversion("replay"), 8, None, "", None, "crop"),
        PromptRecipe("a house", 1, 8, None, "", None),
        PromptRecipe("a house", 1, 8, None, "", None, record_noise=True),
    ],
    ids=["edit-friendly", "replay", "generated", "recorded"],
)
def test_the_cost_of_a_default_edit(editor: Editor, recipe: Any) -> None:
    """Of a model without a window of its own, before and after its source is made."""
    usual = Editor(replace(editor.models, defaults=Defaults(8, 3.0)), editor.device)
    spec = EditSpec("a boat", SteeringFields(), None, None)
    source = get_or_make_source(usual, recipe)
    edit = usual.edits([build_request(source, spec)])[0]
    assert rows_of_edit(usual, recipe, spec) == rows_of_edit(usual, source, spec)
    assert edit.cost.unet_rows <= rows_of_edit(usual, source, spec) <= edit.cost.unet_rows + 2


def test_the_cost_of_a_sweep_at_most(editor: Editor, source: Source) -> None:
    fields = SweepFields(source="x", prompts=["a", "b"], variants=["x", "c"], windows=[(3, 1)])
    done = editor.sweep(source, fields.prompts, fields.variants, fields.windows)
    assert done.cost.unet_rows <= rows_of_sweep(editor, source, fields) <= 2 * 2 * 9


def test_bad_windows_are_found_before_work(editor: Editor, source: Source) -> None:
    spec = EditSpec("a boat", SteeringFields(t_max=9), None, None)
    with pytest.raises(ValueError, match="t_max must be at most the 3 steps"):
        rows_of_edit(editor, source, spec)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_an_open_service_needs_a_key(host: str) -> None:
    with pytest.raises(ValueError, match="needs an API key"):
        check_settings(ServiceSettings(host=host))
    assert check_settings(ServiceSettings(host=host, keys=(KEY,)))
    assert check_settings(ServiceSettings(host=host, open=True))


@pytest.mark.parametrize("key", ["short", "with space " * 2, "ümlaut" * 5, "\n" * 20])
def test_weak_keys_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="an API key must have"):
        check_settings(ServiceSettings(keys=(key,)))


def test_the_owner_follows_from_the_key() -> None:
    both = (KEY, "o" * 20)
    assert owner_of(b"Bearer " + b"k" * 20, both) != owner_of(b"bearer " + b"o" * 20, both)
    assert KEY not in owner_of(b"Bearer " + b"k" * 20, both)
    for header in (b"", b"Bearer", b"Bearer ", b"Bearer kk", b"Basic " + b"k" * 20, b"\xff\xfe"):
        with pytest.raises(ApiError) as caught:
            owner_of(header, both)
        assert caught.value.status == 401


def test_hosts() -> None:
    names = ["localhost", "localhost:80", "[::1]:80", "127.0.0.1"]
    assert list(map(strip_port, names)) == ["localhost", "localhost", "::1", "127.0.0.1"]


def test_limits_of_the_command_line() -> None:
    assert parse_limits(["steps=10", "body-bytes=5", "read=0.5"]) == Limits(5, steps=10, read=0.5)
    for bad in ("stepz=1", "steps=a", "steps=0", "read=inf", "steps"):
        with pytest.raises(ValueError, match="limit"):
            parse_limits([bad])


def test_keys_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n\n  {'o' * 20}\n")
    assert read_keys(str(file)) == {KEY: 0, "o" * 20: 0}
    file.write_text("\n")
    for bad in (str(file), str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(ValueError, match="key-file"):
            read_keys(bad)
    monkeypatch.setenv("MDP_LITE_API_KEYS", f"{KEY},{'o' * 20}")
    assert read_keys(None) == {KEY: 0, "o" * 20: 0}


def test_a_hook_by_name() -> None:
    assert load_hook("builtins:all") is all and load_hook(None) is None
    for bad in ("nothing", "builtins:nothing", ":x", "no.such:thing"):
        with pytest.raises(ValueError, match="safety-hook"):
            load_hook(bad)


def test_a_dry_run_and_bad_options(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["serve", "--model", str(checkpoint), "--dry-run"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("would serve random as mdp-lite on http://127.0.0.1:8000/v1\n")
    assert "API keys: none, it is for this machine only\n" in out
    assert "UNet rows of a call: each picture has its own calls\n" in out
    assert "memory: " in out and "  deadline            600 s\n" in out
    for bad, text in (
        (["--host", "0.0.0.0"], "needs an API key"),
        (["--limit", "steps=x"], "limit steps must be a number"),
        (["--port", "99999"], "port must be from 0 to 65535"),
    ):
        assert main([*command, *bad]) == 2
        assert text in capsys.readouterr().err


def test_a_dry_run_says_every_limit_and_who_may_use_it(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDP_LITE_API_KEYS", "k" * 16 + "," + "l" * 16)
    line = ["serve", "--model", str(checkpoint), "--dry-run", "--json", "--host", "0.0.0.0"]
    line += ["--port", "9", "--rows", "8", "--limit", "steps=7"]
    assert main(line) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["host"], facts["port"], facts["keys"], facts["open"]) == ("0.0.0.0", 9, 2, False)
    assert facts["rows"] == 8 and facts["limits"] == asdict(Limits(steps=7))
    assert facts["size"] == "64x64"  # twice the model's own
    parts = ("library_bytes", "weight_bytes", "activation_bytes", "path_bytes", "malloc_bytes")
    assert facts["peak_bytes"] == sum(facts[part] for part in parts)
    small = [*line, "--limit", "side=32"]
    assert main(small) == 0
    assert json.loads(capsys.readouterr().out)["peak_bytes"] < facts["peak_bytes"]
