"""The mdp-lite command: reads the command line, prints, and turns errors into one line each."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from mdp_lite.cli.arguments import build_parser

if TYPE_CHECKING:
    from mdp_lite.cli.console import Console
    from mdp_lite.editor import OnStep

BAD_INPUT, FAILED, STOPPED = 2, 1, 130


def main(argv: list[str] | None = None) -> int:
    """Run a command line (by default the process's own); the result is the exit code."""
    try:
        args = build_parser().parse_args(argv)
        return _run(args)
    except ValueError as error:
        return _fail(error, BAD_INPUT)
    except KeyboardInterrupt:
        return _fail("stopped", STOPPED)
    except BrokenPipeError:  # whoever read our output has gone; the exit must not flush into it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # not a complaint about input: say what kind it is
        return _fail(f"{type(error).__name__}: {error}", FAILED)


def _run(args: Any) -> int:
    from mdp_lite.cli import commands  # seconds of import, which `--help` must not cost

    loud = not args.quiet
    bars: list[Any] = []  # that are shown now
    console = commands.Console(
        note=lambda text: _note(text) if loud else None,
        watch=lambda name: _progress(name, loud and sys.stderr.isatty(), bars),
        tell=lambda text: bars[-1].set_postfix_str(text, refresh=False) if bars else None,
    )
    own = {"bench": _bench, "serve": _serve, "batch": _batch, "app": _app}.get(
        args.command, commands.run
    )
    made = own(args, console)
    if args.json:
        print(json.dumps(made.data), flush=True)
    elif loud:
        print("\n".join(made.lines), flush=True)
    return FAILED if made.failed else 0


def _bench(args: Any, console: "Console") -> "Made":
    from mdp_lite.eval.bench_command import bench  # a sub-package: nobody else imports it

    return bench(args, console)


def _serve(args: Any, console: "Console") -> "Made":
    try:
        from mdp_lite.serve.command import serve
    except ImportError as error:
        raise ValueError(f"serve needs more: pip install 'mdp-lite[serve]' ({error})") from None
    if not args.app:
        return serve(args, console)
    from mdp_lite import joins

    try:
        page = joins.page(args.host)
    except ImportError as error:
        raise ValueError(f"--app needs more: pip install 'mdp-lite[app]' ({error})") from None
    return serve(args, console, page)


def _batch(args: Any, console: "Console") -> "Made":
    from mdp_lite.batch.command import batch

    return batch(args, console)


def _app(args: Any, console: "Console") -> "Made":
    try:
        from mdp_lite.app.command import app
    except ImportError as error:
        raise ValueError(f"app needs more: pip install 'mdp-lite[app]' ({error})") from None
    from mdp_lite import joins

    return app(args, console, joins.rivals())


@contextmanager
def _progress(name: str, shown: bool, bars: list[Any]) -> "Iterator[OnStep | None]":
    """A bar on stderr that a loop moves by calling what it is given; in bars while it lasts."""
    if not shown:
        yield None
        return
    written = name == "convert"  # in bytes
    unit = {"convert": "B", "batch": "edit", "look": "row"}.get(name, "step")
    with tqdm(desc=name, unit=unit, unit_scale=written, leave=False, file=sys.stderr) as bar:

        def on_step(done: int, total: int, latent: Any = None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        bars.append(bar)
        try:
            yield on_step
        finally:
            bars.pop()


def _note(text: str) -> None:
    print(f"mdp-lite: {text}", file=sys.stderr)


def _fail(error: object, code: int) -> int:
    _note(" ".join(str(error).split()) or type(error).__name__)
    return code


if __name__ == "__main__":
    sys.exit(main())
