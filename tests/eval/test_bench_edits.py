"""bench edits: its figures and file, resuming a run, its tables, and bad input."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.editor import Editor
from mdp_lite.eval import edits_command
from mdp_lite.eval.edit_batches import CASES, BatchSettings, make_batches
from mdp_lite.eval.edit_tables import (
    find_lead,
    format_main_table,
    format_pairs,
    format_tables,
    summarize,
)
from mdp_lite.eval.edits import KINDS, iterate_edits
from mdp_lite.eval.methods import build_candidates, build_methods, default_cell, local_cell
from mdp_lite.eval.reader import load_reader
from mdp_lite.eval.rivals.tables import TRIED
from mdp_lite.method.schedule import Weights
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.request import build_weights

Says = Callable[[str], None]
FEW = ["bench", "edits", "--pictures", "1", "--steps", "3", "--quiet"]
OURS = ("mdp-c", "mdp-epsilon", "mdp-x", "mdp-beta", "mdp-epsilon-paper", "mdp-local")
RIVALS = (
    "p2p-replace", "p2p-refine", "p2p-reweight", "p2p-blend", "sdedit", "edit-friendly",
    "masactrl", "pnp-features", "infedit", "flowedit", "turboedit", "uniedit", "h-edit", "ledits++",
)  # fmt: skip


@pytest.fixture(scope="module", params=["color", pytest.param("add", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, kind: str) -> tuple[Path, dict]:
    """Every method on an edit, in three steps."""
    file = tmp_path_factory.mktemp("edits") / "edits.json"
    assert main([*FEW, "--kinds", kind, "-o", str(file)]) == 0
    return file, json.loads(file.read_text())


def test_all_methods_run_in_both_cases(measured: tuple[Path, dict], kind: str) -> None:
    _, data = measured
    assert set(data["figures"]) == {f"{c} {kind}" for c in CASES}
    for name, section in data["figures"].items():
        more = ("truth", "pnp-inversion-p2p") if "real" in name else ("mdp-x-inverted",)
        assert set(section) == {"no edit", "vae", "regenerate", *OURS, *RIVALS, *more}
        for method, figures in section.items():
            assert all(len(values) == 1 for values in figures.values()), method
            assert figures["both"] == [
                r * k for r, k in zip(figures["right"], figures["kept"], strict=True)
            ]
            free = method in ("no edit", "vae", "truth")
            assert (figures["rows"] == [0.0]) == free
        assert section["no edit"]["right"] == section["no edit"]["both"] == [0]
    assert data["figures"][f"real {kind}"]["truth"]["both"] == [1]


def test_rows_are_what_the_methods_cost(measured: tuple[Path, dict], kind: str) -> None:
    section = measured[1]["figures"][f"real {kind}"]
    rows = {name: figures["rows"][0] for name, figures in section.items()}
    assert rows["regenerate"] == 6 and rows["masactrl"] == 12  # of 3 steps
    assert {rows[name] for name in RIVALS[:4]} == {9} and rows["pnp-features"] == 9
    assert rows["mdp-epsilon"] <= 6
    assert rows["infedit"] == 4 and rows["turboedit"] == 6  # from step 1 on, two and three a step
    assert rows["ledits++"] == 4 and rows["h-edit"] == 6  # from step 1 on too
    assert section["mdp-epsilon"]["source rows"] == [6]  # edit-friendly: both rows a step
    assert section["sdedit"]["source rows"] == [3]  # DDIM inversion
    assert section["p2p-refine"]["source rows"][0] > 6  # null-text


def test_a_file_is_resumed_and_reports_the_same(
    measured: tuple[Path, dict], kind: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file, _ = measured
    capsys.readouterr()

    def never(*args: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(edits_command, "measure_kind", never)
    texts = []
    for _ in range(2):
        assert main([*FEW[:-1], "--kinds", kind, "-o", str(file)]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "| mdp-epsilon" in texts[0] and "right and kept" in texts[0]


@pytest.mark.slow
def test_two_runs_have_equal_figures(
    tmp_path: Path, measured: tuple[Path, dict], kind: str
) -> None:
    file = tmp_path / "again.json"
    names = "mdp-epsilon,p2p-refine,sdedit"
    assert main([*FEW, "--kinds", kind, "--methods", names, "-o", str(file)]) == 0
    again = json.loads(file.read_text())["figures"][f"real {kind}"]
    for method, figures in again.items():
        for name, values in figures.items():
            if name != "seconds":
                assert values == measured[1]["figures"][f"real {kind}"][method][name], (
                    method,
                    name,
                )


@pytest.mark.slow
def test_a_sheet_shows_every_method(tmp_path: Path) -> None:
    page = tmp_path / "sheet.png"
    words = ["--kinds", "color", "--methods", "mdp-epsilon,sdedit", "--sheet", str(page)]
    assert main([*FEW, *words]) == 0
    with Image.open(page) as image:
        assert image.width > 3 * 192 and image.height > 2 * 192


@pytest.mark.parametrize("name, edits", [("tiny", 640), ("small", 768)])
def test_dry_run_measures_nothing(
    name: str, edits: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "edits", "--model", name, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert all(f"{case}: {edits} edits by 22 methods" in out for case in CASES)


@pytest.mark.parametrize("words, g", [([], 4.0), (["--guidance-scale", "2"], 2.0)])
def test_the_guidance_is_a_setting(
    words: list[str], g: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "edits", "--dry-run", "--json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["guidance"] == g
    editor = Editor.from_pretrained("tiny", device="cpu")
    settings = BatchSettings(editor, editor.runner.grid(3), frozenset(), 1.0, g)
    (batch,) = make_batches(settings, load_reader(), "real", iterate_edits("color", "tune"), 1)
    assert batch.guidance.g == settings.g == g


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--kinds", "colour"], "kinds must be of object, color"),
        (["--methods", "ours"], "methods must be of mdp-c"),
        (["--pictures", "0"], "pictures must be 1 or more, got 0"),
        (["--rounds", "3"], "takes no rounds"),
    ],
)
def test_bad_input_is_refused(words: list[str], sentence: str, says_one_line: Says) -> None:
    assert main(["bench", "edits", *words]) == 2
    says_one_line(sentence)


def test_an_inpainting_model_is_refused(checkpoint_inpaint: Path, says_one_line: Says) -> None:
    """The compared methods have no place for the mask and the picture that its UNet reads."""
    assert main(["bench", "edits", "--model", str(checkpoint_inpaint)]) == 2
    says_one_line("bench compares methods that repaint whole pictures, got random-inpaint, an in")


def test_other_benchmarks_take_none_of_its_options(says_one_line: Says) -> None:
    assert main(["bench", "speed", "--short"]) == 2
    says_one_line("bench speed takes no kinds, split, short, guidance scale or sheet")


# --- tables ------------------------------------------------------------------------------------


def figures(both: list[float]) -> dict[str, list[float]]:
    return {"both": both, "right": both, "rows": [1.0] * len(both), "seconds": [0.5] * len(both)}


SECTION = {
    "no edit": figures([0, 0, 0, 0]),
    "mdp-x": figures([1, 1, 1, 0]),
    "mdp-c": figures([1, 0, 0, 0]),
    "sdedit": figures([0, 1, 0, 0]),
}


def test_our_best_is_compared_with_the_best_rival() -> None:
    found = find_lead(SECTION, SECTION)
    assert (found["ours"], found["rival"]) == ("mdp-x", "sdedit")
    assert found["apart"]["mean"] == 0.5  # 1, 0, 1, 0
    assert find_lead({"sdedit": SECTION["sdedit"]}, SECTION) == {}


def test_our_best_is_compared_with_every_other_method() -> None:
    other = {**SECTION, "sdedit": figures([1, 1, 1, 1])}
    data = summarize({"real color": SECTION, "real time": other})["cases"]["real"]["pairs"]
    assert data["ours"] == "mdp-x" and set(data) == {"ours", "mdp-c", "sdedit"}
    assert set(data["sdedit"]) == {"all", "color", "time"}
    whole, color = data["mdp-c"]["all"], data["mdp-c"]["color"]
    assert whole["mean"] == color["mean"] == 0.5  # 0, 1, 1, 0
    assert color["low"] <= whole["low"] < 0.5 < whole["high"] <= color["high"]
    assert data["sdedit"]["time"]["mean"] == -0.25 and data["sdedit"]["color"]["mean"] == 0.5
    lines = format_pairs(data)
    assert "mdp-x minus" in lines[2] and "+0.50 [" in lines[4]
    assert summarize({"real color": {"sdedit": SECTION["sdedit"]}})["cases"]["real"]["pairs"] == {}
    assert format_pairs({}) == []


def test_kinds_are_summarized_each_and_together() -> None:
    data = summarize({"real color": SECTION, "real time": SECTION})["cases"]
    assert set(data) == {"real"} and set(data["real"]) == {"all", "color", "time", "ahead", "pairs"}
    assert data["real"]["all"]["mdp-x"]["both"]["mean"] == 0.75
    heads = [cell.strip() for cell in format_main_table(data["real"]["all"])[0].split("|")[1:-1]]
    assert heads == ["method", "right", "right and kept", "UNet rows"]
    settings = {"model": "tiny", "steps": 3, "guidance": 4.0, "dtype": "float32", "device": "cpu",
                "edits": 4, "split": "report", "first_seed": 7}  # fmt: skip
    text = "\n".join(format_tables({**settings, "cases": data}))
    assert "- all: mdp-x - sdedit = +0.50" in text and "real, right and kept by kind" in text


@pytest.mark.parametrize("n", [1, 4, 12, 50])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_default_cell_is_that_of_an_editor(variant: str, n: int) -> None:
    check_tables(default_cell(variant, n).build_weights(n), build_weights(n, Defaults(), variant))


@pytest.mark.parametrize("n", [1, 4, 12, 50])
def test_the_local_cell_is_that_of_an_editor(n: int) -> None:
    theirs = build_weights(n, Defaults(), schedule="local-leash")
    check_tables(local_cell(n).build_weights(n), theirs)
    assert theirs.local is not None and theirs.local.any()


def check_tables(ours: Weights, theirs: Weights) -> None:
    """Both have the same columns, bit for bit."""
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None) and (a is None or torch.equal(a, b))


def test_every_method_has_candidates() -> None:
    for case in CASES:
        tried, used = build_candidates(case, 50), build_methods(case, 50)
        assert len(set(tried)) == len(tried) > len(used)
        families = {"mdp", "sdedit", "edit", "masactrl", "pnp", "h"}
        families |= {name for name in TRIED if name != "h-edit"}
        families |= {"p2p"} if case == "synthetic" else set()  # null-text is left to the report
        assert {name.split("-")[0].split(" ")[0] for name in tried} == families
    assert set(KINDS) >= {"object", "color", "position", "time", "ground", "add", "remove", "two",
                          "style"}  # fmt: skip
