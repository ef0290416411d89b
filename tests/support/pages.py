"""Code blocks of Markdown pages, and running them."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mdp_lite.__main__ import main
from mdp_lite.method.schedule import Grid
from mdp_lite.pipeline.runner import ModelRunner

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!-- (.*) -->\n$")
WINDOW = re.compile(r"t.max\W{1,3}[1-9]\d")  # of the model's own number of steps
STEPS = re.compile(r"run in (\d+) steps")


class Block(NamedTuple):
    """A fenced block of a page: the line where its code begins, its language and its code.

    note is the HTML comment on the line above it: "not run: WHY", or "run in N steps".
    """

    line: int
    language: str
    code: str
    note: str

    @property
    def steps(self) -> int | None:
        """The sampling steps that it is run with instead of the model's."""
        found = STEPS.fullmatch(self.note)
        return int(found[1]) if found else None


def find_blocks(page: str) -> list[Block]:
    """All fenced blocks of a page."""
    blocks = []
    for fence in FENCE.finditer(page):
        note = COMMENT.search(page[: fence.start()])
        line = page[: fence.start(2)].count("\n") + 1
        blocks.append(Block(line, fence[1], fence[2], note[1] if note else ""))
    return blocks


def run_page(path: Path, patch: pytest.MonkeyPatch, steps: int | None = None) -> int:
    """Run a page's Python and its mdp-lite commands in order, in one namespace; how many ran.

    steps: how many sampling steps are taken where nothing names them; None: the model's. A command
    that names a window in steps takes the model's, and so does Python on a page with one.
    """
    names: dict[str, Any] = {}
    count = 0
    text = path.read_text("utf-8")
    whole = any(b.language == "python" and WINDOW.search(b.code) for b in find_blocks(text))
    for block in find_blocks(text):
        if block.note.startswith("not run: ") or block.language not in ("python", "sh"):
            continue
        few = block.steps or (None if whole and block.language == "python" else steps)
        _run_block(path, block, names, patch, few)
        count += 1
    return count


def _run_block(
    path: Path, block: Block, names: dict[str, Any], patch: pytest.MonkeyPatch, steps: int | None
) -> None:
    where = f"{path.name}, line {block.line}"
    if block.language == "python":
        code = "\n" * (block.line - 1) + block.code  # so that a traceback has the page's lines
        with _steps(patch, steps):
            exec(compile(code, str(path), "exec"), names)
        return
    for line in block.code.splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "mdp-lite", f"{where}: only mdp-lite is run, got {program}"
        with _steps(patch, None if WINDOW.search(line) else steps):
            assert main(words) == 0, f"{where}: {line}"


@contextmanager
def _steps(patch: pytest.MonkeyPatch, steps: int | None) -> Iterator[None]:
    """Sample in so many steps where a caller names none; None: the model's."""
    grid = ModelRunner.grid

    def short(self: ModelRunner, num_inference_steps: int | None) -> Grid:
        return grid(self, steps if num_inference_steps is None else num_inference_steps)

    with patch.context() as own:
        if steps is not None:
            own.setattr(ModelRunner, "grid", short)
        yield
