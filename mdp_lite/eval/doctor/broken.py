"""The doctor where a package that every command needs does not load: what can still be said.

It imports nothing but the standard library and typer, which has read the command line.
"""

from functools import partial
from typing import Any, NamedTuple

from mdp_lite.cli.commands.doctor import DoctorOptions
from mdp_lite.eval.doctor.check import Check, run_check
from mdp_lite.eval.doctor.installed import check_extras, check_versions
from mdp_lite.eval.doctor.printed import print_checks

ADVICE = "install it again: pip install --force-reinstall, with the package that the error names"


class BrokenReport(NamedTuple):
    """What of a command's report can be made without Pillow and torch."""

    data: dict[str, Any]
    lines: list[str]
    failed: bool = True


def report_broken(error: Exception, args: DoctorOptions, console: object) -> BrokenReport:
    """The error as a failed check, the versions and the extras."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    every = {"versions": check_versions, "extras": check_extras}
    checks = [run_check(name, partial(one, args)) for name, one in every.items()]
    data, lines = print_checks([Check("imports", "fail", text, ADVICE), *checks])
    return BrokenReport({"command": "doctor", "dry_run": args.run.dry_run} | data, lines)
