"""The site: its pages belong together, the API page is complete, and it builds without a fault."""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import mdp_lite
from support.places import ROOT

API = (ROOT / "docs" / "api.md").read_text("utf-8")
OBJECTS = re.findall(r"^::: (mdp_lite[\w.]*)\.(\w+)$", API, re.MULTILINE)


def load(name: str) -> ModuleType:
    """A module of docs/, which is no package."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def site() -> Iterator[ModuleType]:
    yield load("make_site")


def test_links_lead_to_files_and_to_every_page(site: ModuleType) -> None:
    files = site.find_files(ROOT / "README.md")
    assert {path for path in (ROOT / "docs").glob("*.md")} <= set(files)


def test_a_dead_link_is_an_error(
    site: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "ROOT", tmp_path.resolve())
    page = tmp_path.resolve() / "page.md"
    page.write_text("[a](other.md) `[b](code.md)`")
    with pytest.raises(ValueError, match="page.md links to other.md, which is no file"):
        site.find_files(page)


def test_the_navigation_names_pages_that_are_there() -> None:
    pages = re.findall(r"- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert [page for page in pages if not (ROOT / page).is_file()] == []
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= set(pages)


@pytest.mark.parametrize("name", [name for name in mdp_lite.__all__ if name != "__version__"])
def test_every_public_name_is_in_the_reference(name: str) -> None:
    modules = [module for module, last in OBJECTS if last == name]
    assert len(modules) == 1
    assert getattr(importlib.import_module(modules[0]), name) is getattr(mdp_lite, name)


def test_the_reference_names_public_names_only() -> None:
    assert [name for _, name in OBJECTS if name not in mdp_lite.__all__] == []


def test_the_map_has_every_file_with_its_first_sentence() -> None:
    make_map = load("make_map")
    page = make_map.PAGE.read_text("utf-8")
    assert make_map.render(page) == page, "run python docs/make_map.py"
    rooms = {f"{path.parent.relative_to(ROOT)}" for path in (ROOT / "mdp_lite").rglob("*.py")}
    assert rooms <= set(make_map.ROOM.findall(page))


def test_what_is_wrong_in_a_site_is_found(site: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("@font-face { src: url(https://fonts.example/a.woff2) }")
    (tmp_path / "index.html").write_text(
        '<script src="https://cdn.example/a.js"></script><link rel="canonical" href="https://a.b">'
        '<link rel="stylesheet" href="style.css"><a href="https://c.example">elsewhere</a>'
        '<h1 id="top">x</h1><a href="#top">up</a><a href="#no">?</a><img src="gone.png">'
    )
    assert site.check_site(tmp_path) == [
        "index.html loads https://cdn.example/a.js",
        "index.html links to #no, which is not there",
        "index.html links to gone.png, which is not there",
        "style.css loads https://fonts.example/a.woff2",
    ]


def test_the_site_is_built_without_a_fault(tmp_path: Path) -> None:
    """Links, anchors, and no request to another host: make_site.py fails otherwise."""
    pytest.importorskip("zensical", reason="needs the extra [docs]")
    command = [sys.executable, "docs/make_site.py", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    method = (tmp_path / "site" / "docs" / "method.html").read_text("utf-8")
    assert method.count("<math ") >= 18 and "```" not in method and "$x_" not in method
    api = (tmp_path / "site" / "docs" / "api.html").read_text("utf-8")
    assert [name for _, name in OBJECTS if f'.{name}"' not in api] == []
