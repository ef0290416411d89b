"""A desk with drawn pictures and a way to run batches on it, for the tests of mdp_lite.batch."""

import json
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mdp_lite.batch import manifest
from mdp_lite.eval.cases import scenes
from mdp_lite.eval.world import draw

Said = dict[str, Any]
Run = Callable[..., Said]


def drawn(folder: Path, count: int) -> list[str]:
    """Pictures of held-back scenes as 000.png, 001.png and so on; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for k, (_, scene) in zip(range(count), scenes(), strict=False):
        names.append(f"{k:03d}.png")
        draw(scene).save(folder / names[-1])
    return names


def table(path: Path, rows: list[Any]) -> str:
    """A .jsonl of rows; a row that is a text is a line as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return str(path)


def records(out: Path) -> list[Said]:
    """The lines of a manifest."""
    return [json.loads(line) for line in (out / manifest.NAME).read_text("utf-8").splitlines()]


def pictures(out: Path) -> dict[str, bytes]:
    """All files of an output but its manifest, by name."""
    found = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(p.relative_to(out)): p.read_bytes() for p in found if p.name != manifest.NAME}


def times_done(out: Path) -> set[int]:
    """How often edits are recorded as done: {1} where none was done twice."""
    every = [one for one in read_whole(out) if one["status"] == "ok"]
    return set(Counter(one["key"] for one in every).values())


def read_whole(out: Path) -> list[Said]:
    """The records of a manifest that may hold a line cut short by a kill."""
    found = []
    for line in (out / manifest.NAME).read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            assert b'"key"' in line or len(line) < 8  # ours, cut short
    return found


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large and holds nothing."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    sized = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = bytes(4) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + sized + data


def poison(folder: Path) -> None:
    """Files that are no pictures, each in its own way."""
    good = (folder / "000.png").read_bytes()
    (folder / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("a red house")
    (folder / "bomb.png").write_bytes(png_header(20000, 20000))
    (folder / "large.png").write_bytes(png_header(5000, 5000))
    (folder / "folder.png").mkdir()


# Rows that can't be made, and what is recorded of each. The pictures are drawn and 64x64.
POISONED: list[tuple[Any, str]] = [
    ({"image": "none.png", "prompt": "a"}, "got no such file: 'none.png'"),
    ({"image": "folder.png", "prompt": "a"}, "got a folder: 'folder.png'"),
    ({"image": "empty.png", "prompt": "a"}, "by its content, got something else: 'empty.png'"),
    ({"image": "text.png", "prompt": "a"}, "by its content, got something else: 'text.png'"),
    ({"image": "cut.png", "prompt": "a"}, "picture must be whole, got a damaged file"),
    ({"image": "bomb.png", "prompt": "a"}, "at most 4096x4096 pixels, got far more: 'bomb.png'"),
    ({"image": "large.png", "prompt": "a"}, "at most 4096x4096 pixels, got 5000x5000"),
    ({"image": "000.png", "prompt": "a", "steps": 10**6}, "from 1 to 1000, got 1000000"),
    ({"image": "000.png", "prompt": "a", "strength": 7}, "strength must be from 0 to 1, got 7.0"),
    ({"image": "000.png", "prompt": "a", "guidance_scale": -3}, "from 1 (no guidance) to 100"),
    ({"image": "000.png", "prompt": "a", "t_max": 1e9}, "t_max must be at most the"),
    ({"image": "000.png", "prompt": "a", "width": 31}, "width must be a multiple of"),
    ({"image": "000.png", "prompt": "a", "method": "magic"}, "method must be one of"),
    ({"image": "000.png", "prompt": "a", "box": [900, 900, 950, 950]}, "box"),
    ({"image": "000.png", "prompt": "a", "mask": "none.png"}, "got no such file: 'none.png'"),
    ({"image": "000.png", "prompt": 5}, "prompt must be a text, got 5"),
    ({"image": "000.png", "prompt": "a", "seed": 3}, "seed is for a source made from a prompt"),
    ({"image": "000.png", "prompt": "a", "name": "../../a"}, "name must be a relative path"),
    ({"image": "000.png", "prompt": "a", "strenght": 1}, "got 'strenght'"),
    ("{not json", "a line must be a JSON object, got '{not json'"),
]
