"""The public surface: what `from mdp_lite import ...` offers, its docstrings and their examples."""

import copy
import doctest
import inspect
import io
import pickle
import pydoc
import rlcompleter
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mdp_lite
from mdp_lite import Editor, Source

PUBLIC = [name for name in mdp_lite.__all__ if name != "__version__"]
ERRORS = [
    "BadInput",
    "BadCheckpoint",
    "MissingExtra",
    "NotFinite",
    "DeadlineExceeded",
    "Stopped",
    "CannotWrite",
]


@pytest.fixture(scope="module")
def tiny() -> Editor:
    return Editor.from_pretrained("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def source(tiny: Editor) -> Source:
    """The source that examples call `source`: four steps."""
    return tiny.generate("a red house on the grass", seed=4, num_inference_steps=4)


def run_examples(obj: Any, name: str, names: dict[str, Any]) -> int:
    """Run the examples in the docstrings of a module, a class with its methods, or a function."""
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    objects = [obj]
    if inspect.isclass(obj):
        objects += [m for _, m in inspect.getmembers(obj, inspect.isfunction)]
    module = obj if isinstance(obj, ModuleType) else sys.modules[obj.__module__]
    known = {one: getattr(mdp_lite, one) for one in PUBLIC} | vars(module) | names
    for one in objects:
        for test in finder.find(one, name, module=module, globs=known):
            runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
    return runner.tries


def test_dir_shows_the_public_names_and_nothing_else() -> None:
    assert dir(mdp_lite) == sorted(mdp_lite.__all__) == mdp_lite.__all__


def test_help_names_all_that_is_public_above_the_packages() -> None:
    text = pydoc.plain(pydoc.render_doc(mdp_lite))
    words = set(text[: text.index("PACKAGE CONTENTS")].replace(",", " ").replace("(", " ").split())
    assert [name for name in PUBLIC if name not in {one.strip(")") for one in words}] == []


@pytest.mark.parametrize("name", mdp_lite.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(mdp_lite, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = mdp_lite.Nothing


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring_of_our_own(name: str) -> None:
    text = inspect.getdoc(getattr(mdp_lite, name)) or ""
    assert text and not text.startswith("Create and return")
    assert not text.startswith(f"{name}(")  # which is what a NamedTuple has without one


def test_help_opens_with_an_example_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_examples(mdp_lite, "mdp_lite", {}) >= 5
    assert (tmp_path / "blue.png").stat().st_size > 0


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in ("MdpError", *ERRORS)])
def test_examples_of_public_names_run(
    name: str, tiny: Editor, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_examples(getattr(mdp_lite, name), name, {"editor": tiny, "source": source}) >= 1


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_has_one_root(name: str) -> None:
    assert issubclass(getattr(mdp_lite, name), mdp_lite.MdpError)


@pytest.mark.parametrize("name", ["BadInput", "BadCheckpoint", "MissingExtra"])
def test_bad_input_is_still_a_value_error(name: str) -> None:
    assert issubclass(getattr(mdp_lite, name), ValueError)


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import mdp_lite, sys; mdp_lite.BadInput; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_pictures_are_images_paths_or_arrays(tiny: Editor, source: Source, tmp_path: Path) -> None:
    import numpy as np

    source.image.save(tmp_path / "house.png")
    forms: list[Any] = [
        source.image, tmp_path / "house.png", str(tmp_path / "house.png"), np.array(source.image)
    ]  # fmt: skip
    latents = [tiny.invert(one, "a house", "replay", 2).path.x[-1] for one in forms]
    assert all((one == latents[0]).all() for one in latents)


@pytest.mark.parametrize("value", [None, 5, [[1, 2]]])
def test_other_pictures_are_refused(tiny: Editor, value: Any) -> None:
    with pytest.raises(mdp_lite.BadInput, match="image must be a PIL image, a path, bytes or a"):
        tiny.invert(value, "a house")


def test_arrays_of_other_kinds_are_refused(tiny: Editor) -> None:
    import numpy as np

    for array in (np.zeros((8, 8, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros(8, np.uint8)):
        with pytest.raises(mdp_lite.BadInput, match=r"image must be an array \(h, w\), "):
            tiny.invert(array, "a house")


def test_a_deadline_ends_generating_and_inverting(tiny: Editor, source: Source) -> None:
    with pytest.raises(mdp_lite.DeadlineExceeded, match="the deadline passed after 1 of 50 steps"):
        tiny.generate("a red house", num_inference_steps=50, deadline=1e-6)
    with pytest.raises(mdp_lite.DeadlineExceeded):
        tiny.invert(source.image, "a house", deadline=1e-6)
    with pytest.raises(mdp_lite.BadInput, match="deadline must be above 0 seconds, got 0"):
        tiny.generate("a red house", deadline=0)


def test_the_bytes_of_a_file_are_a_picture(tiny: Editor, source: Source) -> None:
    file = io.BytesIO()
    source.image.save(file, "png")
    latents = [
        tiny.invert(one, "a house", "replay", 2).path.x for one in (file.getvalue(), source.image)
    ]
    assert (latents[0] == latents[1]).all()
    with pytest.raises(mdp_lite.BadInput, match=r"got BytesIO: give what its read\(\) returns"):
        tiny.invert(file, "a house")  # type: ignore[arg-type]
    with pytest.raises(mdp_lite.BadInput, match="picture must be a PNG, JPEG or WebP file by its"):
        tiny.invert(b"no picture", "a house")


MISTAKES: dict[str, str] = {
    "Editor('tiny')": "BadInput: models must be loaded ones, got str: want "
    "Editor.from_pretrained('tiny')",
    "editor.edit('house.png', 'a blue house')": "BadInput: source must be a Source, from "
    "editor.generate or editor.invert(picture), got str",
    "editor.edit(source.image, 'a tent')": "editor.invert(picture), got Image",
    "editor.edit(edit, 'a tent')": "editor.invert(picture), got Edit",
    "editor.save_source(edit, 'x.safetensors')": "editor.invert(picture), got Edit",
    "editor.edits(Request(source, 'a tent'))": "BadInput: requests must be a list of them, got one "
    "Request",
    "editor.edits(source)": "BadInput: requests must be a list of them, got one Source",
    "editor.edits([source])": "BadInput: requests must be of Request(source, prompt), got <Source",
    "editor.edits(5)": "BadInput: requests must be a list, got 5",
    "edit.save('x.png')": "AttributeError: 'Edit' object has no attribute 'save'; it has image and "
    "picture, which are PIL images",
    "source.show()": "AttributeError: 'Source' object has no attribute 'show'; it has image and",
    "warm_up('tiny')": "BadInput: the model must be an Editor (Editor.from_pretrained), got 'tiny'",
    "once('tiny', 'a', 'b')": "BadInput: the model must be an Editor",
    "make_batcher('tiny')": "BadInput: the model must be an Editor",
    "run_batcher('tiny').__enter__()": "BadInput: the model must be an Editor",
}


@pytest.mark.parametrize("code", MISTAKES)
def test_an_easy_mistake_is_answered_with_what_to_write(
    code: str, tiny: Editor, source: Source
) -> None:
    names = {name: getattr(mdp_lite, name) for name in PUBLIC}
    names |= {"editor": tiny, "source": source, "edit": tiny.edit(source, "a tent")}
    with pytest.raises((mdp_lite.BadInput, AttributeError)) as caught:
        eval(code, names)
    assert MISTAKES[code] in f"{caught.type.__name__}: {caught.value}"


def test_a_source_and_an_edit_are_shown_in_one_line(tiny: Editor, source: Source) -> None:
    assert repr(source) == "<Source 64x64 by generate in 4 steps: 'a red house on the grass'>"
    assert repr(tiny.edit(source, "a tent")) == "<Edit 64x64 by epsilon: 'a tent'>"


def test_results_can_be_copied_and_pickled(tiny: Editor, source: Source) -> None:
    edit = tiny.edit(source, "a tent")
    for again in (copy.deepcopy(edit), pickle.loads(pickle.dumps(edit))):
        assert again.prompt == edit.prompt and (again.latent == edit.latent).all()
    assert copy.copy(source).path is source.path


def test_a_star_import_and_completion_show_the_public_names() -> None:
    names: dict[str, Any] = {"mdp_lite": mdp_lite}
    exec("from mdp_lite import *", names)
    assert set(names) >= set(mdp_lite.__all__)
    complete, found = rlcompleter.Completer({"mdp_lite": mdp_lite}).complete, list[str]()
    while one := complete("mdp_lite.", len(found)):
        found.append(one.partition("(")[0].removeprefix("mdp_lite."))
    assert {one for one in found if not one.startswith("__")} == set(PUBLIC)


def test_help_shows_the_public_classes() -> None:
    text = pydoc.render_doc(mdp_lite, renderer=pydoc.plaintext)
    assert all(f"class {name}" in text or f"    {name}(" in text for name in PUBLIC)
