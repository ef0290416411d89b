"""Packages on disk: what a folder holds, what is stale or damaged, and what replaces what."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.engine import packages
from mdp_lite.engine.packages import BuildTarget, Package, Shape

TARGET = BuildTarget("0", "2", "cpu x", "float32", "a" * 64, "torch", "within")
SHAPE = Shape(1, 2, 3, 4)


def put(
    folder: Path, target: BuildTarget = TARGET, shape: Shape = SHAPE, text: str = "code"
) -> Package:
    """A package whose code is a word."""
    code_folder = packages.create_folder(folder, target, shape)
    (code_folder / "code.so").write_text(text, "utf-8")
    return packages.save_package(code_folder, target, shape)


def change_note(package: Package, change: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads(package.path.read_text("utf-8"))
    change(data)
    package.path.write_text(json.dumps(data), "utf-8")


def test_what_matches_is_found_by_its_shape(tmp_path: Path) -> None:
    one, two = put(tmp_path), put(tmp_path, shape=Shape(2, 2, 3, 4))
    put(tmp_path, replace(TARGET, dtype="bfloat16"))
    got = packages.match_packages(packages.read_packages(tmp_path), TARGET)
    assert got == {one.shape: one, two.shape: two}
    assert packages.verify(one) is None


@pytest.mark.parametrize("name", BuildTarget.__dataclass_fields__)
def test_a_stale_package_is_refused(tmp_path: Path, name: str) -> None:
    package, old = put(tmp_path), 7 if name == "format" else "of old"
    change_note(package, lambda data: data["target"].update({name: old}))
    with pytest.raises(ValueError) as caught:
        packages.match_packages(packages.read_packages(tmp_path), TARGET)
    assert str(caught.value) == (
        f"package {package.path.name} was made for {name} {old}, want {getattr(TARGET, name)}: "
        "make one here with mdp-lite compile"
    )


HARMS: list[Callable[[dict[str, Any]], Any]] = [
    lambda data: data.pop("shape"),
    lambda data: data["target"].pop("torch"),
    lambda data: data["target"].update(torch=1),
    lambda data: data["target"].update(more="x"),
    lambda data: data["shape"].update(rows=0),
    lambda data: data["shape"].update(rows="2"),
    lambda data: data.update(folder=".."),
    lambda data: data.update(folder="a/b"),
    lambda data: data.update(folder=3),
    lambda data: data["files"].update({"../x.so": [1, "0"]}),
    lambda data: data["files"].update({"/x.so": [1, "0"]}),
    lambda data: data.update(files=[]),
]


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_note_is_refused(tmp_path: Path, harm: Callable[[dict[str, Any]], Any]) -> None:
    change_note(put(tmp_path), harm)
    with pytest.raises(ValueError, match="is damaged: make one here with mdp-lite compile"):
        packages.read_packages(tmp_path)


def test_a_folder_without_packages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no packages in '.*none': make one here"):
        packages.read_packages(tmp_path / "none")


def test_a_newer_package_takes_the_place_of_its_elder(tmp_path: Path) -> None:
    old, new = (put(tmp_path, replace(TARGET, torch=text), text=text) for text in ("old", "new"))
    assert packages.read_packages(tmp_path) == [new] and old.path == new.path
    assert [path.read_text("utf-8") for path in tmp_path.rglob("*.so")] == ["new"]
