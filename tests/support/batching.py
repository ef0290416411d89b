"""Working folders, jobs and manifests for the tests of mdp_lite.batch."""

import json
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mdp_lite.batch import manifest
from mdp_lite.eval.cases import iterate_scenes
from mdp_lite.eval.world import draw

Result = dict[str, Any]
Run = Callable[..., Result]


def fill_folder(folder: Path, checkpoint: Path, count: int) -> None:
    """Put synthetic pictures into folder/in, and the model under the name "model"."""
    (folder / "model").symlink_to(checkpoint)
    draw_pictures(folder / "in", count)


def draw_pictures(folder: Path, count: int) -> list[str]:
    """Draw held-back scenes to 000.png, 001.png and so on; returns these names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for k, (_, scene) in zip(range(count), iterate_scenes(), strict=False):
        names.append(f"{k:03d}.png")
        draw(scene).save(folder / names[-1])
    return names


def write_jsonl(path: Path, rows: list[Any]) -> str:
    """Write a .jsonl of rows; a row that is a text becomes a line unchanged. Returns the path."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return str(path)


def read_records(out: Path) -> list[Result]:
    """The lines of a manifest."""
    return [json.loads(line) for line in (out / manifest.NAME).read_text("utf-8").splitlines()]


def read_pictures(out: Path) -> dict[str, bytes]:
    """All files of an output but its manifest, by name."""
    paths = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(p.relative_to(out)): p.read_bytes() for p in paths if p.name != manifest.NAME}


def count_repeats(out: Path) -> set[int]:
    """How often edits are recorded as made: {1} if none was made twice."""
    every = [one for one in read_whole_lines(out) if one["status"] == "ok"]
    return set(Counter(one["key"] for one in every).values())


def read_whole_lines(out: Path) -> list[Result]:
    """The records of a manifest that may hold a line cut short by a kill."""
    lines = []
    for line in (out / manifest.NAME).read_bytes().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            assert b'"key"' in line or len(line) < 8  # ours, cut short
    return lines


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header has this size and which holds no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    sized = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = bytes(4) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + sized + data


def write_bad_files(folder: Path) -> None:
    """Write files that are no pictures, each in another way, beside a good 000.png."""
    good = (folder / "000.png").read_bytes()
    (folder / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("a red house")
    (folder / "bomb.png").write_bytes(png_header(20000, 20000))
    (folder / "large.png").write_bytes(png_header(9000, 9000))
    (folder / "folder.png").mkdir()


# Rows that can't be made, and a part of the error in each record. The pictures are 64x64.
BAD_ENTRIES: list[tuple[Any, str]] = [
    ({"image": "none.png", "prompt": "a"}, "got no such file: 'none.png'"),
    ({"image": "folder.png", "prompt": "a"}, "got a folder: 'folder.png'"),
    ({"image": "empty.png", "prompt": "a"}, "by its content, got something else: 'empty.png'"),
    ({"image": "text.png", "prompt": "a"}, "by its content, got something else: 'text.png'"),
    ({"image": "cut.png", "prompt": "a"}, "picture must be whole, got a damaged file"),
    ({"image": "bomb.png", "prompt": "a"}, "at most 64 megapixels, got far more: 'bomb.png'"),
    ({"image": "large.png", "prompt": "a"}, "at most 64 megapixels, got 9000x9000"),
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
