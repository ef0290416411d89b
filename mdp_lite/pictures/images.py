"""Pictures in and out: checks before decoding, modes, tensors, PNG files with settings."""

import errno
import json
import math
import os
import struct
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from mdp_lite.names import BadInput

FORMATS = ["PNG", "JPEG", "WEBP"]  # by content; no other parser of Pillow is used
MAX_SIDE = 4096  # at most 4096 x 4096 pixels in all; more is a decompression bomb
DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # 16-bit grey, which convert("RGB") would clip
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
KEY = "mdp_lite"  # the name of our PNG chunk
Picture = Image.Image | str | Path | np.ndarray


def load_picture(value: Any) -> Image.Image:
    """A PIL image, the picture at a path, or an array (h, w), (h, w, 3) or (h, w, 4) of uint8."""
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, str | Path):
        return open_picture(value)
    if not isinstance(value, np.ndarray):
        got = type(value).__name__
        raise BadInput(f"image must be a PIL image, a path or a numpy array, got {got}")
    if value.dtype != np.uint8 or not (value.ndim == 2 or value.shape[2:] in ((3,), (4,))):
        want = "(h, w), (h, w, 3) or (h, w, 4) of uint8"
        raise BadInput(f"image must be an array {want}, got {value.shape} of {value.dtype}")
    return Image.fromarray(value)


def open_picture(path: str | Path, name: str | None = None) -> Image.Image:
    """Decode a still PNG, JPEG or WebP file; raises BadInput for others, before any decoding.

    name is used in the error, by default the path.
    """
    path, name = Path(path), repr(name or str(path))
    if not path.is_file():
        got = "a folder" if path.is_dir() else "a device" if path.exists() else "no such file"
        raise BadInput(f"picture must be a PNG, JPEG or WebP file, got {got}: {name}")
    try:
        if path.stat().st_size == 0:
            raise BadInput(f"picture must be a PNG, JPEG or WebP file, got 0 bytes: {name}")
        with path.open("rb") as file:
            return decode_picture(file, name)
    except PermissionError:
        raise BadInput(f"picture must be readable, got no permission: {name}") from None


def decode_picture(file: Any, name: str, max_pixels: int | None = None) -> Image.Image:
    """Decode the still picture in an open file; raises BadInput for others, before any decoding.

    max_pixels is the largest width times height, by default MAX_SIDE squared.
    """
    max_pixels = MAX_SIDE**2 if max_pixels is None else max_pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged EXIF, which upright ignores
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return _decode(file, name, max_pixels)


def _decode(file: Any, name: str, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        want = "picture must be a PNG, JPEG or WebP file by its content"
        raise BadInput(f"{want}, got something else: {name}") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadInput(f"{_describe_limit(max_pixels)}, got far more: {name}") from None
    except DAMAGE as error:
        raise BadInput(_describe_damage(name, error)) from None
    if image.width * image.height > max_pixels:
        raise BadInput(f"{_describe_limit(max_pixels)}, got {image.width}x{image.height}: {name}")
    # A phone's JPEG may hold a second picture (MPO); the first is the photograph.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise BadInput(f"picture must be a still one, got {frames} frames: {name}")
    try:
        image.load()
    except DAMAGE as error:
        raise BadInput(_describe_damage(name, error)) from None
    return image


def _describe_limit(max_pixels: int) -> str:
    cap = f"{MAX_SIDE}x{MAX_SIDE}" if max_pixels == MAX_SIDE**2 else f"{max_pixels:,}"
    return f"picture must have at most {cap} pixels"


def _describe_damage(name: str, error: Exception) -> str:
    return f"picture must be whole, got a damaged file ({' '.join(str(error).split())}): {name}"


def rgb(image: Image.Image, name: str = "image", ground: str = "white") -> Image.Image:
    """A picture of any mode as upright RGB; ground is the colour behind transparency."""
    if 0 in image.size:
        raise BadInput(f"{name} must have at least one pixel, got {image.width}x{image.height}")
    if image.width * image.height > MAX_SIDE**2:
        got = f"{image.width}x{image.height}"
        raise BadInput(f"{name} must have at most {MAX_SIDE}x{MAX_SIDE} pixels, got {got}")
    try:
        image.load()  # a picture that the caller opened may not be read yet
    except DAMAGE as error:
        raise BadInput(f"{name} must be whole, got a damaged one ({error})") from None
    return to_rgb(upright(image), ground, name)


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture by its EXIF orientation; unreadable EXIF is ignored."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ImageOps.exif_transpose(image)
    except (*DAMAGE, TypeError, KeyError):
        return image


def to_rgb(image: Image.Image, ground: str = "white", name: str = "image") -> Image.Image:
    """Any mode to RGB: transparency shows the ground, 16-bit grey is rescaled, not clipped."""
    if image.mode in DEEP:
        grey = np.rint(np.asarray(image).astype(np.float64) / 257).clip(0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode in ("F", "LAB"):
        raise BadInput(f"{name} must be RGB, RGBA, L, P, CMYK or alike, got mode {image.mode}")
    if not image.has_transparency_data:
        return image.convert("RGB")
    below = Image.new("RGBA", image.size, ground)
    return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")


def to_tensor(image: Image.Image) -> Tensor:
    """RGB picture -> (1, 3, h, w) float32 in [-1, 1]."""
    pixels = np.array(to_rgb(image), dtype=np.float32) / 255
    return rearrange(2 * torch.from_numpy(pixels) - 1, "h w c -> 1 c h w").contiguous()


def to_image(picture: Tensor) -> Image.Image:
    """(1, 3, h, w), about [-1, 1] -> RGB picture, rounded as diffusers does."""
    if picture.ndim != 4 or picture.shape[:2] != (1, 3):
        raise BadInput(f"picture must have shape (1, 3, h, w), got {tuple(picture.shape)}")
    if not picture.isfinite().all():
        raise BadInput(
            f"picture must be finite, got NaN or infinity from the model in {picture.dtype}"
        )
    pixels = (picture.detach().float() / 2 + 0.5).clamp(0, 1)[0]
    levels = (255 * rearrange(pixels, "c h w -> h w c")).cpu().numpy()
    return Image.fromarray(np.rint(levels).astype(np.uint8))  # torch's round would start OpenMP


def psnr(image: Image.Image, other: Image.Image) -> float:
    """10 log10(255^2 / mean squared difference) in dB of two RGB pictures; infinity if equal."""
    a, b = (np.asarray(picture, dtype=np.float64) for picture in (image, other))
    error = float(((a - b) ** 2).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def check_output(path: Path, picture: str | Path | None) -> None:
    """Raises BadInput if a file can't be written there, or is the input; leaves no trace."""
    name = repr(str(path))
    try:
        if path.is_dir():
            raise BadInput(f"output must be a file, got the folder {name}")
        if picture is not None and path.exists() and path.samefile(picture):
            raise BadInput(f"output must not be the input picture, got {name}")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise BadInput(f"output must be writable, got {error.strerror!r} for {name}") from None


def save_png(image: Image.Image, path: str | Path, settings: dict[str, Any]) -> None:
    """Write the pixels and the settings, but no other metadata of the image (EXIF, ICC)."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    strip_metadata(image).save(path, "PNG", pnginfo=chunks(settings))


def strip_metadata(image: Image.Image) -> Image.Image:
    """A copy with the pixels only."""
    return Image.frombytes(image.mode, image.size, image.tobytes())


def chunks(settings: dict[str, Any]) -> PngImagePlugin.PngInfo:
    """The settings as two text chunks of a PNG.

    `parameters` is for AUTOMATIC1111 and galleries, `mdp_lite` is one JSON object.
    """
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", parameters(settings))
    text.add_text(KEY, json.dumps(settings, allow_nan=False))
    return text


def parameters(settings: dict[str, Any]) -> str:
    """The settings in AUTOMATIC1111's form: prompt, negative prompt, one line with the others."""
    names = {
        "num_inference_steps": "Steps",
        "sampler": "Sampler",
        "guidance_scale": "CFG scale",
        "seed": "Seed",
        "size": "Size",
        "model": "Model",
        "strength": "Denoising strength",
        "version": "Version",
    }
    lines = [str(settings.get("prompt", ""))]
    if settings.get("negative_prompt"):
        lines.append(f"Negative prompt: {settings['negative_prompt']}")
    known = {label: settings.get(key) for key, label in names.items()}
    lines.append(", ".join(f"{k}: {v}" for k, v in known.items() if v is not None))
    return "\n".join(lines)


def read_settings(path: str | Path, name: str | None = None) -> dict[str, Any]:
    """The settings that save_png wrote into a picture; raises BadInput if there are none."""
    text = open_picture(path, name).info.get(KEY)
    try:
        settings = json.loads(text or "")
    except (TypeError, json.JSONDecodeError):
        settings = None
    if not isinstance(settings, dict):
        raise BadInput(f"picture must hold mdp_lite settings, got none: {(name or str(path))!r}")
    return settings
