"""Pictures in and out: checks before decoding, modes, tensors, PNG files with settings."""

import io
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import Tensor

from mdp_lite.files import atomic
from mdp_lite.names import BadInput
from mdp_lite.pictures import colour
from mdp_lite.pictures.alpha import ALPHA, restore_alpha
from mdp_lite.pictures.decode import DAMAGE, MAX_PIXELS, check_pixels
from mdp_lite.pictures.decode import decode_picture as decode_picture
from mdp_lite.pictures.decode import measure_picture as measure_picture
from mdp_lite.pictures.decode import open_picture as open_picture

KEY = "mdp_lite"  # the name of our PNG chunk
CHANGES = "mdp_lite_changes"  # in the info of a picture: see describe_changes
ORIENTATION, EXIF_TEXT = 0x0112, 0x010E  # tags of EXIF; the text is ImageDescription
EXIF_KEYS = (  # of info: where Pillow finds an orientation
    "exif", "Raw profile type exif", "Raw profile type APP1", "xmp", "XML:com.adobe.xmp"
)  # fmt: skip
PNG_MODES = ("1", "L", "LA", "RGB", "RGBA", "I;16")  # that a PNG has without a palette
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Picture = Image.Image | str | Path | bytes | NDArray[Any]
Traces = dict[str | tuple[int, int], Any]  # the type of a picture's info


def load_picture(value: Any) -> Image.Image:
    """A PIL image, a path, the bytes of a file, or an array (h, w[, 3 or 4]) of uint8."""
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, str | Path):
        return open_picture(value)
    if isinstance(value, bytes):
        return decode_picture(io.BytesIO(value), f"{len(value)} bytes")
    if not isinstance(value, np.ndarray):
        want, got = "a PIL image, a path, bytes or a numpy array", type(value).__name__
        read = ": give what its read() returns" if hasattr(value, "read") else ""
        raise BadInput(f"image must be {want}, got {got}{read}")
    if value.dtype != np.uint8 or not (value.ndim == 2 or value.shape[2:] in ((3,), (4,))):
        want = "(h, w), (h, w, 3) or (h, w, 4) of uint8"
        raise BadInput(f"image must be an array {want}, got {value.shape} of {value.dtype}")
    return Image.fromarray(value)


def rgb(image: Image.Image, name: str = "image", ground: str = "white") -> Image.Image:
    """A picture of any mode and colour space as upright sRGB, without its metadata.

    ground is the colour behind transparency. describe_changes says what was changed; the alpha
    channel stays in info, and save_png writes it again.
    """
    if 0 in image.size:
        raise BadInput(f"{name} must have at least one pixel, got {image.width}x{image.height}")
    check_pixels(image, MAX_PIXELS, name)
    try:
        image.load()  # a picture that the caller opened may not be read yet
        turned = upright(image)
        converted, change = colour.to_srgb(turned)
    except DAMAGE as error:
        raise BadInput(f"{name} must be whole, got a damaged one ({error})") from None
    flat = to_rgb(converted, ground, name)
    flat.info = _collect_traces(image, converted, change)
    return flat


def find_traces(picture: Image.Image) -> Traces:
    """What rgb noted in the info of a picture: its alpha, and what was changed."""
    return {key: picture.info[key] for key in (ALPHA, CHANGES) if key in picture.info}


def _collect_traces(image: Image.Image, upright_image: Image.Image, change: str | None) -> Traces:
    """The same, of a picture that becomes RGB now."""
    traces = find_traces(image)
    if upright_image.has_transparency_data and upright_image.mode not in colour.DEEP:
        alpha = colour.to_rgba(upright_image).getchannel("A")
        traces |= {} if alpha.getextrema() == (255, 255) else {ALPHA: alpha}
    return traces | ({CHANGES: (change,)} if change else {})


def describe_changes(picture: Image.Image) -> tuple[str, ...]:
    """Sentences on what rgb changed in a picture that people may see, such as its colour space."""
    return tuple(picture.info.get(CHANGES, ()))


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture by its EXIF orientation; unreadable EXIF is ignored."""
    try:
        with warnings.catch_warnings(action="ignore"):
            turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except DAMAGE:
        return image
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info = {key: value for key, value in image.info.items() if key not in EXIF_KEYS}
    return turned


def to_rgb(image: Image.Image, ground: str = "white", name: str = "image") -> Image.Image:
    """Any mode to RGB: transparency shows the ground, 16-bit grey is rescaled, not clipped."""
    if image.mode in colour.DEEP:
        return colour.scale_deep(image).convert("RGB")
    if image.mode in ("F", "LAB"):
        raise BadInput(f"{name} must be RGB, RGBA, L, P, CMYK or alike, got mode {image.mode}")
    if not image.has_transparency_data:
        return image.convert("RGB")
    below = Image.new("RGBA", image.size, ground)
    return Image.alpha_composite(below, colour.to_rgba(image)).convert("RGB")


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


def from_bytes(pixels: Tensor) -> list[Image.Image]:
    """(b, h, w, 3) uint8 on the CPU -> RGB pictures."""
    return [Image.fromarray(one) for one in pixels.numpy()]


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
        if picture is not None and path.is_file() and _is_same(path, Path(picture)):
            raise BadInput(f"output must not be the input picture, got {name}")
        atomic.check(path)
    except OSError as error:
        raise BadInput(f"output must be writable, got {error.strerror!r} for {name}") from None


def _is_same(path: Path, picture: Path) -> bool:
    return picture.exists() and path.samefile(picture)


def save_png(image: Image.Image, path: str | Path, settings: dict[str, Any] | None) -> None:
    """Write the pixels and the settings, but no other metadata of the image (EXIF, ICC).

    The file says that it is sRGB, and has the alpha channel of the picture that was read. Raises
    CannotWrite; then an older file is as it was.
    """
    atomic.write(Path(path), png_bytes(image, settings))


def png_bytes(image: Image.Image, settings: dict[str, Any] | None) -> bytes:
    """The content of the file that save_png writes."""
    out, whole = io.BytesIO(), restore_alpha(image)
    if whole.mode not in PNG_MODES:
        whole = whole.convert("RGBA") if whole.has_transparency_data else to_rgb(whole)
    strip_metadata(whole).save(out, "PNG", pnginfo=chunks(settings))
    return out.getvalue()


def strip_metadata(image: Image.Image) -> Image.Image:
    """A copy with the pixels only."""
    return Image.frombytes(image.mode, image.size, image.tobytes())


def chunks(settings: dict[str, Any] | None) -> PngImagePlugin.PngInfo:
    """The chunks of a PNG: that it is sRGB, and the settings as two texts if there are any.

    `parameters` is for AUTOMATIC1111 and galleries, `mdp_lite` is one JSON object.
    """
    info = PngImagePlugin.PngInfo()
    info.add(b"sRGB", b"\0")  # perceptual, as all writers say
    if settings is not None:
        info.add_text("parameters", parameters(settings))
        info.add_text(KEY, json.dumps(settings, allow_nan=False))
    return info


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
    """The settings in a PNG, JPEG or WebP that mdp_lite wrote; raises BadInput if it has none."""
    image = open_picture(path, name)
    try:
        settings = json.loads(image.info[KEY]) if KEY in image.info else _read_exif(image)[KEY]
    except (*DAMAGE, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise BadInput(f"picture must hold mdp_lite settings, got none: {(name or str(path))!r}")
    return settings


def _read_exif(image: Image.Image) -> dict[str, Any]:
    """The JSON object in the description of a picture."""
    with warnings.catch_warnings(action="ignore"):
        return json.loads(image.getexif()[EXIF_TEXT])
