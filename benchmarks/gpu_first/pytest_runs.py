"""Stages that run tests of the project: on the device, and the Triton kernels."""

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_first.findings import Findings, Setting
from benchmarks.record import ROOT
from mdp_lite_kernels import shapes

GPU_TESTS = ("tests/engine/test_engine_gpu.py",)
TRITON_CASES = "tests/support/triton_cases.py"
SOME_CASES = "extremes or passes_nan or every_edge"  # in a rehearsal, where they are interpreted
# Warnings are no errors here: a first run is to end, and its log has them.
PYTEST = ("-m", "pytest", "-q", "--no-header", "-rfE", "-p", "no:cacheprovider", "-o", "addopts=",
          "-W", "default")  # fmt: skip
OLDEST_INTERPRETED = (2, 13)  # torch before it wraps no kernels that are interpreted


def run_gpu_tests(setting: Setting, findings: Findings) -> None:
    """Graphs against eager, 16 bits against float32, and warm_up(only=True); no compiler."""
    run_tests(setting, findings, *GPU_TESTS, "-k", "not compile")


def run_compile_tests(setting: Setting, findings: Findings) -> None:
    """The tests of compiled models."""
    if reason := name_lacking_compiler():
        return findings.skip(reason)
    run_tests(setting, findings, *GPU_TESTS, "-k", "compile")


def run_triton_cases(setting: Setting, findings: Findings) -> None:
    """Every kernel of ours against its reference; in a rehearsal some, in Triton's interpreter."""
    if not shapes.TRITON:
        return findings.skip("Triton is not installed")
    more: tuple[str, ...] = ()
    if setting.small:
        if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_INTERPRETED:
            return findings.skip("this torch wraps no kernels that are interpreted")
        more = ("-k", SOME_CASES)
    elif reason := name_lacking_compiler():
        return findings.skip(reason)
    run_tests(setting, findings, "--noconftest", TRITON_CASES, *more, interpreted=setting.small)


def name_lacking_compiler() -> str | None:
    """Why nothing can be compiled here, or None: Triton builds its launcher by a C compiler."""
    if any(map(shutil.which, ("cc", "gcc", "clang"))):
        return None
    return "Triton needs a C compiler (cc, gcc or clang), there is none on the PATH"


def run_tests(setting: Setting, findings: Findings, *words: str, interpreted: bool = False) -> None:
    """Run pytest in a new process and record its counts; a GPU must run at least one test."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        own = {"TRITON_INTERPRET": "01"[interpreted]}
        command = [sys.executable, *PYTEST, f"--junitxml={report}", *words]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | own)
        counts = read_counts(report) if report.exists() else {}
    findings.add("tests", counts)
    findings.check("pytest ends without a failure", done.returncode == 0, done.returncode)
    if not setting.small:
        findings.check("tests ran", counts.get("passed", 0) > 0, counts.get("passed", 0))


def read_counts(report: Path) -> dict[str, Any]:
    """Counts of a JUnit report, and the first line of what each failure says."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = {one.get("name"): _find_message(one) for one in cases}
    failed = {name: message for name, message in failed.items() if message is not None}
    skipped = sum(one.find("skipped") is not None for one in cases)
    passed = len(cases) - skipped - len(failed)
    return {"passed": passed, "skipped": skipped, "failed": failed}


def _find_message(case: ElementTree.Element) -> str | None:
    """What the failure or error of a test says, or None if it has none."""
    for kind in ("failure", "error"):
        found = case.find(kind)
        if found is not None:
            return (found.get("message") or found.text or kind).split("\n")[0][:300]
    return None
