"""The cache of sources: never stale, never above its limit, and safe between processes."""

import errno
import inspect
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mdp_lite.checkpoint import identity
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.editor import Editor, Source
from mdp_lite.files import atomic
from mdp_lite.pipeline.result import Cost
from mdp_lite.pipeline.xl import PLAIN, XLCondition
from mdp_lite.store.cache import OUR_FILES, Cache
from support.checkpoints import write_checkpoint
from support.source_cases import change_unet, picture, same_bits

STEPS = 2
GENERATE: dict[str, Any] = {"prompt": "a red house", "seed": 1, "num_inference_steps": STEPS}
INVERT: dict[str, Any] = {"image": picture(), "prompt": "a house", "num_inference_steps": STEPS}


@pytest.fixture
def cached(editor: Editor, tmp_path: Path) -> Editor:
    return Editor(editor.models, editor.device, Cache(tmp_path / "cache"))


def entries(editor: Editor) -> list[Path]:
    assert editor.cache is not None
    return sorted(editor.cache.folder.glob(OUR_FILES))


def create(editor: Editor, call: str, **settings: Any) -> Source:
    return getattr(editor, call)(**settings)


SETTINGS = {"generate": GENERATE, "invert": INVERT, "ddim": INVERT | {"method": "ddim"}}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_second_time_is_free_and_has_the_same_bits(
    editor: Editor, cached: Editor, name: str
) -> None:
    call, steps = "generate" if name == "generate" else "invert", []
    plain = create(editor, call, **SETTINGS[name])
    first = create(cached, call, **SETTINGS[name])
    again = create(cached, call, **SETTINGS[name], on_step=lambda *step: steps.append(step))
    assert first.cost == plain.cost and first.cost.unet_rows > 0
    assert again.cost == Cost(0, 0) and steps == [] and len(entries(cached)) == 1
    assert same_bits(plain, first) and same_bits(plain, replace(again, cost=plain.cost))
    edits = [one.edit(source, "a boat") for one, source in ((editor, plain), (cached, again))]
    assert torch.equal(edits[0].latent, edits[1].latent)


# Never stale: with any other setting a source is another entry.

OTHERS: dict[str, dict[str, Any]] = {
    "generate": {
        "prompt": "a red boat", "seed": 2, "num_inference_steps": STEPS + 1,
        "guidance_scale": 2.0, "negative_prompt": "night", "width": 16, "height": 16,
        "xl": XLCondition(prompt_2=GENERATE["prompt"]), "record_noise": True,
        "record_direction": True,
    },
    "invert": {
        "image": picture(1), "prompt": "a boat", "method": "ddim",
        "num_inference_steps": STEPS + 1, "guidance_scale": 2.0, "negative_prompt": "night",
        "width": 16, "height": 16, "fit": "pad",
        "mask": (0, 0, 8, 8), "xl": XLCondition(prompt_2=INVERT["prompt"]),
        "record_direction": True,
    },
}  # fmt: skip
# Arguments that change nothing in a source.
NOT_IN_KEY = {
    "generate": ["on_step", "deadline"],
    "invert": ["on_step", "on_tuned", "deadline"],
}
CHANGES = [(call, name) for call, others in OTHERS.items() for name in others]


@pytest.mark.parametrize("call", OTHERS)
def test_every_argument_is_tried_below(call: str) -> None:
    assert set(inspect.signature(getattr(Editor, call)).parameters) == {
        "self", *NOT_IN_KEY[call], *OTHERS[call]
    }  # fmt: skip


@pytest.mark.parametrize(("call", "name"), CHANGES)
def test_another_argument_is_a_miss(editor: Editor, cached: Editor, call: str, name: str) -> None:
    settings, other = SETTINGS[call], SETTINGS[call] | {name: OTHERS[call][name]}
    create(cached, call, **settings)
    found = create(cached, call, **other)
    assert found.cost.unet_rows > 0 and len(entries(cached)) == 2
    assert same_bits(found, create(editor, call, **other))


def test_one_pixel_more_is_a_miss_and_another_file_of_the_same_is_not(cached: Editor) -> None:
    image = picture()
    cached.invert(**INVERT)
    assert cached.invert(**INVERT | {"image": image.convert("RGBA")}).cost == Cost(0, 0)
    image.putpixel((0, 0), (1, 2, 3))
    assert cached.invert(**INVERT | {"image": image}).cost.unet_rows > 0


@pytest.mark.parametrize("change", ["weights", "dtype", "prediction"])
def test_another_model_is_a_miss(tmp_path: Path, change: str) -> None:
    folder, cache = write_checkpoint(tmp_path / "random"), tmp_path / "cache"
    Editor.from_pretrained(folder, "cpu", cache=cache).generate(**GENERATE)
    again = Editor.from_pretrained(folder, "cpu", cache=cache)
    assert again.generate(**GENERATE).cost == Cost(0, 0)
    if change == "weights":
        change_unet(folder)
    chosen: dict[str, Any] = {
        "weights": {}, "dtype": {"dtype": "bfloat16"},
        "prediction": {"prediction_type": "v_prediction"},
    }[change]  # fmt: skip
    other = Editor.from_pretrained(folder, "cpu", cache=cache, **chosen)
    assert other.generate(**GENERATE).cost.unet_rows > 0
    assert len(entries(other)) == 2


def test_bad_input_is_refused_with_a_cache_as_without(cached: Editor) -> None:
    cached.generate(**GENERATE)
    with pytest.raises(ValueError, match="seed must be a whole number, got True"):
        cached.generate(**GENERATE | {"seed": True})
    with pytest.raises(ValueError, match="picture must be .*, got no such file: 'house.png'"):
        cached.invert(**INVERT | {"image": "house.png"})


# The sums of a model's files: read once, and again when the file has changed.


def test_sums_are_remembered_between_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = write_checkpoint(tmp_path / "random"), tmp_path / "cache"
    for path in folder.rglob("*"):
        os.utime(path, ns=(0, time.time_ns() - 2 * identity.COARSE))
    origin = Editor.from_pretrained(folder, "cpu").models.origin
    first = identity.model_hash(origin, cache)
    identity._digest.cache_clear()  # as in a new process
    monkeypatch.setattr("hashlib.file_digest", None)  # reading would fail
    assert identity.model_hash(origin, cache) == first
    monkeypatch.undo()
    change_unet(folder)
    changed = Editor.from_pretrained(folder, "cpu").models.origin
    assert identity.model_hash(changed, cache) != first


def test_files_written_just_now_are_not_remembered(tmp_path: Path) -> None:
    folder, cache = write_checkpoint(tmp_path / "random"), tmp_path / "cache"
    identity.model_hash(Editor.from_pretrained(folder, "cpu").models.origin, cache)
    assert not (cache / identity.NAME).exists()


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', "[" * 100_000, "\x00\xff"])
def test_damaged_sums_are_none(editor: Editor, tmp_path: Path, text: str) -> None:
    (tmp_path / identity.NAME).write_text(text, "utf-8")
    origin = editor.models.origin
    assert identity.model_hash(origin, tmp_path) == identity.model_hash(origin)


# Entries: damaged ones, the limit, the order.


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "one bit"])
def test_a_damaged_entry_is_made_again_and_this_is_said(
    cached: Editor, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    atomic.warn_once.cache_clear()
    first = cached.generate(**GENERATE)
    (path,) = entries(cached)
    data = path.read_bytes()
    spoilt = {
        "cut": data[:-50], "empty": b"", "foreign": b"hello" * 99,
        "one bit": data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
    }  # fmt: skip
    path.write_bytes(spoilt[damage])
    again = cached.generate(**GENERATE)
    assert same_bits(first, again) and again.cost == first.cost
    (message,) = caplog.messages
    assert message.startswith("a source in the cache can't be used, made again: ")
    assert path.name in message
    assert entries(cached) == [path] and path.read_bytes()[-50:] == data[-50:]
    assert cached.generate(**GENERATE).cost == Cost(0, 0)


def test_the_least_recently_used_goes_first(cached: Editor) -> None:
    settings = [GENERATE | {"seed": seed} for seed in range(4)]
    for one in settings[:3]:
        cached.generate(**one)
    cache = cached.cache
    assert cache is not None
    size = entries(cached)[0].stat().st_size
    cached.generate(**settings[0])  # used again, so that 1 is the oldest
    full = Editor(cached.models, cached.device, replace(cache, max_bytes=3 * size + size // 2))
    full.generate(**settings[3])
    keys = [
        cache.key(cached.runner, (*one.values(), None, "", None, None, PLAIN, False, False))
        for one in settings
    ]
    found = [cache.get(key, cached.runner) is not None for key in keys]
    assert found == [True, False, True, True] and len(entries(cached)) == 3


def test_a_source_larger_than_the_limit_is_not_stored_and_removes_nothing(
    cached: Editor, caplog: pytest.LogCaptureFixture
) -> None:
    atomic.warn_once.cache_clear()
    cached.generate(**GENERATE)
    small = Editor(cached.models, cached.device, replace(cached.cache, max_bytes=100))  # type: ignore[type-var]
    assert small.generate(**GENERATE | {"seed": 2}).cost.unet_rows > 0
    assert len(entries(cached)) == 1
    (message,) = caplog.messages
    assert "too large for the cache and was not kept" in message and message.endswith(" has 100")


def test_files_of_the_users_own_are_never_removed(cached: Editor) -> None:
    folder = cached.cache.folder  # type: ignore[union-attr]
    folder.mkdir()
    own = [folder / "model.safetensors", folder / f"{'a' * 64}.safetensors", folder / "x.tmp"]
    for path in own:
        path.write_bytes(b"0" * 10_000)
    small = Editor(cached.models, cached.device, Cache(folder, 30_000))
    for seed in range(5):
        small.generate(**GENERATE | {"seed": seed})
    assert all(path.exists() for path in own)
    assert 0 < sum(path.stat().st_size for path in entries(small)) <= 30_000


def test_a_dry_run_reads_and_never_writes(cached: Editor) -> None:
    dry = dry_run_editor(cached)
    assert dry.generate(**GENERATE).cost.unet_rows > 0
    assert not cached.cache.folder.exists()  # type: ignore[union-attr]
    cached.generate(**GENERATE)
    assert dry.generate(**GENERATE).cost == Cost(0, 0)


def test_a_full_disk_costs_no_result_and_is_said_once(
    cached: Editor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    atomic.warn_once.cache_clear()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mdp_lite.files.atomic.os.replace", full)
    for _ in range(2):
        assert cached.generate(**GENERATE).cost.unet_rows > 0
    folder = cached.cache.folder  # type: ignore[union-attr]
    assert entries(cached) == [] and list(folder.glob(".source*")) == []
    assert caplog.messages == [
        f"the cache in {str(folder)!r} could not keep new results (No space left on device): "
        "they will be computed again"
    ]
    monkeypatch.setattr("mdp_lite.files.atomic.os.replace", lambda *_: full_quota())
    cached.generate(**GENERATE)
    assert len(caplog.messages) == 2 and "(Disk quota exceeded)" in caplog.messages[1]


def full_quota() -> None:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


def test_a_cache_that_is_only_read_says_nothing(
    cached: Editor, caplog: pytest.LogCaptureFixture
) -> None:
    dry_run_editor(cached).generate(**GENERATE)
    assert caplog.messages == []


@pytest.mark.parametrize(("place", "sentence"), [
    ("file", "cache must be a folder, got a file: "),
    ("file/below", "cache must be a folder, got a file: "),
    ("", "cache must be a folder, got ''"),
    (3, "cache must be a folder, got 3"),
])  # fmt: skip
def test_what_is_no_folder_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(ValueError, match=sentence):
        Editor.from_pretrained(checkpoint, "cpu", cache=place)


def test_the_temporary_file_of_a_killed_writer_is_removed(cached: Editor) -> None:
    leftover = cached.cache.folder / ".source-1.safetensors.2.tmp"  # type: ignore[union-attr]
    leftover.parent.mkdir()
    leftover.write_bytes(b"0" * 99)
    cached.generate(**GENERATE)
    assert not leftover.exists() and len(entries(cached)) == 1
