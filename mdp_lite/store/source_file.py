"""Saved sources: one safetensors file each, read back bit for bit or refused."""

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from mdp_lite.checkpoint.identity import Origin, model_hash
from mdp_lite.files import atomic
from mdp_lite.files.probe import shorten
from mdp_lite.method.samplers import adds_noise, build_grid
from mdp_lite.method.schedule import Grid
from mdp_lite.models.config import describe_scheduler
from mdp_lite.names import FITS, BadInput
from mdp_lite.pictures.fit import Fit, plan_fit
from mdp_lite.pipeline import check
from mdp_lite.pipeline.result import Cost, Source
from mdp_lite.pipeline.runner import ModelRunner
from mdp_lite.pipeline.xl import from_settings
from mdp_lite.store.precision import find_wide, place_path
from mdp_lite.store.source_header import (
    FORMAT,
    HEADER,
    MAX_HEADER,
    Settings,
    Tensors,
    check_settings,
    header,
    parse_settings,
    read_inversion,
    read_metadata,
    read_tuning,
)
from mdp_lite.version import __version__

REQUIRED = {"x", "eps", "c", "t", "a", "b", "image"}  # and the picture that was inverted
OPTIONAL = {"direction"}
OF_PICTURES = {"null", "noise", "mask"}  # these may be there, too, if a picture was inverted


def save(source: Source, path: str | Path) -> None:
    """Write a source, whole or not at all: all that edits read, and no file path.

    Raises CannotWrite if the disk is full, say; then an older file is as it was.
    """
    atomic.write(check_name(path), to_file_bytes(source))


def to_file_bytes(source: Source) -> bytes:
    """The content of a source's file; the same source always has the same bytes."""
    settings, tensors = _settings(source), _tensors(source)
    return to_bytes(tensors, {HEADER: header(settings, tensors)})


def load(path: str | Path, runner: ModelRunner) -> Source:
    """The source in a file. Raises BadInput if it is damaged or was made by another model."""
    path = check_name(path)
    try:
        if not path.is_file():
            raise BadInput("no such file")
        with open(path, "rb") as file:
            return _load(file, runner)
    except OSError as error:
        raise BadInput(f"{_short(path)}: can't be read: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"{_short(path)}: {error}") from None


def load_bytes(content: bytes, name: str, runner: ModelRunner) -> Source:
    """The same from the content of a file, which errors call by name."""
    try:
        return _load(io.BytesIO(content), runner)
    except ValueError as error:
        raise BadInput(f"{name}: {error}") from None


def _load(file: BinaryIO, runner: ModelRunner) -> Source:
    settings, tensors = _read(file)
    _check_origin(settings, runner.models.origin)
    _check_tensors(tensors, settings["inversion"] is not None, runner)
    return _source(settings, tensors, runner)


def check_name(path: str | Path) -> Path:
    """The path of a source's file, if its name can be one."""
    if not isinstance(path, str | Path) or Path(path).suffix != ".safetensors":
        raise BadInput(f"a source's file must end in .safetensors, got {shorten(path)}")
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
        "scheduler": describe_scheduler(origin.scheduler),
        "prompt": source.prompt,
        "negative_prompt": source.negative_prompt,
        "xl": source.xl.describe(),
        "guidance_scale": source.guidance_scale,
        **_list_sampling(source),
        "seed": source.seed,
        "inversion": source.inversion and asdict(source.inversion),
        "tuning": [list(one) for one in source.tuning],
        "fit": asdict(source.fit),
        "truncated": source.truncated,
        **source.cost._asdict(),
    }


def _list_sampling(source: Source) -> Settings:
    """The guidance scale of the picture, if its noise was recorded at another one."""
    sampled = source.sampling_guidance
    return {} if sampled is None else {"sampling_guidance": sampled}


def _tensors(source: Source) -> Tensors:
    path = {name: part for name, part in source.path._asdict().items() if part is not None}
    tensors = path | _columns(source.grid) | {"image": _pixels(source.image)}
    if source.inversion is not None:
        tensors["picture"] = _pixels(source.picture)
    if source.mask is not None:
        tensors["mask"] = torch.from_numpy(np.array(source.mask))
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _columns(grid: Grid) -> Tensors:
    return {name: column for name, column in grid._asdict().items() if column is not None}


def _read(file: BinaryIO) -> tuple[Settings, Tensors]:
    """The content of a file, if it is whole. It is opened only once, as others may replace it."""
    size = file.read(8)
    head = file.read(min(int.from_bytes(size, "little"), MAX_HEADER))
    text = read_metadata(head).get(HEADER)
    if not isinstance(text, str):
        raise BadInput("holds no source of mdp_lite")
    stated = parse_settings(text)
    try:
        tensors = from_bytes(size + head + file.read())
    except SafetensorError as error:
        raise BadInput(f"no readable safetensors file ({error})") from None
    settings = {key: value for key, value in stated.items() if key != "sha256"}
    if text != header(settings, tensors):
        raise BadInput("damaged: its content does not match the SHA-256 in its header")
    return check_settings(settings), tensors


def _check_origin(settings: Settings, origin: Origin) -> None:
    """Raise BadInput unless the model, its grid and its precision are those of the editor."""
    theirs, ours = (
        settings["scheduler"],
        json.loads(json.dumps(describe_scheduler(origin.scheduler))),
    )
    odd = [key for key in ours if theirs.get(key) != ours[key]]
    if odd or set(theirs) != set(ours):
        key = odd[0] if odd else sorted(set(theirs) ^ set(ours))[0]
        got, want = theirs.get(key), ours.get(key)
        raise BadInput(f"was made on another grid: {key} is {got!r}, the editor's {want!r}")
    if settings["dtype"] != _dtype(origin):
        got = settings["dtype"]
        raise BadInput(f"was made in {got}, the editor's models are in {_dtype(origin)}")
    theirs, own = settings["model_sha256"], model_hash(origin)
    if theirs != own:
        got = f"{settings['model']} (SHA-256 {theirs[:12]})"
        raise BadInput(
            f"was made by another model: {got}, the editor has {origin.name} ({own[:12]})"
        )


def _check_tensors(tensors: Tensors, inverted: bool, runner: ModelRunner) -> None:
    """Raise BadInput unless these are finite tensors of a path of this model, on its own grid."""
    scheduler, k = runner.models.scheduler, runner.models.unet.config.constant_channels
    needed = REQUIRED | {"picture"} if inverted else REQUIRED
    needed = needed | ({"channels"} if k else set())  # of an inpainting model
    needed = needed | ({"skip"} if scheduler.sampler == "lcm" else set())
    needed = needed | ({"via"} if scheduler.sampler == "tcd" else set())
    needed = needed | ({"direct"} if scheduler.prediction_type == "sample" else set())
    needed = needed | ({"noise"} if not inverted and adds_noise(scheduler) else set())
    optional = OPTIONAL | (OF_PICTURES if inverted else set())
    if odd := sorted((needed ^ set(tensors)) - optional):
        raise BadInput(f"must hold {', '.join(sorted(needed))}, {odd[0]} is missing or unknown")
    n, models = len(tensors["t"]) if tensors["t"].ndim == 1 else 0, runner.models
    wide, grid = find_wide(tensors), build_grid(scheduler, n)
    for name, own in _columns(grid.to(tensors["a"].device, wide)).items():
        if not _equal(tensors[name], own):
            raise BadInput(f"its grid's {name} is not the editor's for {n} steps")
    image = tensors["image"]
    height, width = image.shape[:2] if image.ndim == 3 else (0, 0)
    check.side("width", width, runner.factor)
    check.side("height", height, runner.factor)
    cell = (1, models.vae.config.latent_channels, height // runner.factor, width // runner.factor)
    c = (1, *models.c_shape)
    wanted = {
        "x": ((n + 1, *cell), wide),
        "eps": ((n, *cell), wide),
        "c": (c, models.origin.dtype),
        "image": ((height, width, 3), torch.uint8),
        "null": ((n, *c), torch.float32),
        "noise": ((n, *cell), wide),
        "direction": ((n, *cell), wide),
        "channels": ((1, k, *cell[2:]), wide),
    }
    if "mask" in tensors:
        wanted["mask"] = (tuple(tensors["picture"].shape[:2]), torch.uint8)
    for name in wanted.keys() & tensors.keys():
        _check_tensor(name, tensors[name], *wanted[name])


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tensor.shape != shape or tensor.dtype != dtype:
        got = f"{tuple(tensor.shape)} in {tensor.dtype}"
        raise BadInput(f"{name} must be {shape} in {dtype}, got {got}")
    if not tensor.isfinite().all():
        raise BadInput(f"{name} must be finite, got NaN or infinity")


def _source(settings: Settings, tensors: Tensors, runner: ModelRunner) -> Source:
    """The source that was saved, on the editor's device."""
    if settings["seed"] is not None:
        check.seed(settings["seed"])
    cost = Cost(*(settings[name] for name in Cost._fields))
    if min(cost) < 0:
        raise BadInput(f"cost must be 0 or more, got {cost.unet_rows} UNet rows")
    image, sampled = _picture("image", tensors["image"]), settings.get("sampling_guidance")
    picture = _picture("picture", tensors["picture"]) if "picture" in tensors else image
    return Source(
        place_path(tensors, runner),
        runner.grid(len(tensors["t"])),
        check.text("prompt", settings["prompt"]),
        check.text("negative_prompt", settings["negative_prompt"]),
        check.guidance(settings["guidance_scale"]),
        image,
        picture,
        _read_fit(settings["fit"], picture, image),
        settings["seed"],
        read_inversion(settings["inversion"], len(tensors["t"])),
        settings["truncated"],
        cost,
        runner.models.origin,
        read_tuning(settings["tuning"]),
        Image.fromarray(tensors["mask"].numpy()) if "mask" in tensors else None,
        from_settings(settings["xl"]),
        None if sampled is None else check.guidance(sampled),
    )


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB")))


def _picture(name: str, pixels: Tensor) -> Image.Image:
    shape, (height, width) = tuple(pixels.shape), (*pixels.shape[:2], 0, 0)[:2]
    if shape != (height, width, 3) or pixels.dtype != torch.uint8 or 0 in shape:
        raise BadInput(f"{name} must be (h, w, 3) in uint8, got {shape} in {pixels.dtype}")
    return Image.fromarray(pixels.numpy())


def _read_fit(saved: Settings, picture: Image.Image, image: Image.Image) -> Fit:
    """How the picture was fitted; it follows from the mode and the two sizes."""
    mode = check.one_of("fit", saved.get("mode"), FITS)
    own = plan_fit(mode, picture.size, image.size)
    if saved != json.loads(json.dumps(asdict(own))):
        raise BadInput(f"fit must be that of {mode} from {picture.size} to {image.size}")
    return own


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def _dtype(origin: Origin) -> str:
    return str(origin.dtype).removeprefix("torch.")


def _short(path: Path) -> str:
    return shorten("/".join(path.parts[-2:]).lstrip("/"))[1:-1]
