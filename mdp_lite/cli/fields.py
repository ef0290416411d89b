"""Options are fields of frozen dataclasses; here a dataclass becomes flat parameters and back.

A field is `name: Annotated[type, typer.Option(...)] = default`. A field whose type is another such
dataclass is a group, with its own heading in the help. Other fields are no options.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, get_annotations
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as read_hints

from typer.models import ArgumentInfo, OptionInfo

T = TypeVar("T")
COMMAS = "A,B,C"  # marks a field that takes several values between commas
HEADING = "heading"  # of the class variable with a group's heading


class OptionField(NamedTuple):
    """An option or an argument: its type without None, how Typer declares it, its default.

    several: it is given several times, or with commas as A,B,C. default is MISSING if it must be
    given. heading is that of its group.
    """

    name: str
    kind: Any
    info: OptionInfo | ArgumentInfo
    default: Any
    several: bool
    commas: bool
    heading: str

    @property
    def flags(self) -> tuple[str, ...]:
        """As people write it: ("-o", "--output"), or the name of an argument."""
        if isinstance(self.info, ArgumentInfo):
            return (str(self.info.metavar),)
        return (str(self.info.default), *(self.info.param_decls or ()))

    @property
    def label(self) -> str:
        """The longest of its flags, for messages."""
        return max(self.flags, key=len)

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it may be, or nothing if it is no choice."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()


def list_fields(options: Any, heading: str = "options") -> Iterator[OptionField]:
    """All options of a dataclass and of its groups, in order; a subclass's own come first."""
    hints, own = read_hints(options, include_extras=True), get_annotations(options)
    for one in sorted(fields(options), key=lambda one: one.name not in own):
        hint = hints[one.name]
        if is_dataclass(hint):
            yield from list_fields(hint, getattr(hint, HEADING))
        elif get_origin(hint) is Annotated:
            kind, info, *marks = get_args(hint)
            yield _describe_field(one.name, kind, info, one.default, COMMAS in marks, heading)


def _describe_field(
    name: str, kind: Any, info: OptionInfo | ArgumentInfo, default: Any, commas: bool, heading: str
) -> OptionField:
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    several = get_origin(kind) is tuple and get_args(kind)[-1] is ...
    return OptionField(
        name, get_args(kind)[0] if several else kind, info, default, several, commas, heading
    )


def declare_parameter(one: OptionField) -> Parameter:
    """The parameter from which Typer declares it. Texts stay texts: values.py reads them."""
    info = copy(one.info)
    kind = one.kind if one.kind is bool or one.choices else str
    if one.several:
        kind, info.autocompletion = list[str], lambda incomplete: complete_list(one, incomplete)
    unset = False if one.kind is bool else None
    default = Parameter.empty if one.default is MISSING else unset
    return Parameter(
        one.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )


def complete_list(one: OptionField, incomplete: str) -> list[str]:
    """What can follow in a list between commas: the choices that are not in it yet."""
    before, comma, _ = incomplete.rpartition(",")
    return [before + comma + word for word in one.choices if word not in before.split(",")]


def build_options(options: type[T], values: dict[str, Any]) -> T:
    """The dataclass, its groups too, from the values of all their fields by name."""
    hints = read_hints(options)
    parts: dict[str, Any] = {}
    for one in fields(options):  # pyright: ignore[reportArgumentType]
        if is_dataclass(hints[one.name]):
            parts[one.name] = build_options(hints[one.name], values)
        elif one.name in values:
            value = values[one.name]
            parts[one.name] = tuple(value) if isinstance(value, list) else value
    return options(**parts)
