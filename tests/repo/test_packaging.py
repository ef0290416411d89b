"""What is published: the sdist is complete, one wheel is for every Python, both work elsewhere."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mdp_lite.eval.worlds import POSTCARDS, VILLAGE
from mdp_lite.names import DEFAULT_MODEL
from mdp_lite_weights.files import BUNDLED
from support.places import ROOT

KERNELS = ("mdp_lite_kernels/_attention.so", "mdp_lite_kernels/_group_norm.so")
NOT_SHIPPED = (".ci/",)
OUTPUTS = [
    line.strip("/")
    for line in (ROOT / ".gitignore").read_text().splitlines()
    if line[:1] not in "#"
]


def run(*command: str | Path, folder: Path, **env: str) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=folder, env=os.environ | env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, tree: Path, **env: str) -> Path:
    """The sdist or the wheel of a source tree, by setuptools alone: nothing is downloaded."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}('.'))"
    return tree / run(sys.executable, "-c", code, folder=tree, **env).splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy without outputs: a stale mdp_lite.egg-info would hide a missing file."""
    copy = tmp_path_factory.mktemp("repository") / "tree"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", *OUTPUTS))
    return build("sdist", copy)


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def wheel(unpacked: Path) -> Path:
    return build("wheel", unpacked)


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def metadata(wheel: Path, names: list[str]) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in names if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def test_the_sdist_holds_what_git_tracks(unpacked: Path) -> None:
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    files = run("git", "ls-files", "-z", folder=ROOT).split("\0")[:-1]
    wanted = [name for name in files if not name.startswith(NOT_SHIPPED) and (ROOT / name).exists()]
    assert len(wanted) > 500
    assert [name for name in wanted if not (unpacked / name).is_file()] == []


def test_the_sdist_holds_no_outputs(unpacked: Path) -> None:
    outputs = {"*.so", "*.pyc", "build", "dist", ".venv"}
    assert [path for pattern in outputs for path in unpacked.rglob(pattern)] == []


def test_the_wheel_holds_the_packages_and_nothing_else(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"mdp_lite", "mdp_lite_weights", "mdp_lite_kernels"}
    assert "mdp_lite/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert [name for name in names if name.endswith((".c", ".h", ".pyc"))] == []


def test_the_wheel_holds_the_bundled_checkpoints_and_their_readers(names: list[str]) -> None:
    root, bundled = ROOT / "weights", BUNDLED.values()
    files = [p for folder in bundled for p in folder.rglob("*") if p.is_file()]
    assert {p.relative_to(root).as_posix() for p in files} <= set(names)
    assert {f"mdp_lite_weights/{name}/model_index.json" for name in ("tiny", "small")} <= set(names)
    tensors = {name for name in names if name.endswith(".safetensors")}
    weights = [world.reader.weights for world in (POSTCARDS, VILLAGE)]
    readers = {path.relative_to(ROOT).as_posix() for path in weights}
    assert readers <= tensors
    assert sum(name.startswith("mdp_lite_weights/") for name in tensors) == 3 * len(bundled)
    assert len(tensors) == 3 * len(bundled) + len(readers)


def test_the_wheel_would_hold_the_second_model() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    patterns = data["package-data"]["mdp_lite_weights"]
    assert all(one.replace("tiny", "small") in patterns for one in patterns)
    village = VILLAGE.reader.weights.relative_to(ROOT / "mdp_lite").as_posix()
    assert village in data["package-data"]["mdp_lite"]


def test_one_wheel_is_for_every_python(wheel: Path, names: list[str]) -> None:
    """It has a platform if it has a kernel, and no newer glibc is needed than its name says."""
    platform = wheel.stem.removeprefix("mdp_lite-0.1.0-py3-none-")
    assert (platform == "any") == (not set(KERNELS) & set(names))
    assert platform == "any" or set(KERNELS) <= set(names)
    if platform.startswith("manylinux"):
        with zipfile.ZipFile(wheel) as archive:
            code = b"".join(archive.read(kernel) for kernel in KERNELS)
            needed = re.findall(rb"\bGLIBC_2\.(\d+)", code)
        newest = re.fullmatch(r"manylinux_2_(\d+)_x86_64", platform)
        assert newest and needed and max(map(int, needed)) <= int(newest[1])


def test_without_a_compiler_the_wheel_is_pure(wheel: Path, unpacked: Path, tmp_path: Path) -> None:
    """Even if an earlier build or an editable install left its library."""
    tree = tmp_path / "tree"
    shutil.copytree(unpacked, tree, ignore=shutil.ignore_patterns("*.whl"))
    left = [*tree.glob("build/lib*/mdp_lite_kernels"), tree / "kernels" / "mdp_lite_kernels"]
    assert len(left) == 2
    for folder in left:
        for kernel in KERNELS:
            (folder / Path(kernel).name).write_bytes(b"GLIBC_2.17")
    wheel = build("wheel", tree, CC=str(tmp_path / "no-compiler"))
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not set(KERNELS) & set(archive.namelist())
        tags = next(name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        assert "Root-Is-Purelib: true" in archive.read(tags).decode()


def test_the_metadata_says_what_runs_it(metadata: Message) -> None:
    classifiers = metadata.get_all("Classifier", [])
    for minor in range(11, 15):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Author"] == "mdp_lite contributors"
    assert metadata["Keywords"] and "Typing :: Typed" in classifiers


def test_no_dependency_has_an_upper_bound(metadata: Message) -> None:
    needed = [one.split(";")[0] for one in metadata.get_all("Requires-Dist", [])]
    assert len(needed) > 30 and [one for one in needed if re.search("[<=~]=|<", one)] == []


def test_every_dependency_is_pinned_to_a_version_that_it_allows(metadata: Message) -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    versions = {canonicalize_name(name): version for name, version in pins.items()}
    needed = [Requirement(one) for one in metadata.get_all("Requires-Dist", [])]
    for one in needed:
        if one.name != "mdp-lite":
            assert one.specifier, f"{one.name} has no lower bound"
            assert one.specifier.contains(versions[canonicalize_name(one.name)]), str(one)


class _Links(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_description_has_no_link_into_the_repository(metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    page = MarkdownIt("commonmark").enable("table").render(str(metadata.get_payload()))
    links = _Links(page).links
    assert links and [link for link in links if not link.startswith("https://")] == []
    assert page.count("<table>") >= 4 and "](" not in page
    assert "quickstart (<code>docs/quickstart.md</code>)" in page


def test_an_installed_wheel_works_elsewhere(wheel: Path, tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "elsewhere"
    folder.mkdir()
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site)
    run(*pip, wheel, folder=folder)
    program, path = site / "bin" / "mdp-lite", {"PYTHONPATH": str(site)}
    code = "import mdp_lite, mdp_lite_kernels.attention as a; print(mdp_lite.__path__, a.LIBRARY)"
    assert run(sys.executable, "-c", code, folder=folder, **path).count(str(site)) == 2
    assert DEFAULT_MODEL in run(program, "info", folder=folder, **path)
    words = ("--source-prompt", "a red house", "--prompt", "a blue house", "--steps", "4")
    run(program, "edit", *words, "-o", "blue.png", folder=folder, **path)
    assert (folder / "blue.png").stat().st_size > 0
