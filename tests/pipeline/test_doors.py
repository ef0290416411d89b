"""Arguments of another type at the doors of the library: BadInput in one line, before any work."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mdp_lite
from mdp_lite import BadInput, Cache, Client, Editor, Request, Source
from mdp_lite.batcher.batcher import Batcher
from mdp_lite.batcher.client import make_batcher
from support.watched import Watched

# What is written, and a part of the sentence that answers it.
WRONG: dict[str, str] = {
    "editor.generate('a', on_step=5)": "on_step must be a function, got 5",
    "editor.invert(source.image, 'a', on_step='print')": "on_step must be a function, got 'print'",
    "editor.invert(source.image, 'a', 'null-text', on_tuned=5)": "on_tuned must be a function",
    "editor.edit(source, 'a', on_step=5)": "on_step must be a function, got 5",
    "editor.edits([request], on_step=[])": "on_step must be a function, got []",
    "editor.sweep(source, 'a', on_step=5)": "on_step must be a function, got 5",
    "editor.edits([request], max_rows=-1)": "max_rows must be 0 or more, got -1",
    "editor.edits([request], max_rows='8')": "max_rows must be a whole number, got '8'",
    "editor.edits([request], max_rows=None)": "max_rows must be a whole number, got None",
    "editor.steps([request], -1)": "max_rows must be 0 or more, got -1",
    "editor.steps([request], True)": "max_rows must be a whole number, got True",
    "editor.sweep(source, 'a', max_rows=-1)": "max_rows must be 0 or more, got -1",
    "editor.sweep(source, 'a', max_rows=2.5)": "max_rows must be a whole number, got 2.5",
    "editor.sweep(source, 'a', windows=[(1,)])": "windows must be pairs (t_max, t_m), got (1,)",
    "editor.sweep(source, 'a', windows=[(3, 2, 1)])": "windows must be pairs (t_max, t_m), got",
    "editor.sweep(source, 'a', windows=(4, 2))": "windows must be pairs (t_max, t_m), got 4",
    "editor.sweep(source, 'a', windows=['42'])": "windows must be pairs (t_max, t_m), got '42'",
    "editor.sweep(source, 'a', windows=None)": "windows must be pairs (t_max, t_m), got None",
    "editor.sweep(source, 'a', windows=4)": "windows must be pairs (t_max, t_m), got 4",
    "editor.sweep(source, 'a', windows=[('4', '2')])": "t_max must be a finite number, got '4'",
    "editor.sweep(source.image, 'a')": "sources must be a list",
    "editor.sweep(source, object())": "prompts must be a list",
    "editor.sweep(source, 'a', object())": "variants must be a list",
    "editor.edit(source, 'a', paste='yes')": "paste must be True or False, got 'yes'",
    "editor.edit(source, 'a', mask=source.image, paste=None)": "paste must be True or False",
    "editor.edits([Request(source, 'a', paste=2)])": "paste must be True or False, got 2",
    "editor.edit(source, 'a', guidance_scale=10**400)": "guidance_scale must be a finite number",
    "editor.edit(source, 'a', deadline=10**400)": "deadline must be a finite number",
    "warm_up(editor, rows=2)": "rows must be a list, got 2",
    "warm_up(editor, rows='2')": "rows must be a list, got '2'",
    "warm_up(editor, rows=[2.0])": "rows of a call must be a whole number, got 2.0",
    "warm_up(editor, rows=[2, 0])": "rows of a call must be 1 or more, got 0",
    "warm_up(editor, rows=[2], only='no')": "only must be True or False, got 'no'",
    "make_batcher(editor, -3)": "max_rows must be 0 or more, got -3",
    "run_batcher(editor, -3).__enter__()": "max_rows must be 0 or more, got -3",
    "run_batcher(editor, '8').__enter__()": "max_rows must be a whole number, got '8'",
    "client_editor('x', batcher, client)": "the model must be an Editor",
    "client_editor(editor, 'x', client)": "batcher must be one of make_batcher or run_batcher",
    "client_editor(editor, batcher, 'Ann')": "client must be a Client, got 'Ann'",
    "client_editor(editor, client, batcher)": "batcher must be one of make_batcher or run_batcher",
    "batcher.client('Ann').__enter__()": "client must be a Client, got 'Ann'",
    "batcher.client(0).__enter__()": "client must be a Client, got 0",
    "batcher.stop('x')": "client must be a Client, got 'x'",
    "batcher.call('x', print)": "client must be a Client, got 'x'",
    "batcher.call(client, 5)": "work must be a function, got 5",
    "batcher.call(client, None)": "work must be a function, got None",
    "Client(deadline='soon')": "deadline must be a finite number, got 'soon'",
    "Cache('')": "cache must be a folder, got ''",
    "Cache(5)": "cache must be a folder, got 5",
    "Cache('cc', -1)": "max_bytes must be 0 or more, got -1",
    "Cache('cc', '1GB')": "max_bytes must be 0 or more, got '1GB'",
    "Cache('cc', float('nan'))": "max_bytes must be 0 or more, got nan",
    "Cache('cc', read_only='no')": "read_only must be True or False, got 'no'",
    "Editor(editor.models, editor.device, 5)": "cache must be a folder, got 5",
}


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    return editor.generate("a red house", 1, 4)


@pytest.fixture(scope="module")
def batcher(editor: Editor) -> Batcher:
    return make_batcher(editor)


@pytest.mark.parametrize("code", WRONG)
def test_what_is_wrong_is_refused(
    code: str, editor: Editor, source: Source, batcher: Batcher
) -> None:
    names: dict[str, Any] = {name: getattr(mdp_lite, name) for name in mdp_lite.__all__}
    names |= {"editor": editor, "source": source, "request": Request(source, "a boat")}
    names |= {"batcher": batcher, "client": Client(deadline=1e-3)}
    with pytest.raises(BadInput) as caught:
        eval(code, names)
    assert WRONG[code] in str(caught.value) and "\n" not in str(caught.value)


def test_a_cache_in_a_text_works_like_one_in_a_path(
    editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Cache("cc") == Cache(Path("cc"))
    for cache in ("cc", Path("cc"), Cache("cc"), Cache(Path("cc"))):
        own = Editor(editor.models, editor.device, cache)
        own.generate("a boat", 1, 3)
        assert own.generate("a boat", 1, 3).cost.unet_rows == 0
    assert len(list(Path("cc").glob("source-*"))) == 1


def test_sound_input_is_taken(editor: Editor, source: Source, tmp_path: Path) -> None:
    assert Cache(tmp_path, 0).max_bytes == 0 and Cache(tmp_path, 4e9).max_bytes == 4e9
    pasted = [
        editor.edit(source, "a boat", mask=source.image, paste=one).picture.tobytes()
        for one in (True, 1, np.bool_(True))
    ]
    assert len(set(pasted)) == 1
    windows = [[4, 2], np.array((4, 2)).tolist()]
    assert len(editor.sweep(source, "a boat", windows=windows).edits) == 2


def test_rows_of_a_generator_are_warmed_up_too(editor: Editor) -> None:
    unet: Any = Watched(editor.models.unet)
    own = Editor(replace(editor.models, unet=unet), editor.device, engine="eager")
    mdp_lite.warm_up(own, rows=(one for one in (1, 3)))
    assert unet.calls == 2
