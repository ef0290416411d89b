"""Everything is written beside its name and renamed: only listed code opens files to write."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.places import ROOT

# Where a file is written in another way, and why it may be.
ALLOWED = {
    "mdp_lite/files/atomic.py": "is that way; devices and pipes are written into",
    "mdp_lite/store/cache.py": "a lock, which is empty",
    "mdp_lite/batch/output.py": "a file without a name, and the manifest, of which nothing changes",
    "mdp_lite/batch/manifest.py": "lines are added, or the file is cut to its old length",
    "mdp_lite/engine/aot.py": "into a new folder, to which a file points once it is whole",
    "mdp_lite/serve/queue/database.py": "an empty file, so that SQLite gives its files that mode",
    "mdp_lite/serve/queue/workers.py": "a lock, which gets its name once it is held",
    "mdp_lite/eval/resources.py": "a counter of the kernel in /proc",
    "mdp_lite/app/archive.py": "into an answer that is sent, no file",
    "mdp_lite/cli/console.py": "stdout",
    "mdp_lite/cli/streams.py": "/dev/null instead of a stream that is closed or full",
    "mdp_lite/__main__.py": "/dev/null instead of a stdout that nobody reads",
    "weights/mdp_lite_weights/writing.py": "the same way; leaves import nothing of mdp_lite",
}
SHIPPED = [
    path for room in ("mdp_lite", "kernels/mdp_lite_kernels", "weights/mdp_lite_weights")
    for path in sorted((ROOT / room).rglob("*.py"))
]  # fmt: skip
WRITES = ("write_text", "write_bytes", "save_file", "tofile", "savez", "copyfile", "move")
BUFFERS = ("out", "file", "buffer")  # names of BytesIO objects in calls of Pillow's save


def find_writes(source: str) -> Iterator[int]:
    """The lines of calls that write a file."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).split(".")[-1]
        first = ast.unparse(node.args[0]) if node.args else ""
        if name in WRITES or (name == "open" and opens_to_write(node)):
            yield node.lineno
        if name == "save" and isinstance(node.func, ast.Attribute) and first not in BUFFERS:
            if ast.unparse(node.func.value) not in ("source_file", "editor"):
                yield node.lineno


def opens_to_write(node: ast.Call) -> bool:
    modes = [*node.args, *(one.value for one in node.keywords if one.arg == "mode")]
    texts = [one.value for one in modes if isinstance(one, ast.Constant)]
    plain = any(isinstance(t, str) and len(t) <= 4 and set(t) & set("wax+") for t in texts)
    return plain or "O_WRONLY" in ast.unparse(node) or "O_RDWR" in ast.unparse(node)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_written_by_atomic(path: Path) -> None:
    name, lines = path.relative_to(ROOT).as_posix(), list(find_writes(path.read_text("utf-8")))
    assert lines == [] or name in ALLOWED


@pytest.mark.parametrize("line", [
    'image.save("a.png")', 'image.save(path, "PNG")', 'path.write_text("a")', 'open(path, "wb")',
    'path.open("w")', "save_file(tensors, path)", 'open(path, mode="ab")', "os.open(a, os.O_RDWR)",
])  # fmt: skip
def test_a_planted_write_is_found(line: str) -> None:
    assert list(find_writes(line)) == [1]


@pytest.mark.parametrize("line", ['open(path, "rb")', "open(path)", 'image.save(out, "PNG")'])
def test_reading_is_none(line: str) -> None:
    assert list(find_writes(line)) == []
