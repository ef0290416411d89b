"""The command line as such: its choices, bounds, help, what it imports."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

from mdp_lite.__main__ import main
from mdp_lite.cli import choices
from mdp_lite.cli.application import COMMANDS, build_named, read_command_line
from mdp_lite.cli.commands import compile as compile_command
from mdp_lite.cli.commands import edit, sweep
from mdp_lite.cli.fields import OptionField, list_fields
from mdp_lite.cli.model_options import MAX_SIDE
from mdp_lite.cli.values import PICTURE_SUFFIXES, read_field
from mdp_lite.editor import Editor
from mdp_lite.method.schedule import CURVES, DEFAULT_WINDOWS
from mdp_lite.names import (
    DEFAULT_MODEL,
    DTYPES,
    ENGINES,
    FITS,
    PREDICTION_TYPES,
    SCHEDULES,
    VARIANTS,
    BadInput,
)
from mdp_lite.pictures.output import OUTPUT_SUFFIXES
from mdp_lite.pipeline import check
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, DEFAULTS, METHODS
from support.commands import HEAVY, run_python
from support.places import ENVIRONMENT

ENV = ENVIRONMENT | {"COLUMNS": "100"}


def options_of(name: str) -> Any:
    return import_module(f"mdp_lite.cli.commands.{name}").OPTIONS


def test_choices_are_those_of_the_library() -> None:
    assert set(VARIANTS) == set(DEFAULT_WINDOWS) and get_args(choices.Variant) == VARIANTS
    assert get_args(choices.VariantOrAll) == (*VARIANTS, "all")
    assert get_args(choices.Schedule) == SCHEDULES == tuple(CURVES)
    assert get_args(choices.Dtype) == DTYPES and get_args(choices.Fit) == FITS
    assert get_args(choices.EngineMode) == ENGINES
    assert get_args(choices.ClusterMode) == (*ENGINES, "ray")
    assert get_args(choices.PredictionType) == PREDICTION_TYPES
    assert get_args(choices.Method) == tuple(METHODS)
    assert PICTURE_SUFFIXES == OUTPUT_SUFFIXES and MAX_SIDE == check.MAX_SIDE


def test_benches_are_those_of_eval() -> None:
    from mdp_lite.eval.bench_command import BENCHES
    from mdp_lite.eval.edits import SPLITS

    assert set(get_args(choices.Bench)) == set(BENCHES)
    assert set(get_args(choices.Split)) == set(SPLITS)


# --- help --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_every_option_and_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: mdp-lite {name}") and err == ""
    words = set(re.split(r"[\s,|]+", out))
    for one in list_fields(options_of(name)):
        assert set(one.flags) <= words and one.info.help
    example = out.rstrip().splitlines()[-1].strip()
    assert example == options_of(name).example and example.startswith(f"mdp-lite {name}")


def test_the_first_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: mdp-lite [OPTIONS] COMMAND") and "OpenAI Images API" in out
    assert all(f"\n  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_is_a_good_command_line(name: str) -> None:
    import shlex

    words = shlex.split(options_of(name).example)
    assert isinstance(read_command_line(words[1:]), options_of(name))


def test_figures_for_the_bundled_model_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    editor = Editor.from_pretrained()
    defaults, (width, height) = editor.models.defaults, editor.runner.size
    main(["edit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"the model's, {defaults.num_inference_steps} for {DEFAULT_MODEL}" in text
    assert f"the model's, {defaults.guidance_scale:g} for {DEFAULT_MODEL}" in text
    assert text.count(f"the model's, {width} for {DEFAULT_MODEL}") == 2 and width == height
    assert f"[default: {DEFAULT_METHOD}]" in text
    for name, value in (("iterations", 5), ("inner_steps", 10)):
        assert DEFAULTS[name] == value and f"[default: {value};" in text
    shares = {name: f"{window.t_m:.0%}" for name, window in DEFAULT_WINDOWS.items()}
    assert shares["epsilon"] == shares["x"] and shares["c"] == shares["beta"]
    assert f"{shares['x']} of --steps for epsilon and x, {shares['c']} for c and beta" in text
    t_max = {name: window.t_max for name, window in DEFAULT_WINDOWS.items()}
    assert t_max["x"] == 1 and t_max["epsilon"] == t_max["c"] == t_max["beta"]
    assert f"{t_max['c']:.0%} of --steps for epsilon, c and beta; all for x" in text


# --- what it says of a bad line ----------------------------------------------------------------

BAD = {
    "edit --promt b": "no option --promt: did you mean --prompt?",
    "generate --guidance_scale 3": "no option --guidance_scale: did you mean --guidance-scale?",
    "generate a --seed=3 --stesp=4": "no option --stesp: did you mean --steps?",
    "generate a --xyzzy": "no option --xyzzy: see mdp-lite generate --help",
    "swep": "no command 'swep': did you mean sweep?",
    "convert a b -o c": "no option -o: see mdp-lite convert --help",
    "generate a --deadline 3": "no option --deadline: see mdp-lite generate --help",
    "generate a --PICTUR 3": "no option --PICTUR: see mdp-lite generate --help",
    "generate a -q": "no option -q: see mdp-lite generate --help",
    "generate a -help": "no option -help: did you mean --help?",
    "edit a.png --prompt b --out c.png": "no option --out: did you mean --output?",
    "edit a.png -seed 3": "no option -seed: did you mean --seed?",
    "-help": "no option -help: did you mean --help?",
    "x": "no command 'x': see mdp-lite --help",
    "--versoin": "no option --versoin: did you mean --version?",
    "edit": "edit needs --prompt, and PICTURE or --source-prompt: see mdp-lite edit -h",
    "convert": "convert needs MODEL, and OUT: see mdp-lite convert -h",
    "compile": "compile needs --output",
    "edit a.png --prompt --seed 3": "--prompt needs a value, got the option --seed",
    "edit a.png --prompt": "--prompt needs a value, got none",
    "edit a.png --prompt b --json=1": "--json takes no value",
    "edit a.png b.png --prompt b": "edit takes PICTURE, got 'b.png' too",
    "demo a": "demo takes only options, got 'a' too",
    "generate a --seed 9223372036854775808": "--seed must be from 0 to 2^63 - 1, got 92233",
    "generate a --steps 1001": "--steps must be from 1 to 1000, got 1001",
    "generate a --guidance-scale inf": "--guidance-scale must be from 1 to 100, got inf",
    "generate a --file-quality 0": "--file-quality must be from 1 to 100, got 0",
    "generate a --file-quality 90": "is for a .jpg or .webp, as a PNG loses nothing, got 90",
    "generate a -o x.PNG --file-quality 90": "as a PNG loses nothing, got 90 and x.PNG",
    "generate a -o - --file-quality 90": "is for a .jpg or .webp, as a PNG loses nothing",
    "invert a.png -o b.png --file-quality 90": "is for a .jpg or .webp, as a PNG loses",
    "edit a.png --prompt b --sheet s.png --file-quality 9": "got 9 and edited.png, s.png",
    "edit a.png --prompt b --feather -1": "--feather must be from 0 to 4096, got -1",
    "edit a.png --prompt b --feather 2": "--feather needs a mask: give --mask, --box or",
    "edit a.png --prompt b --proximal 1": "--proximal must be a quantile from 0 to below 1, got 1",
    "edit a.png --prompt b --deadline 0": "--deadline must be above 0 seconds, got 0",
    "edit a.png --prompt b --variant epsilo": "got 'epsilo': did you mean epsilon?",
    "edit a.png --prompt b -o - --variant all": "-o - takes one picture, got --variant all",
    "edit a.png --prompt b --mask m.png --box 0,0,1,1": "--mask and --box say the same thing",
    "sweep a.png --prompt b --variants c,eps": "must be one of epsilon, c, x, beta, got 'eps'",
    "serve --port 99999": "--port must be from 0 to 65535, got 99999",
    "app --port -1": "--port must be from 0 to 65535, got -1",
    "serve --replicas 0": "--replicas must be 1 or more, got 0",
    "batch photos --worker-cpus 0": "--worker-cpus must be 1 or more, got 0",
    "bench speed --rounds 0": "--rounds must be 1 or more, got 0",
    "bench sped": "WHAT must be one of inversion, edits, pie, speed, got 'sped': did you mean",
    "compile -o x --rows 1,0": "--rows must be 1 or more, got 0",
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_refused_before_anything_is_imported(line: str) -> None:
    with pytest.raises(BadInput, match=re.escape(BAD[line])):
        read_command_line(line.split())


def list_options() -> Iterator[tuple[str, OptionField]]:
    for name in COMMANDS:
        yield from ((name, one) for one in list_fields(options_of(name)))


def is_prompt(one: OptionField) -> bool:
    return "prompt" in one.name and one.kind is str


TEXTS = [(name, one) for name, one in list_options() if one.kind is not bool and not one.choices]


@pytest.mark.parametrize(("name", "one"), TEXTS, ids=[f"{name} {one.label}" for name, one in TEXTS])
def test_only_prompts_may_be_empty(name: str, one: OptionField) -> None:
    """Path("") is the current folder: batch "$UNSET" would take every picture below it."""
    if is_prompt(one):
        assert read_field(one, "", one.label) in ("", ("",))
    else:
        with pytest.raises(BadInput, match=re.escape(f"{one.label} must not be empty, got ''")):
            read_field(one, "", one.label)


@pytest.mark.parametrize(
    "line", [["batch", ""], ["edit", "", "--prompt", "b"], ["batch", "a", "-o", ""]]
)
def test_an_empty_word_is_refused(line: list[str], says_one_line: Callable[[str], None]) -> None:
    assert main(line) == 2
    says_one_line("must not be empty, got ''")


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDP_LITE_CACHE", "sources")
    args = read_command_line(["edit", "a.png", "--prompt", "b"])
    assert isinstance(args, edit.EditCommandOptions) and args.model.cache == "sources"
    args = read_command_line(["edit", "a.png", "--prompt", "b", "--cache", "other"])
    assert isinstance(args, edit.EditCommandOptions) and args.model.cache == "other"


def test_lists_have_commas_and_repetitions() -> None:
    args = read_command_line("sweep a.png --prompt b,c --prompt d --t-max 9,10 --t-max 9".split())
    assert isinstance(args, sweep.SweepOptions)
    assert args.prompt == ("b,c", "d") and args.grid.t_max == (9.0, 10.0)
    args = read_command_line("compile -o x --rows 1,2 --rows 4".split())
    assert isinstance(args, compile_command.CompileOptions) and args.rows == (1, 2, 4)


LIGHT = {
    "--help": 0, "edit --help": 0, "serve -h": 0, "--version": 0, "edit --promt b": 2, "pln": 2,
    "": 2, "generate a --seed x": 2, "app --port 99999": 2, "convert a": 2,
}  # fmt: skip


@pytest.mark.parametrize("line", LIGHT)
def test_help_and_bad_lines_import_nothing_heavy(line: str) -> None:
    run_python(
        "import sys\nfrom mdp_lite.__main__ import main\n"
        f"assert main({line.split()!r}) == {LIGHT[line]}\n"
        f"assert not {HEAVY!r} & set(sys.modules), {HEAVY!r} & set(sys.modules)\n"
    )


def test_reading_a_good_line_does_not_import_pydantic() -> None:
    run_python(
        "import sys\nfrom mdp_lite.cli.application import read_command_line\n"
        "assert read_command_line(['edit', 'a.png', '--prompt', 'b', '--seed', '3'])\n"
        f"assert not {HEAVY | {'pydantic'}!r} & set(sys.modules)\n"
    )


def test_no_two_options_of_a_command_have_one_name() -> None:
    for name in COMMANDS:
        fields = list(list_fields(options_of(name)))
        names, flags = [one.name for one in fields], [f for one in fields for f in one.flags]
        assert len(names) == len(set(names)) and len(flags) == len(set(flags))
        assert build_named(name) is not None


def test_a_reader_who_leaves_early_is_no_error(checkpoint: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "mdp_lite", "info", str(checkpoint)],
        env=ENV,
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=120,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
