"""The command line of mdp-lite: its commands, and what of each is read when it is named."""

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from mdp_lite.cli.completion import VARIABLE, describe_items, print_completions
from mdp_lite.cli.model_options import CommandOptions
from mdp_lite.cli.parser import HELP, build_command, find_word, suggest_option
from mdp_lite.cli.values import find_near
from mdp_lite.names import BadInput
from mdp_lite.version import __version__

NAME = "mdp-lite"
COMMANDS = {  # each with one line about it; its options are in commands/
    "generate": "make a picture from a prompt",
    "edit": "edit a picture, or a generated one",
    "plan": "what an edit will compute and cost",
    "sweep": "many edits at once, on a contact sheet",
    "invert": "invert a picture and reconstruct it",
    "batch": "edit many pictures, each once",
    "app": "edit in the browser",
    "serve": "a service with the OpenAI Images API",
    "mcp": "tools for an assistant (MCP)",
    "bench": "compare inversions, edits or engines",
    "compile": "compile the UNet ahead of time, for the engine aot",
    "info": "describe a model",
    "doctor": "check what works on this machine",
    "convert": "write a model in another form, without pickles",
    "demo": "edits by the bundled model, all variants on one sheet",
}
COMPLETION = ["--install-completion", "--show-completion"]
FLAGS = ["--version", *COMPLETION, *HELP]
EXAMPLE = f'{NAME} edit house.png --source-prompt "a red house" --prompt "a red tent" -o tent.png'


class CommandGroup(TyperGroup):
    """All commands; the options of one are imported and built when it is asked for."""

    def list_commands(self, ctx: typer.Context) -> list[str]:
        """Their names, in order."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:
        """A command by its name, or None."""
        return build_named(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:
        """Write the commands with a line about each, and the example."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        formatter.write(f"\n{NAME} COMMAND --help lists what a command takes.\n")
        formatter.write(f"\nExample:\n  {EXAMPLE}\n")

    def shell_complete(self, ctx: typer.Context, incomplete: str) -> list[Any]:
        """The completions, each with a line about it."""
        return describe_items(super().shell_complete(ctx, incomplete), COMMANDS)


def read_command_line(words: list[str] | None = None) -> CommandOptions | None:
    """The options of a command line (by default the process's own), of its command's type.

    Raises BadInput. None: help, the version or a completion was asked for, and is printed.
    """
    words = sys.argv[1:] if words is None else words
    if completing():
        return print_completions(lambda: _run_group(words))
    if words and words[0] in COMMANDS:
        command = build_named(words[0])
        result = command(words[1:], prog_name=f"{NAME} {words[0]}", standalone_mode=False)
    else:
        _check_first_word(words)
        result = _run_group(words)
    return None if isinstance(result, int) else result


def completing() -> bool:
    """Whether a shell asks for completions."""
    return VARIABLE in os.environ


def build_named(name: str) -> Any:
    """One command, with its options."""
    options = import_module(f"mdp_lite.cli.commands.{name}").OPTIONS
    return build_command(name, options, options.__doc__, options.example)


def _check_first_word(words: list[str]) -> None:
    """Raise BadInput for a command line that does not begin with a command or a known option."""
    if not words:
        raise BadInput(f"want a COMMAND of {', '.join(COMMANDS)}, got none: see {NAME} --help")
    if not words[0].startswith("-"):
        near = find_near(words[0], COMMANDS)
        hint = f"did you mean {near}?" if near else f"see {NAME} --help"
        raise BadInput(f"no command {words[0]!r}: {hint}")
    if words[0] in COMPLETION and len(words) > 1:  # Typer would take the shell it runs in
        raise BadInput(f"{words[0]} is for the shell that it is called in, got {words[1]!r} too")


def _run_group(words: list[str]) -> Any:
    """What Typer does without a command: help, version, completion. Raises BadInput."""
    app = typer.Typer(
        cls=CommandGroup, rich_markup_mode=None, pretty_exceptions_enable=False,
        context_settings={"help_option_names": HELP, "max_content_width": 100},
    )  # fmt: skip
    app.callback()(_declare_top)
    try:
        return get_command(app)(words, prog_name=NAME, standalone_mode=False)
    except TyperException as error:
        name = getattr(error, "option_name", None)
        if name is None:
            raise BadInput(" ".join(error.format_message().split())) from None
        raise BadInput(suggest_option(find_word(name, words), FLAGS, "")) from None


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit()


def _declare_top(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="show the version"),
    ] = False,
) -> None:
    """Edit pictures by text (MDP)."""
