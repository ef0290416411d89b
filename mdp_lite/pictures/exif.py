"""Settings in the EXIF of JPEG and WebP files: the same two texts as in a PNG."""

import json
from typing import Any

from PIL import Image

from mdp_lite.pictures.images import EXIF_TEXT, KEY, parameters

MAX_EXIF = 65_533 - 6  # bytes that fit into a segment of a JPEG, after its length and "Exif"
MAX_TEXT = 4096  # characters of a text, if not all settings fit
USER_COMMENT, EXIF = 0x9286, 0x8769  # tags


def build_exif(settings: dict[str, Any]) -> bytes:
    """UserComment for AUTOMATIC1111 and galleries, and one JSON object as the description."""
    exif = Image.Exif()
    exif[EXIF_TEXT] = json.dumps({KEY: settings}, allow_nan=False)
    text = parameters(settings).encode("utf-16-be", "surrogatepass")
    exif.get_ifd(EXIF)[USER_COMMENT] = b"UNICODE\x00" + text
    return exif.tobytes()


def fit_exif(settings: dict[str, Any]) -> bytes:
    """The settings as EXIF of at most MAX_EXIF bytes; texts that are too long for it are cut.

    Then the settings say so: "shortened" is true.
    """
    data, limit = build_exif(settings), MAX_TEXT
    while len(data) > MAX_EXIF and limit:
        data, limit = build_exif({**shorten(settings, limit), "shortened": True}), limit // 2
    return data if len(data) <= MAX_EXIF else b""


def shorten(value: Any, limit: int) -> Any:
    """JSON whose texts and lists have at most so many characters and entries."""
    if isinstance(value, dict):
        return {key: shorten(one, limit) for key, one in value.items()}
    if isinstance(value, str | list):
        return value[:limit]
    return value
