"""The page's sentences: each is used, each that is used is there, and its {names} are given."""

import ast
import re
from collections.abc import Iterator
from string import Formatter
from typing import NamedTuple

import pytest

from mdp_lite.app.form import XL_FIELDS
from mdp_lite.app.wording import TEXTS
from mdp_lite.eval.worlds import POSTCARDS, VILLAGE
from mdp_lite.names import QUALITIES
from support.places import ROOT

APP = ROOT / "mdp_lite" / "app"
SCRIPTS = APP / "components"
PYTHON = sorted(APP.rglob("*.py"))
KEYS = [(part, key) for part in TEXTS for key in TEXTS[part]]
# Keys that the code puts together from words, which stand in it: settings.steps_hint.
BUILT = {
    "settings": r"(\w+)_hint|(case|variant|steer|schedule|fit|quality)_(\w+)",
    "sheet": r"by_(\w+)_choice",
}
# Keys from lists: the groups of words of the bundled models, the fields of SDXL, and qualities.
LISTED = {("words", name) for name in POSTCARDS.groups | VILLAGE.groups}
LISTED |= {("settings", f"{name}{end}") for name in XL_FIELDS for end in ("", "_hint")}
LISTED |= {("forecast", name) for name in QUALITIES[:-1]}


class Saying(NamedTuple):
    """A say() of Python code: its keys, if they are written there, and the names that it gives."""

    where: str
    part: str
    keys: list[str]
    names: set[str]
    is_open: bool  # names come from a dict, too


def list_branches(node: ast.expr) -> Iterator[str]:
    """The texts that an expression can be, as far as they are written there."""
    if isinstance(node, ast.IfExp):
        yield from list_branches(node.body)
        yield from list_branches(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def find_sayings(code: str, where: str = "") -> Iterator[Saying]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
            part, key = node.args
            assert isinstance(part, ast.Constant), f"{where}:{node.lineno}: {ast.unparse(node)}"
            names = {one.arg for one in node.keywords if one.arg}
            is_open = any(one.arg is None for one in node.keywords)
            place = f"{where}:{node.lineno}"
            yield Saying(place, str(part.value), list(list_branches(key)), names, is_open)


def list_wrong(sayings: list[Saying], texts: dict[str, dict[str, str]] = TEXTS) -> list[str]:
    """What is wrong with calls of say(): a sentence or one of its names is missing."""
    wrong = []
    for one in sayings:
        for key in one.keys:
            text = texts.get(one.part, {}).get(key)
            if text is None:
                wrong.append(f"{one.where}: there is no {one.part}.{key}")
            elif (lacking := list_names(text) - one.names) and not one.is_open:
                wrong.append(f"{one.where}: {one.part}.{key} needs {sorted(lacking)}")
    return wrong


def list_names(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def read_scripts(part: str) -> str:
    """The scripts and the HTML of the component that is named like a part, if there is one."""
    files = [
        SCRIPTS / f"{part}.js",
        *sorted(SCRIPTS.glob(f"{part}_*.js")),
        SCRIPTS / f"{part}.html",
    ]
    return "\n".join(file.read_text("utf-8") for file in files if file.exists())


def read_users(part: str) -> str:
    """All code that can use the sentences of a part."""
    code = [file.read_text("utf-8") for file in PYTHON]
    return "\n".join([*(one for one in code if f'"{part}"' in one), read_scripts(part)])


def is_quoted(word: str, code: str) -> bool:
    return re.search(rf"""(["']){re.escape(word)}\1""", code) is not None


def is_used(part: str, key: str, code: str, words: str) -> bool:
    """Whether code has the key, or every word of which the key is built."""
    if is_quoted(key, code):
        return True
    match = re.fullmatch(BUILT[part], key) if part in BUILT else None
    return match is not None and all(is_quoted(one, words) for one in match.groups() if one)


def test_every_sentence_is_used() -> None:
    words = "\n".join(file.read_text("utf-8") for file in [*PYTHON, ROOT / "mdp_lite" / "names.py"])
    users = {part: read_users(part) for part in TEXTS}
    unused = [one for one in KEYS if not is_used(*one, users[one[0]], words)]
    assert LISTED <= set(KEYS) and not set(unused) - LISTED


def test_every_call_has_its_sentence_and_its_names() -> None:
    sayings = [one for file in PYTHON for one in find_sayings(file.read_text("utf-8"), file.name)]
    assert len(sayings) > 100 and not list_wrong(sayings), "\n".join(list_wrong(sayings))


@pytest.mark.parametrize("part", [one for one in TEXTS if (SCRIPTS / f"{one}.js").exists()])
def test_every_sentence_of_a_script_is_there(part: str) -> None:
    script = read_scripts(part)
    keys = re.findall(r"""\bsay\("(\w+)"|data-(?:text|label|tip)="(\w+)\"""", script)
    missing = {one or other for one, other in keys} - set(TEXTS[part])
    assert keys and not missing


def test_sentences_have_plain_names_that_scripts_fill_in_too() -> None:
    for part, key in KEYS:
        text = TEXTS[part][key]
        plain = re.sub(r"\{[a-z_]+\}", "", text)
        assert text and not set("{}") & set(plain), f"{part}.{key}: {text}"


def test_what_is_wrong_is_found() -> None:
    texts = {"one": {"a": "{count} of {total}", "b": "plain"}}
    code = 'say("one", "a" if x else "b", count=1), say("one", "c"), say("two", "a"), say("one", k)'
    wrong = list_wrong(list(find_sayings(code)), texts)
    assert [one.split(": ")[1] for one in wrong] == [
        "one.a needs ['total']", "there is no one.c", "there is no two.a",
    ]  # fmt: skip
    assert not list_wrong(list(find_sayings('say("one", "a", **{"count": 1, "total": 2})')), texts)
    assert not is_used("settings", "lost_hint", '"lost"', '"other"')
    assert is_used("settings", "lost_hint", "", '"lost"') and not is_used(
        "page", "lost", "lost", ""
    )
