"""The committed table of settings carried over to the second model, and the page about it."""

import json

import pytest

from benchmarks.carry_over_tables import Carried, format_mean, format_page
from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.editor import Editor
from mdp_lite.eval.edit_batches import CASES
from mdp_lite.eval.edits import KINDS
from mdp_lite.eval.methods import build_methods
from support.places import ROOT

RESULTS = ROOT / "benchmarks" / "results"
DATA = Carried(**json.loads((RESULTS / "carry_over.json").read_text("utf-8")))
PAGE = (ROOT / "docs" / "carry_over.md").read_text("utf-8")


def read_rows(heading: str) -> list[list[str]]:
    """The cells of all table lines below a heading, up to the next one."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip(" *`") for cell in line.strip("|").split("|")] for line in lines]


def test_the_markdown_is_made_of_the_file() -> None:
    text = (RESULTS / "carry_over.md").read_text("utf-8")
    assert text == "\n".join(format_page(DATA)) + "\n"


def test_all_methods_and_kinds_are_there_on_64_edits_or_more() -> None:
    assert set(DATA.cases) == set(CASES)
    assert all(one["edits"] >= 64 and one["split"] == "report" for one in DATA.settings)
    for case, table in DATA.cases.items():
        assert set(build_methods(case, DATA.settings[0]["steps"])) <= set(table["methods"])
        assert set(table["leads"]) == {"all", *KINDS} and len(KINDS) == 10
        assert table["retuned"]


def test_both_models_are_the_bundled_ones() -> None:
    assert [one["model"] for one in DATA.settings] == ["tiny", "small"]
    for one in DATA.settings:
        editor = Editor.from_pretrained(one["model"], device="cpu")
        assert one["sha256"] == model_hash(editor.models.origin)


@pytest.mark.parametrize("case", CASES)
def test_the_pages_shares_are_those_of_the_file(case: str) -> None:
    methods = DATA.cases[case]["methods"]
    rows = {row[0]: row[1:] for row in read_rows("At the settings of tiny, unchanged")}
    column = 2 * list(CASES).index(case)
    for name, pair in methods.items():
        assert rows[name][column : column + 2] == [format_mean(one["both"]) for one in pair]


@pytest.mark.parametrize("case", CASES)
def test_the_pages_gains_of_retuning_are_those_of_the_file(case: str) -> None:
    rows = {row[0]: row[1:] for row in read_rows("Chosen anew")}
    column = list(CASES).index(case)
    for name, one in DATA.cases[case]["retuned"].items():
        assert rows[name][1 + column] == format_mean(one["gain"], sign=True)


@pytest.mark.parametrize("case", CASES)
def test_the_page_says_how_alike_both_orders_are(case: str) -> None:
    assert f"{DATA.cases[case]['order']:.2f}" in PAGE
