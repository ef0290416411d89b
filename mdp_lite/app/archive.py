"""All results of a visit as one zip file: the pictures, and their settings as JSON."""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from mdp_lite.app.history import History, HistoryItem
from mdp_lite.names import BadInput
from mdp_lite.pictures import images

CHUNK = 2**18  # bytes of a picture that are read at once


def stream_archive(history: History) -> Iterator[bytes]:
    """Yield the zip piece by piece, so that it is never whole in memory or on the disk.

    A result that is deleted meanwhile is left out.
    """
    buffer, entries = _Buffer(), list[dict[str, Any]]()
    # Deflated, though PNGs don't get smaller: readers of a stream need to see where each file ends.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for item in history:
            try:
                settings = images.read_settings(item.edit_file, item.file_name)
                picture = item.edit_file.open("rb")
            except (BadInput, OSError):
                continue
            with picture, archive.open(item.file_name, "w") as entry:
                while data := picture.read(CHUNK):
                    entry.write(data)
                    yield buffer.take()
            entries.append(_describe_item(item, settings))
        archive.writestr("settings.json", json.dumps(entries, indent=1))
    yield buffer.take()


def _describe_item(item: HistoryItem, settings: dict[str, Any]) -> dict[str, Any]:
    """A result's entry in settings.json."""
    return {
        "file": item.file_name, "picture": item.name, "liked": item.liked,
        "seconds": round(item.seconds, 3), "settings": settings,
    }  # fmt: skip


class _Buffer(io.RawIOBase):
    """A file that can only be written; what was written is taken out of it."""

    def __init__(self) -> None:
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        """What was written since the last take."""
        data = bytes(self._data)
        self._data.clear()
        return data
