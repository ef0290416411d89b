"""Names and words: the field's terms, one meaning a class, verbs for functions, plain English."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from support.places import ROOT

PACKAGE = sorted((ROOT / "mdp_lite").rglob("*.py"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "mdp_lite").rglob("*.md")),
]

# Names that this project once used for things which the field calls otherwise, or for several
# things at once. They are no names of classes, functions, fields, keyword arguments or JSON keys.
BANNED = set(
    """
    Desk Member desk_of shared Board StepBoard Maker made Fixed Whole Lifted Lifting Bucketed filled
    asked asking answered Given place stem finish before after Leg tree Known SourceRow Levels at
    Standing walked alone most kept Where frame sides held seen Codec v Talk note watch tell
    Rehearsal IdleUNet
    """.split()
)
# Words that have their ordinary or the field's meaning in one place: "kept" is a score of the
# benchmarks ("right and kept"), a tree grows in the synthetic world, v is the v of v-prediction.
ORDINARY = {
    "kept": ROOT / "mdp_lite" / "eval",
    "tree": ROOT / "mdp_lite" / "eval" / "shapes.py",
    "v": ROOT / "mdp_lite" / "method" / "ddim.py",
}


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


PHRASES = (
    "at hand", "likewise", "of its own", "where nobody", "who gives none", "for who ", "is told of",
    "and what that", "which no device gains", "an ending takes", "while there is time",
    "as long as you", "all of it, from", "comes down to", "is of no more use",
)  # fmt: skip

PARTICIPLES = set(
    """
    made told kept given found taken said sent written drawn known shown seen held left built done
    gone asked begun chosen bound lent lost met paid sold spent split stood taught thought thrown
    understood won laid led meant heard felt fed dealt brought bought caught
    """.split()
) - {"split"}
NOT_PARTICIPLES = {
    "need",
    "seed",
    "feed",
    "speed",
    "embed",
    "red",
    "proceed",
    "exceed",
    "fed",
    "unfed",
}


class Name(NamedTuple):
    """A name that the package defines, and where."""

    text: str
    kind: str
    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} {self.kind} {self.text}"


def defined(path: Path) -> Iterator[Name]:
    """Classes, functions, fields, parameters and keys of literal dicts of a module."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ClassDef):
            yield Name(node.name, "class", path, node.lineno)
            yield from fields(node, path)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Name(node.name, "function", path, node.lineno)
            arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            if not node.name.startswith("_"):  # whose keywords a caller may write
                yield from (Name(a.arg, "argument", path, a.lineno) for a in arguments)
        elif isinstance(node, ast.Dict):
            for key in node.keys:
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield Name(key.value, "key", path, key.lineno)


def fields(node: ast.ClassDef, path: Path) -> Iterator[Name]:
    """Annotated fields of a class, and attributes that its __init__ sets."""
    for one in node.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            yield Name(one.target.id, "field", path, one.lineno)
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            for target in ast.walk(one):
                if isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store):
                    yield Name(target.attr, "field", path, target.lineno)


NAMES = [name for path in PACKAGE for name in defined(path)]


def allowed(name: Name) -> bool:
    """Whether a banned word has its ordinary meaning here."""
    place = ORDINARY.get(name.text)
    return place is not None and name.path.is_relative_to(place)


def test_the_walk_sees_names_of_every_kind() -> None:
    kinds = Counter(name.kind for name in NAMES)
    assert all(kinds[kind] > 100 for kind in ("class", "function", "field", "argument", "key"))


@pytest.mark.parametrize("banned", sorted(BANNED))
def test_an_old_name_is_gone(banned: str) -> None:
    found = [str(name) for name in NAMES if name.text.lstrip("_") == banned and not allowed(name)]
    assert found == []


def is_participle(name: str) -> bool:
    word = name.strip("_").split("_")[0].lower()
    regular = word.endswith("ed") and word not in NOT_PARTICIPLES
    return word in PARTICIPLES or regular


def test_functions_are_verbs() -> None:
    functions = [name for name in NAMES if name.kind == "function"]
    participles = [str(name) for name in functions if is_participle(name.text)]
    assert len(participles) < 0.05 * len(functions), participles


def test_a_class_name_has_one_meaning() -> None:
    """Blocks of the networks are named as diffusers has them, each in the file of its network."""
    models = ROOT / "mdp_lite" / "models"
    classes = [n for n in NAMES if n.kind == "class" and not n.path.is_relative_to(models)]
    counts = Counter(name.text for name in classes)
    assert [str(name) for name in classes if counts[name.text] > 1] == []


def prose(path: Path) -> Iterator[str]:
    """Strings and comments of a module, or the text of a page without its code."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        yield re.sub(r"```.*?```", "", text, flags=re.S)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.string


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    """All strings, comments and pages, each with the file that holds it, on one line."""
    files = (*PACKAGE, *(path for path in PAGES if path.is_file()))
    return [
        (str(path.relative_to(ROOT)), " ".join(text.split()))
        for path in files
        for text in prose(path)
    ]


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_that_only_its_author_understands_is_gone(
    phrase: str, texts: list[tuple[str, str]]
) -> None:
    assert [f"{path}: {text[:100]}" for path, text in texts if phrase in text] == []
