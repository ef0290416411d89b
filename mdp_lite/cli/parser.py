"""One command of mdp-lite as Typer runs it: its help, and the reading of its command line."""

import os
from collections.abc import Callable
from dataclasses import MISSING
from inspect import Signature
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException
from typer.main import get_command
from typer.models import ArgumentInfo

from mdp_lite.cli.completion import describe_items
from mdp_lite.cli.fields import OptionField, build_options, declare_parameter, list_fields
from mdp_lite.cli.values import STDIN, Text, describe_bounds, find_near, list_missing, read_values
from mdp_lite.names import BadInput

HELP = ["-h", "--help"]


class CommandSpec(NamedTuple):
    """A command: its name, all its options, and a line that shows its use.

    one_of: names of options of which one must be given.
    """

    name: str
    fields: tuple[OptionField, ...]
    example: str
    one_of: tuple[str, ...]


class OptionsCommand(TyperCommand):
    """A command whose options are the fields of a dataclass; ctx.obj is its CommandSpec.

    Texts are read here and not by Typer, so that an error is one sentence with the option's name,
    a misspelt option is named before a missing one, and pydantic is not imported.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Read the command line into ctx.params. Raises BadInput."""
        if ctx.resilient_parsing:  # a shell asks for completions
            return super().parse_args(ctx, args)
        if set(HELP) & set(args[: args.index("--")] if "--" in args else args):
            typer.echo(ctx.get_help())
            raise typer.Exit()
        spec: CommandSpec = ctx.obj
        try:
            texts, extra, _ = self.make_parser(ctx).parse_args(args=list(args))
        except TyperException as error:
            raise BadInput(describe_misuse(error, spec, args)) from None
        check_words(spec, texts, extra)
        ctx.params = read_values(spec.fields, texts, os.environ)
        return []

    def shell_complete(self, ctx: typer.Context, incomplete: str) -> list[Any]:
        """The completions, each with the line of the help about it."""
        lines = {flag: one.info.help for one in ctx.obj.fields for flag in one.flags}
        return describe_items(super().shell_complete(ctx, incomplete), lines)

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:
        """Write the options under the headings of their groups, and the example."""
        spec: CommandSpec = ctx.obj
        for heading in dict.fromkeys(one.heading for one in spec.fields):
            rows = [describe_field(one) for one in spec.fields if one.heading == heading]
            with formatter.section(heading[0].upper() + heading[1:]):
                formatter.write_dl(rows)
        formatter.write(f"\nExample:\n  {spec.example}\n")


def build_command(
    name: str, options: type[Any], text: str, example: str
) -> Callable[[list[str]], Any]:
    """The command: a function of the words after its name, which returns its options.

    It returns None if it has shown its help.
    """
    fields = tuple(list_fields(options))

    def build(**values: Any) -> Any:
        some = {name: value for name, value in values.items() if value is not None}
        return build_options(options, some)

    build.__signature__ = Signature([declare_parameter(one) for one in fields])  # pyright: ignore
    build.__annotations__ = {}
    settings = {
        "obj": CommandSpec(name, fields, example, getattr(options, "one_of", ())),
        "help_option_names": HELP,
        "max_content_width": 100,
    }
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, cls=OptionsCommand, help=text, context_settings=settings)(build)
    return get_command(app)


def describe_misuse(error: TyperException, spec: CommandSpec, args: list[str]) -> str:
    """What is wrong with the form of a command line, with the option that was meant."""
    flags = [flag for one in spec.fields for flag in one.flags]
    name = getattr(error, "option_name", None)
    if name is None:
        return f"{spec.name}: {error.format_message()}"
    if name in flags:
        takes = next(one for one in spec.fields if name in one.flags).kind is not bool
        return f"{name} needs a value, got none" if takes else f"{name} takes no value"
    word = find_word(name, args)
    return suggest_option(word, [*flags, *HELP], spec.name)


def find_word(name: str, words: list[str]) -> str:
    """The word in which Typer found an unknown option: it reads -help as -h, -e, -l and -p."""
    for word in words:
        letters = word[1:] if word[:1] == "-" != word[1:2] and len(name) == 2 else ""
        if word.startswith(name) or name[1:] in letters:
            return word.split("=")[0]
    return name


def suggest_option(word: str, flags: list[str], command: str) -> str:
    """That there is no such option, and which one is near."""
    options = [flag for flag in flags if len(flag) > 2 and flag.startswith("--")]
    near = find_near(word, options)
    where = f"see mdp-lite {command}".rstrip() + " --help"
    return f"no option {word}: " + (f"did you mean {near}?" if near else where)


def check_words(spec: CommandSpec, texts: dict[str, Text], extra: list[str]) -> None:
    """Raise BadInput for words too many, for options as values, and for all that is missing."""
    flags = {flag for one in spec.fields for flag in one.flags if flag.startswith("-")} - {STDIN}
    for one in spec.fields:
        text = texts.get(one.name)
        for part in text if isinstance(text, list) else [text]:
            if part in flags:
                raise BadInput(f"{one.label} needs a value, got the option {part}")
    if extra:
        names = [one.label for one in spec.fields if isinstance(one.info, ArgumentInfo)]
        takes = " ".join(names) if names else "only options"
        raise BadInput(f"{spec.name} takes {takes}, got {extra[0]!r} too")
    missing = list_missing(spec.fields, texts)
    if spec.one_of and all(texts.get(name) is None for name in spec.one_of):
        missing.append(" or ".join(o.label for o in spec.fields if o.name in spec.one_of))
    if missing:
        raise BadInput(f"{spec.name} needs {', and '.join(missing)}: see mdp-lite {spec.name} -h")


def describe_field(one: OptionField) -> tuple[str, str]:
    """The two columns of an option in the help."""
    value = "|".join(one.choices) if one.choices and not one.info.metavar else one.info.metavar
    if isinstance(one.info, ArgumentInfo) or one.kind is bool:
        value = ""
    facts = [
        _describe_default(one),
        "" if one.kind is bool or one.info.min is None and one.info.max is None
        else describe_bounds(one.info.min, one.info.max),
        f"variable {one.info.envvar}" if one.info.envvar else "",
        "required" if one.default is MISSING else "",
    ]  # fmt: skip
    shown = "; ".join(fact for fact in facts if fact)
    flags = ", ".join(one.flags)
    return f"{flags} {value}".rstrip(), f"{one.info.help or ''} [{shown}]" if shown else str(
        one.info.help
    )


def _describe_default(one: OptionField) -> str:
    shown = one.info.show_default
    if isinstance(shown, str):
        return f"default: {shown}"
    if one.default in (None, MISSING, False, "", ()) or one.kind is bool:
        return ""
    value = one.default
    return f"default: {','.join(map(str, value)) if isinstance(value, tuple) else value}"
