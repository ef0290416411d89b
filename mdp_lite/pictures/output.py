"""Pictures as files: PNG, JPEG and WebP, each with the settings and no other metadata."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from mdp_lite.pictures import images

OUTPUT_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def picture_bytes(
    image: Image.Image, suffix: str, settings: dict[str, Any], quality: int | None = None
) -> bytes:
    """The file of a picture in the format of a suffix of OUTPUT_SUFFIXES."""
    out = io.BytesIO()
    if suffix.lower() == ".png":
        images.save_png(image, out, settings)
    else:
        kind = "WEBP" if suffix.lower() == ".webp" else "JPEG"
        image.convert("RGB").save(out, kind, quality=quality or 95)
    return out.getvalue()


def write_picture(
    image: Image.Image, path: str | Path, settings: dict[str, Any], quality: int | None = None
) -> None:
    """Write a picture in the format of the path's suffix."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(picture_bytes(image, Path(path).suffix, settings, quality))
