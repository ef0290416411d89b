"""What commands import: info needs neither torch's compiler nor transformers, nor does an edit."""

import json
import os
import subprocess
import sys
from pathlib import Path

from support.places import ROOT

ROOMS = os.pathsep.join(str(ROOT / room) for room in (".", "kernels", "weights"))
HEAVY = ("torch._dynamo", "torch._inductor", "transformers", "triton", "diffusers", "sympy")
LINES = [
    ["info"],
    ["info", "--list"],
    ["doctor", "--dry-run"],
    ["plan", "--source-prompt", "a", "--prompt", "b", "--steps", "2"],
    ["edit", "--source-prompt", "a", "--prompt", "b", "--steps", "2", "--quiet"],
]
CODE = """
import json, sys
from mdp_lite.__main__ import main
found = []
for line in json.loads(sys.argv[1]):
    try:
        code = main(line)
    except SystemExit as end:  # as --help ends
        code = end.code
    found.append([code, list(sys.modules)])
print(json.dumps(found), file=sys.stderr)
"""


def list_modules(cwd: Path, lines: list[list[str]]) -> list[tuple[int, set[str]]]:
    """Exit codes of commands, and what had been imported when each of them ended."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(lines)], cwd=cwd, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": ROOMS},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stderr.splitlines()[-1])
    return [(code, set(names)) for code, names in found]


def test_no_command_imports_a_compiler(tmp_path: Path) -> None:
    for line, (code, found) in zip(LINES, list_modules(tmp_path, LINES), strict=True):
        assert code == 0 and "mdp_lite.cli.run" in found, line
        assert [name for name in HEAVY if name in found] == [], line


def test_help_imports_no_torch(tmp_path: Path) -> None:
    ((code, found),) = list_modules(tmp_path, [["--help"]])
    assert code == 0 and "torch" not in found
