"""All code in the README and in docs/ runs, with the bundled model, in a folder with pictures."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from support.pages import find_blocks, run_page
from support.places import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = [page for page in PAGES if re.search(r"^```(python|sh)$", page.read_text("utf-8"), re.M)]
NOTE = re.compile(r"not run: \w.*|run in \d+ steps|")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the files that the pages name."""
    monkeypatch.chdir(tmp_path)
    for name in ("house", "boat"):
        shutil.copy(ROOT / "mdp_lite" / "app" / "examples" / f"{name}.png", tmp_path)
    house = Image.open("house.png").convert("RGB")
    house.resize((100, 70)).save("photo.jpg")
    (tmp_path / "photos").mkdir()
    house.save(tmp_path / "photos" / "house.png")
    Path("rows.csv").write_text("image,source_prompt,prompt\nhouse.png,a house,a red tent\n")
    return tmp_path


@pytest.mark.parametrize("steps", [10, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("page", CODE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(
    page: Path, steps: int | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MDP_LITE_CACHE", raising=False)
    blocks = find_blocks(page.read_text("utf-8"))
    skipped = sum(one.note.startswith("not run: ") for one in blocks)
    runs = sum(one.language != "math" for one in blocks) - skipped
    assert run_page(page, monkeypatch, steps) == runs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_are_of_a_kind_that_is_run(page: Path) -> None:
    text = page.read_text("utf-8")
    blocks = find_blocks(text)
    assert text.count("```") == 2 * len(blocks)
    assert {one.language for one in blocks} <= {"python", "sh", "math"}
    assert [one.note for one in blocks if not NOTE.fullmatch(one.note)] == []
    assert not re.search(r"^    mdp-lite ", text, re.M)  # not fenced, so not run
