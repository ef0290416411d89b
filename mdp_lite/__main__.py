"""The mdp-lite command: reads the command line, runs it, and turns errors into exit codes."""

import os
import sys

from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.model_options import CommandOptions
from mdp_lite.names import CannotWrite

DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130


def main(argv: list[str] | None = None) -> int:
    """Run a command line (by default the process's own); the result is the exit code."""
    try:
        args = read_command_line(argv)
        return DONE if args is None else _run(args)
    except ValueError as error:
        _print_error(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        _print_error("stopped")
        return STOPPED
    except BrokenPipeError:  # nobody reads stdout any more; the exit must not flush into it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except CannotWrite as error:
        _print_error(error)
        return FAILED
    except Exception as error:  # not bad input: print its type too
        _print_error(f"{type(error).__name__}: {error}")
        return FAILED


def _run(args: CommandOptions) -> int:
    from mdp_lite import joins  # seconds of import, which `--help` must not cost
    from mdp_lite.cli.console import open_console, print_report
    from mdp_lite.cli.run import run_command, writes_stdout

    run = joins.COMMANDS.get(args.command, run_command)
    report = run(args, open_console(args.run))
    print_report(args.run, report, sys.stderr if writes_stdout(args) else sys.stdout)
    return FAILED if report.failed else DONE


def _print_error(error: object) -> None:
    from mdp_lite.cli.console import print_error

    print_error(error)


if __name__ == "__main__":
    sys.exit(main())
