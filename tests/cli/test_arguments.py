"""The command line as such: its choices, its help, what it imports, who reads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mdp_lite.__main__ import main
from mdp_lite.method.schedule import CURVES, DEFAULT_WINDOWS
from mdp_lite.names import SCHEDULES, VARIANTS
from support.places import ROOT

PATHS = os.pathsep.join(str(ROOT / room) for room in ("", "kernels", "weights"))
ENV = os.environ | {"PYTHONPATH": PATHS}


def test_choices_are_those_of_the_library() -> None:
    assert set(VARIANTS) == set(DEFAULT_WINDOWS)
    assert SCHEDULES == tuple(CURVES)


@pytest.mark.parametrize("line", [[], ["generate"], ["edit"], ["invert"], ["info"], ["demo"]])
def test_help_lists_every_option(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*line, "--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: mdp-lite", *line]))


def test_help_and_argument_errors_do_not_import_torch() -> None:
    code = (
        "import sys\n"
        "from mdp_lite.__main__ import main\n"
        "assert main(['generate', 'a', '--seed', 'x']) == 2\n"
        "try: main(['--help'])\n"
        "finally: assert not {'torch', 'numpy', 'transformers', 'PIL'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert b"usage: mdp-lite" in done.stdout


def test_a_reader_who_leaves_early_is_no_error(checkpoint: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "mdp_lite", "info", str(checkpoint)],
        env=ENV,
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=120,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
