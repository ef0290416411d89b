"""The mdp-lite command: reads the command line, runs it, and turns errors into exit codes."""

import os
import sys
from argparse import Namespace

from mdp_lite.cli.arguments import build_parser
from mdp_lite.cli.console import open_console, print_error, print_report
from mdp_lite.names import CannotWrite

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
    except CannotWrite as error:
        print_error(error)
        return FAILED
    except Exception as error:  # not bad input: print its type too
        print_error(f"{type(error).__name__}: {error}")
        return FAILED


def _run(args: Namespace) -> int:
    from mdp_lite import joins  # seconds of import, which `--help` must not cost
    from mdp_lite.cli.run import run_command

    run = joins.COMMANDS.get(args.command, run_command)
    report = run(args, open_console(args))
    print_report(args, report)
    return FAILED if report.failed else DONE


if __name__ == "__main__":
    sys.exit(main())
