"""The mdp-lite command: reads the command line, runs it, and turns errors into exit codes."""

import gc
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO, cast

from mdp_lite.cli.streams import (
    check_open,
    discard,
    escape_unknown_letters,
    name_stream,
    replace_closed_streams,
)
from mdp_lite.names import CannotWrite

if TYPE_CHECKING:
    from mdp_lite.cli.console import Console
    from mdp_lite.cli.model_options import CommandOptions
    from mdp_lite.cli.reports import Report

DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130


def main(argv: list[str] | None = None) -> int:
    """Run a command line (by default the process's own); the result is the exit code."""
    replace_closed_streams()
    try:
        escape_unknown_letters()
        from mdp_lite.cli.application import read_command_line  # Ctrl-C may come as early as this

        with name_stream(sys.stdout):  # help may be printed
            args = read_command_line(argv)
        return DONE if args is None else _run(args)
    except ValueError as error:
        _print_error(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        _print_error("stopped")
        return STOPPED
    except BrokenPipeError:  # nobody reads stdout any more; the exit must not flush into it
        discard(sys.stdout)
        return FAILED
    except CannotWrite as error:
        _print_error(error)
        return FAILED
    except Exception as error:  # not bad input: print its type too
        _print_error(f"{type(error).__name__}: {error}")
        return FAILED


def _run(args: "CommandOptions") -> int:
    from mdp_lite.cli.console import open_console, print_report, show_warnings
    from mdp_lite.cli.naming import list_labels, naming

    console = open_console(args.run)
    console.wait("loading")  # before the imports: they take seconds
    try:
        run, stream = _find_command(args) if args.command != "doctor" else _find_doctor(args)
        if args.run.json:
            check_open(stream, f"--json writes to {'stdout' if stream is sys.stdout else 'stderr'}")
        with show_warnings(args.run.quiet), naming(list_labels(type(args))):
            report = run(args, console)
    finally:
        console.wait("")
    print_report(args.run, report, stream)
    return FAILED if report.failed else DONE


def _find_command(
    args: "CommandOptions",
) -> "tuple[Callable[[Any, Console], Report], TextIO]":
    """The function of a command, and the stream for its report.

    Its imports take seconds, which `--help` must not cost. They make a million objects that stay.
    The garbage collector would look through them several times meanwhile, and again in every later
    collection: a tenth of the time until the first step.
    """
    first = gc.isenabled() and "torch" not in sys.modules
    if first:
        gc.disable()
    from mdp_lite import joins
    from mdp_lite.cli.run import run_command, writes_stdout

    if first:
        gc.freeze()
        gc.enable()
    stream = sys.stderr if writes_stdout(args) else sys.stdout
    return joins.COMMANDS.get(args.command, run_command), stream


def _find_doctor(
    args: "CommandOptions",
) -> "tuple[Callable[[Any, Console], Report], TextIO]":
    """The same for doctor, which reports a package that does not load."""
    try:
        return _find_command(args)
    except Exception as error:
        from mdp_lite.eval.doctor.broken import report_broken

        return cast(Any, partial(report_broken, error)), sys.stdout


def _print_error(error: object) -> None:
    from mdp_lite.cli.console import print_error

    print_error(error)


if __name__ == "__main__":
    sys.exit(main())
