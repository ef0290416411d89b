"""Without the native attention: the reason is the true one, and names what to do."""

import ctypes
import shutil
from pathlib import Path

import pytest

from mdp_lite_kernels import attention
from support.places import ROOT


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An x86-64 machine with Linux on which no path runs."""
    monkeypatch.setattr(attention, "best_path", lambda: 0)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return monkeypatch


def test_nothing_is_missing_where_it_runs(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(attention, "best_path", lambda: 1)
    assert attention.missing_reason() is None


@pytest.mark.parametrize("name", ["aarch64", "arm64", "riscv64"])
def test_another_processor(machine: pytest.MonkeyPatch, name: str) -> None:
    machine.setattr("platform.machine", lambda: name)
    want = f"it is for x86-64 processors, this one is {name}"
    assert attention.missing_reason() == want


def test_an_old_processor(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setattr(attention, "LIBRARY", tmp_path / "_attention.so")
    (tmp_path / "_attention.so").touch()
    machine.setattr(attention, "library", lambda: ctypes.CDLL(None))
    assert attention.missing_reason() == "this processor has no AVX2"


def test_a_library_that_does_not_load(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "_attention.so").write_bytes(b"not a library")
    machine.setattr(attention, "LIBRARY", tmp_path / "_attention.so")
    machine.setattr(attention, "library", lambda: attention._load()[0])
    reason = attention.missing_reason()
    assert reason and reason.startswith("its library does not load: ") and str(tmp_path) in reason


def test_built_without_a_compiler(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installed package needs its source again, and pip would reuse what it built."""
    machine.setattr(attention, "LIBRARY", tmp_path / "_attention.so")
    machine.setattr(attention, "C_SOURCE", tmp_path / "attention.c")
    assert attention.missing_reason() == (
        "it was installed without a C compiler; install gcc, then run `pip install"
        " --force-reinstall --no-deps --no-cache-dir --no-binary mdp-lite mdp-lite`"
    )


def test_a_source_tree_without_a_compiler(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is installed from its own folder."""
    package = tmp_path / "kernels" / "mdp_lite_kernels"
    package.mkdir(parents=True)
    shutil.copy(ROOT / "kernels" / "mdp_lite_kernels" / "attention.c", package)
    machine.setattr(attention, "LIBRARY", package / "_attention.so")
    machine.setattr(attention, "C_SOURCE", package / "attention.c")
    reason = attention.missing_reason()
    assert reason and reason.endswith(f"then run `pip install --no-deps -e {tmp_path}`")
