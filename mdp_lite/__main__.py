"""The mdp-lite command: reads the command line, runs it, and turns errors into exit codes."""

import gc
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from mdp_lite.cli.arguments import build_parser
from mdp_lite.cli.console import Console, open_console, print_error, print_report

if TYPE_CHECKING:
    from mdp_lite.cli.reports import Report

DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130


def main(argv: list[str] | None = None) -> int:
    """Run a command line (by default the process's own); the result is the exit code."""
    try:
        return _run(build_parser().parse_args(argv))
    except ValueError as error:
        print_error(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        print_error("stopped")
        return STOPPED
    except BrokenPipeError:  # nobody reads stdout any more; the exit must not flush into it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # not bad input: print its type too
        print_error(f"{type(error).__name__}: {error}")
        return FAILED


def _run(args: Namespace) -> int:
    console = open_console(args)
    console.wait("loading")  # before the imports: they take seconds
    try:
        report = _find_command(args.command)(args, console)
    finally:
        console.wait("")
    print_report(args, report)
    return FAILED if report.failed else DONE


def _find_command(name: str) -> "Callable[[Namespace, Console], Report]":
    """The function of a command. Its imports take seconds, which `--help` must not cost.

    They make a million objects that stay. The garbage collector would look through them several
    times meanwhile, and again in every later collection: a tenth of the time until the first step.
    """
    first = gc.isenabled() and "torch" not in sys.modules
    if first:
        gc.disable()
    from mdp_lite import joins
    from mdp_lite.cli.run import run_command

    if first:
        gc.freeze()
        gc.enable()
    return joins.COMMANDS.get(name, run_command)


if __name__ == "__main__":
    sys.exit(main())
