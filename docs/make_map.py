"""Keeps docs/map.md true: `python docs/make_map.py` writes each file's first sentence beside it.

The order of rooms and files in the page is kept. A file that is gone leaves it, and a new one is
put at the end of its room.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "map.md"
ROOM = re.compile(r"^## .*`([\w/]+)/`", re.MULTILINE)
ENTRY = re.compile(r"^\| `([\w.]+\.py)` \|.*\n", re.MULTILINE)


def summarize(file: Path) -> str:
    """The first paragraph of a module's docstring, as one line of a Markdown table."""
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    parts = " ".join(text.split("\n\n")[0].split()).replace("|", r"\|").split("`")
    return "`".join(part if i % 2 else part.replace("*", r"\*") for i, part in enumerate(parts))


def render(page: str) -> str:
    """The page with every room's files, each with what it says of itself."""
    parts = re.split(r"(?m)^(?=## )", page)
    return "".join(_render_room(part) for part in parts)


def _render_room(part: str) -> str:
    room = ROOM.search(part)
    if not room:
        return part
    folder = ROOT / room[1]
    there = {file.name: file for file in sorted(folder.glob("*.py")) if file.name != "__init__.py"}
    names = [name for name in ENTRY.findall(part) if name in there]
    names += [name for name in there if name not in names]
    entries = "".join(f"| `{name}` | {summarize(there[name])} |\n" for name in names)
    table, first = "| file | what it does |\n|---|---|\n", ENTRY.search(part)
    start = part.index(table) + len(table) if table in part else first and first.start()
    assert isinstance(start, int), f"the room {room[1]} has no table"
    return part[:start] + entries + ENTRY.sub("", part[start:])


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text("utf-8")), "utf-8")
    sys.exit(0)
