"""Errors of the library say the options of the command that was typed; in Python they don't."""

import ast
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

import mdp_lite
from mdp_lite.__main__ import main
from mdp_lite.cli.application import COMMANDS
from mdp_lite.cli.fields import list_fields
from mdp_lite.cli.naming import CHOSEN, FIELDS, INVERSION, list_labels, naming
from mdp_lite.editor import Editor
from mdp_lite.names import BadCheckpoint, BadInput

OPTIONS = {name: import_module(f"mdp_lite.cli.commands.{name}").OPTIONS for name in COMMANDS}
EVERY = sorted({one.name for options in OPTIONS.values() for one in list_fields(options)})
S = ["edit", "--source-prompt", "a", "--prompt", "b"]
P = ["edit", "a.png", "--prompt", "b"]
# Command lines that only the library refuses, and how the error begins or what it holds.
LINES: list[tuple[list[str], str]] = [
    (["generate", "a", "--width", "31"], "--width must be a multiple of 4"),
    (["generate", "a", "--height", "30"], "--height must be a multiple of 4"),
    (["generate", "a", "--clip-skip", "5"], "--clip-skip must be from 0 to 1"),
    (["generate", "a", "--model-variant", "../x"], "--model-variant must be part of a file name"),
    (["generate", "a", "--device", "cuda:99"], "--device "),
    (["generate", "a", "--device", "quantum"], "--device must be cpu, cuda or mps, got 'quantum'"),
    (["generate", "a", "--engine", "graph"], "--engine graph needs a CUDA device"),
    (["generate", "a", "--engine", "aot"], "--engine aot needs --packages, the folder that"),
    (["generate", "a", "--cache", "a.png"], "--cache must be a folder, got a file: "),
    (["generate", "a", "--negative-prompt", "\udcff"], "--negative-prompt must be valid Unicode"),
    ([*S, "--t-max", "11"], "--t-max must be at most the 10 steps of the path, got 11.0"),
    ([*S, "--t-m", "10"], "--t-m must be at most --t-max = "),
    ([*S, "--weight", "0.5", "--t-m", "0"], "--weight must have a step to mix, got none by --t-m"),
    ([*S, "--strength", "1.5"], "--strength must be from 0 to 1, got 1.5"),
    ([*S, "--deadline", "0"], "--deadline must be above 0 seconds"),
    ([*P, "--fit", "own", "--width", "32"], "--fit own is the picture's own size: give no --width"),
    ([*P, "--iterations", "3"], "--iterations is not a setting of edit-friendly, got 3"),
    ([*P, "--inner-steps", "3"], "--inner-steps is not a setting of edit-friendly, got 3"),
    ([*P, "--inversion-steps", "3"], "--inversion-steps is not a setting of edit-friendly"),
    ([*P, "--early-stop", "0.1"], "--early-stop is not a setting of edit-friendly"),
    ([*P, "--method", "ddim", "--inversion-seed", "3"], "--inversion-seed is not a setting of"),
    (["invert", "a.png", "--method", "negative-prompt", "--negative-prompt", "c"],
     "negative-prompt takes the source prompt for the negative one, got --negative-prompt 'c'"),
    (["sweep", "a.png", "--prompt", "b", "--t-max", "11"], "--t-max must be at most the 10 steps"),
    (["plan", *S[1:], "--t-max", "9", "--t-m", "9.5"], "--t-m must be at most --t-max = 9.0"),
    (["batch", "a.png", "--prompt", "b", "--t-max", "11"], "--t-max must be at most"),
    (["serve", "--dry-run", "--cache", "a.png"], "--cache must be a folder, got a file: "),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MDP_LITE_CACHE", raising=False)
    Image.new("RGB", (32, 32), "red").save("a.png")
    return tmp_path


@pytest.mark.parametrize("line, sentence", LINES, ids=[" ".join(one[0])[:60] for one in LINES])
def test_an_error_says_the_option(
    line: list[str], sentence: str, folder: Path, checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place = [] if "--device" in line else ["--device", "cpu"]
    assert main([*line, "--model", str(checkpoint), *place]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"mdp-lite: {sentence}")
    plain = [name for name in list_labels(OPTIONS[line[0]]) if "_" in name and name in said]
    assert plain == []
    assert list(folder.iterdir()) == [folder / "a.png"]


def test_python_keeps_its_own_names(editor: Editor) -> None:
    source = editor.generate("a", 0, 4)
    with pytest.raises(BadInput, match="^t_max must be at most the 4 steps") as caught:
        editor.edit(source, "b", t_max=11)
    assert caught.value.names == ("t_max",)
    with pytest.raises(BadInput, match="^num_inference_steps must be a whole number") as caught:
        editor.generate("a", num_inference_steps=0)
    assert caught.value.names == ("num_inference_steps",)


def test_a_row_of_a_table_keeps_the_names_of_its_columns(folder: Path, checkpoint: Path) -> None:
    Path("job.jsonl").write_text(json.dumps({"image": "a.png", "prompt": "b", "t_max": 11}) + "\n")
    line = ["batch", "job.jsonl", "-o", "out", "--model", str(checkpoint), "--device", "cpu"]
    assert main([*line, "--quiet"]) == 1
    (record,) = map(json.loads, Path("out/manifest.jsonl").read_text().splitlines())
    assert record["error"].startswith("t_max must be at most the 10 steps of the path")


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_of_every_command_has_its_label(command: str) -> None:
    labels = list_labels(OPTIONS[command])
    for one in list_fields(OPTIONS[command]):
        error = BadInput(f"{one.name} must be good, got '{one.name}'", one.name)
        assert error.rename(labels) == f"{one.label} must be good, got '{one.name}'"
        with pytest.raises(BadInput, match=re.escape(one.label)), naming(labels):
            raise error
    assert all(own in EVERY for own in FIELDS.values())
    assert {*CHOSEN.values(), *INVERSION.values()} <= {
        one.label for options in OPTIONS.values() for one in list_fields(options)
    }


def test_only_names_that_an_error_declares_are_changed() -> None:
    said = "the picture's t_m of t_max \"t_m\", t_m_2 and 'it\\'s t_m': t_m"
    assert BadInput(said, "t_m").rename({"t_m": "--t-m", "t_max": "--t-max"}) == (
        "the picture's --t-m of t_max \"t_m\", t_m_2 and 'it\\'s t_m': --t-m"
    )
    for error in (BadInput("seed 3"), BadCheckpoint("seed 3", "other")):
        with pytest.raises(type(error), match="^seed 3$"), naming({"seed": "--seed"}):
            raise error


class LibraryError(NamedTuple):
    """Where a BadInput is raised, its fixed text, its first word if computed, what it declares."""

    where: str
    text: str
    first: str | None
    declared: set[str]


FILES = ("source_file.py", "source_header.py")  # their names are those of a file's content


def list_errors() -> Iterator[LibraryError]:
    """Every BadInput of the library's rooms."""
    root = Path(mdp_lite.__file__).parent
    rooms = ("method", "pipeline", "engine", "store", "checkpoint")
    paths = sorted(one for room in rooms for one in (root / room).rglob("*.py"))
    for path in (one for one in paths if one.name not in FILES):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "BadInput":
                yield describe_error(f"{path.name}:{node.lineno}", node.args)


def describe_error(where: str, arguments: list[ast.expr]) -> LibraryError:
    text, *names = arguments
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    fixed = [str(one.value) for one in parts if isinstance(one, ast.Constant)]
    head = parts[0].value if isinstance(parts[0], ast.FormattedValue) else None
    first = head.id if isinstance(head, ast.Name) and head.id == "name" else None
    return LibraryError(where, "".join(fixed), first, {ast.unparse(one) for one in names})


def test_every_error_that_names_an_option_declares_it() -> None:
    """So that no error is left that a command can't call by its options."""
    found = 0
    for one in list_errors():
        if "pairs (t_max, t_m)" in one.text:  # windows, which no command line can get wrong
            continue
        words = {word for word in re.findall(r"\w+", one.text) if "_" in word and word in EVERY}
        wanted = {f"'{word}'" for word in words} | ({one.first} if one.first else set())
        assert wanted <= one.declared, one
        found += len(wanted)
    assert found > 20
