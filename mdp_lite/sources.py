"""Source paths as files: one safetensors file each, read back bit for bit or refused."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from mdp_lite import atomic, check
from mdp_lite.codec import Codec
from mdp_lite.frames import FITS, Frame, frame
from mdp_lite.identity import Origin, model_hash
from mdp_lite.invert import METHODS
from mdp_lite.results import Cost, Source
from mdp_lite.sample import Path as Steps
from mdp_lite.version import __version__

FORMAT = 1
HEADER = "mdp_lite.source"  # in the metadata: the settings, and a SHA-256 over them and all tensors
MOST_HEADER = 2**20  # bytes; ours take some thousand
NEEDED = {"x", "eps", "c", "t", "a", "b", "image"}  # and the picture that was inverted
SETTINGS = {
    "format": int,
    "mdp_lite": str,
    "torch": str,
    "model": str,
    "model_sha256": str,
    "dtype": str,
    "scheduler": dict,
    "prompt": str,
    "negative_prompt": str,
    "guidance_scale": float,
    "seed": int | None,
    "method": str,
    "frame": dict,
    "truncated": bool,
    "unet_rows": int,
    "unet_calls": int,
}

Settings = dict[str, Any]
Tensors = dict[str, Tensor]


def save(source: Source, path: str | Path) -> None:
    """Write a source, whole or not at all; the file holds all that edits read and no path."""
    path, data = check_name(path), to_file(source)
    try:
        atomic.write(path, data)
    except OSError as error:
        raise ValueError(f"{_short(path)} can't be written: {error.strerror}") from None


def to_file(source: Source) -> bytes:
    """What a source's file holds; the same source has the same bytes."""
    settings, tensors = _settings(source), _tensors(source)
    return to_bytes(tensors, {HEADER: header(settings, tensors)})


def header(settings: Settings, tensors: Tensors) -> str:
    """The settings with the sum that tells whether they and the tensors are as they were."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return json.dumps({"sha256": total.hexdigest(), **settings})


def load(path: str | Path, codec: Codec) -> Source:
    """The source in a file; one that is damaged or that this model did not make is a ValueError."""
    path = check_name(path)
    try:
        settings, tensors = _read(path)
        _check_origin(settings, codec.models.origin)
        check.one_of("method", settings["method"], ("generate", *METHODS))
        _check_tensors(tensors, settings["method"] != "generate", codec)
        return _source(settings, tensors, codec)
    except ValueError as error:
        raise ValueError(f"{_short(path)}: {error}") from None


def check_name(path: str | Path) -> Path:
    """The name of a source's file."""
    if not isinstance(path, str | Path) or Path(path).suffix != ".safetensors":
        raise ValueError(f"a source's file must end in .safetensors, got {str(path)!r}")
    return Path(path)


def _settings(source: Source) -> Settings:
    origin = source.origin
    return {
        "format": FORMAT,
        "mdp_lite": __version__,
        "torch": torch.__version__,
        "model": origin.name,
        "model_sha256": model_hash(origin),
        "dtype": _dtype(origin),
        "scheduler": asdict(origin.scheduler),
        "prompt": source.prompt,
        "negative_prompt": source.negative_prompt,
        "guidance_scale": source.guidance_scale,
        "seed": source.seed,
        "method": source.method,
        "frame": asdict(source.frame),
        "truncated": source.truncated,
        **source.cost._asdict(),
    }


def _tensors(source: Source) -> Tensors:
    tensors = source.path._asdict() | source.grid._asdict() | {"image": _pixels(source.image)}
    if source.method != "generate":
        tensors["picture"] = _pixels(source.picture)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _read(path: Path) -> tuple[Settings, Tensors]:
    """What a file holds, if it is whole; opened once, so that a new one can't be read half."""
    if not path.is_file():
        raise ValueError("no such file")
    try:
        with open(path, "rb") as file:
            size = file.read(8)
            head = file.read(min(int.from_bytes(size, "little"), MOST_HEADER))
            text = _metadata(head).get(HEADER)
            if not isinstance(text, str):
                raise ValueError("holds no source of mdp_lite")
            said = _parsed(text)
            tensors = from_bytes(size + head + file.read())
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from None
    except SafetensorError as error:
        raise ValueError(f"no readable safetensors file ({error})") from None
    settings = {key: value for key, value in said.items() if key != "sha256"}
    if text != header(settings, tensors):
        raise ValueError("damaged: its content does not have the SHA-256 that it was written with")
    return _checked(settings), tensors


def _metadata(head: bytes) -> Settings:
    try:
        found = json.loads(head)["__metadata__"]
    except (TypeError, KeyError):
        return {}
    except (ValueError, RecursionError):
        raise ValueError("no readable safetensors file") from None
    return found if isinstance(found, dict) else {}


def _parsed(text: str) -> Settings:
    """The settings of a file of this format."""
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise ValueError("damaged: its settings are no JSON object")
    if settings.get("format") != FORMAT:
        raise ValueError(f"has format {settings.get('format')!r}, this version reads {FORMAT}")
    return settings


def _checked(settings: Settings) -> Settings:
    """Settings that are all there, each of its type."""
    for name, kind in SETTINGS.items():
        if name not in settings or not _is_a(settings[name], kind):
            raise ValueError(f"{name} must be of type {kind}, got {settings.get(name)!r:.80}")
    return settings


def _is_a(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _check_origin(settings: Settings, origin: Origin) -> None:
    """The model, its grid and its precision: those of the editor, or a sentence that says which."""
    theirs, ours = settings["scheduler"], json.loads(json.dumps(asdict(origin.scheduler)))
    odd = [key for key in ours if theirs.get(key) != ours[key]]
    if odd or set(theirs) != set(ours):
        key = odd[0] if odd else sorted(set(theirs) ^ set(ours))[0]
        got, want = theirs.get(key), ours.get(key)
        raise ValueError(f"was made on another grid: {key} is {got!r}, the editor's {want!r}")
    if settings["dtype"] != _dtype(origin):
        got = settings["dtype"]
        raise ValueError(f"was made in {got}, the editor's models are in {_dtype(origin)}")
    made, own = settings["model_sha256"], model_hash(origin)
    if made != own:
        got = f"{settings['model']} (SHA-256 {made[:12]})"
        raise ValueError(
            f"was made by another model: {got}, the editor has {origin.name} ({own[:12]})"
        )


def _check_tensors(tensors: Tensors, inverted: bool, codec: Codec) -> None:
    """The tensors of a path of this model: shapes, types, finite, and the editor's own grid."""
    needed = NEEDED | {"picture"} if inverted else NEEDED
    if odd := sorted(needed ^ set(tensors)):
        raise ValueError(f"must hold {', '.join(sorted(needed))}, {odd[0]} is missing or unknown")
    n, models = len(tensors["t"]) if tensors["t"].ndim == 1 else 0, codec.models
    for name, own in codec.grid(n)._asdict().items():
        if not _equal(tensors[name], own.cpu()):
            raise ValueError(f"its grid's {name} is not the editor's for {n} steps")
    image = tensors["image"]
    height, width = image.shape[:2] if image.ndim == 3 else (0, 0)
    check.side("width", width, codec.factor)
    check.side("height", height, codec.factor)
    cell = (1, models.vae.config.latent_channels, height // codec.factor, width // codec.factor)
    c = (1, models.tokenizer.length, models.unet.config.cross_attention_dim)
    wanted = {
        "x": ((n + 1, *cell), torch.float64),
        "eps": ((n, *cell), torch.float64),
        "c": (c, models.origin.dtype),
        "image": ((height, width, 3), torch.uint8),
    }
    for name, (shape, dtype) in wanted.items():
        _check_tensor(name, tensors[name], shape, dtype)


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tensor.shape != shape or tensor.dtype != dtype:
        got = f"{tuple(tensor.shape)} in {tensor.dtype}"
        raise ValueError(f"{name} must be {shape} in {dtype}, got {got}")
    if not tensor.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")


def _source(settings: Settings, tensors: Tensors, codec: Codec) -> Source:
    """The source that was saved, on the editor's device."""
    if settings["seed"] is not None:
        check.seed(settings["seed"])
    rows, calls = settings["unet_rows"], settings["unet_calls"]
    if min(rows, calls) < 0:
        raise ValueError(f"cost must be 0 or more, got {rows} UNet rows in {calls} calls")
    image = _picture("image", tensors["image"])
    picture = _picture("picture", tensors["picture"]) if "picture" in tensors else image
    return Source(
        Steps(*(tensors[name].to(codec.device) for name in ("x", "eps", "c"))),
        codec.grid(len(tensors["t"])),
        check.text("prompt", settings["prompt"]),
        check.text("negative_prompt", settings["negative_prompt"]),
        check.guidance(settings["guidance_scale"]),
        image,
        picture,
        _frame(settings["frame"], picture, image),
        settings["seed"],
        settings["method"],
        settings["truncated"],
        Cost(rows, calls),
        codec.models.origin,
    )


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB")))


def _picture(name: str, pixels: Tensor) -> Image.Image:
    shape, (height, width) = tuple(pixels.shape), (*pixels.shape[:2], 0, 0)[:2]
    if shape != (height, width, 3) or pixels.dtype != torch.uint8 or 0 in shape:
        raise ValueError(f"{name} must be (h, w, 3) in uint8, got {shape} in {pixels.dtype}")
    return Image.fromarray(pixels.numpy())


def _frame(saved: Settings, picture: Image.Image, image: Image.Image) -> Frame:
    """How the picture was fitted, which follows from how and from the two sizes."""
    fit = check.one_of("fit", saved.get("fit"), FITS)
    own = frame(fit, picture.size, image.size)
    if saved != json.loads(json.dumps(asdict(own))):
        raise ValueError(f"frame must be that of {fit} from {picture.size} to {image.size}")
    return own


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def _dtype(origin: Origin) -> str:
    return str(origin.dtype).removeprefix("torch.")


def _short(path: Path) -> str:
    return "/".join(path.parts[-2:]).lstrip("/")
