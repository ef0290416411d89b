"""What commands import: info needs neither torch's compiler nor transformers, nor does an edit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.places import ROOT

ROOMS = os.pathsep.join(str(ROOT / room) for room in (".", "kernels", "weights"))
HEAVY = ("torch._dynamo", "torch._inductor", "transformers", "triton", "diffusers", "sympy")
CODE = """
import sys
from mdp_lite.__main__ import main
code = main(sys.argv[1:])
print(*sorted(sys.modules), sep="\\n", file=sys.stderr)
sys.exit(code)
"""


def list_modules(cwd: Path, *line: str) -> set[str]:
    """The modules that a command has imported in the end."""
    environment = os.environ | {"PYTHONPATH": ROOMS}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *line], cwd=cwd, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "line",
    [
        ["info"],
        ["info", "--list"],
        ["edit", "--source-prompt", "a", "--prompt", "b", "--steps", "2", "--quiet"],
        ["plan", "--source-prompt", "a", "--prompt", "b", "--steps", "2"],
        ["doctor", "--dry-run"],
    ],
    ids=lambda line: " ".join(line[:2]),
)
def test_a_command_imports_no_compiler(line: list[str], tmp_path: Path) -> None:
    found = list_modules(tmp_path, *line)
    assert "mdp_lite.cli.run" in found
    assert [name for name in HEAVY if name in found] == []


def test_help_imports_no_torch(tmp_path: Path) -> None:
    code = CODE.replace(
        "code = main(sys.argv[1:])", "code = 0\ntry: main(['--help'])\nexcept SystemExit: pass"
    )
    environment = os.environ | {"PYTHONPATH": ROOMS}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and "torch" not in done.stderr.split()
