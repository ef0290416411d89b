"""What every peer gives, and the work that all of them do: only numpy, for any environment."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
SINGLE = "single.safetensors"  # the model in one file, beside the job
GUIDANCE = 3.5  # the scale of edit-friendly inversion


class Side(Protocol):
    """A loaded model; arrays are float32, whatever it computes in.

    b rows, l tokens of d numbers, latents of y x cells, pictures of h x w pixels in [-1, 1].
    """

    def unet(self, x: Array, t: int, c: Array) -> Array:
        """x (b, 4, y, x), timestep t, c (b, l, d) -> predicted noise (b, 4, y, x)."""
        ...

    def text(self, ids: NDArray[np.int64]) -> Array:
        """Token ids (b, l) -> c (b, l, d)."""
        ...

    def encode(self, pixels: Array) -> Array:
        """Pixels (1, 3, h, w) -> scaled latent (1, 4, y, x)."""
        ...

    def decode(self, latent: Array) -> Array:
        """Scaled latent (1, 4, y, x) -> pixels (1, 3, h, w)."""
        ...


class Loop(NamedTuple):
    """The UNet calls of an edit of a picture: timesteps, and abar at and after each of them.

    The first `recorded` calls find the source's noise, each from its own noisy latent; the others
    are the steps of the edit.
    """

    t: list[int]
    a: list[float]
    b: list[float]
    recorded: int
    guidance: float


class Job(NamedTuple):
    """The inputs of all measurements, and how an edit goes."""

    x: Array  # (4, 4, y, x)
    t: int
    c: Array  # (4, l, d): null and prompt in turns
    ids: NDArray[np.int64]  # (3, l): null, source, target
    pixels: Array
    noise: Array  # (1, 4, y, x), what torch.randn gives for seed 0
    sigmas: list[float]  # noise levels of a picture from that noise; the last is 0
    times: list[int]  # the timesteps of all but the last
    loop: Loop


def read_job(folder: Path) -> Job:
    """The job that a folder holds as job.npz."""
    with np.load(folder / "job.npz") as file:
        parts: dict[str, Any] = {name: file[name] for name in file.files}
    loop = Loop(*(parts.pop(f"loop_{name}").tolist() for name in Loop._fields))
    lists = {name: parts.pop(name).tolist() for name in ("t", "sigmas", "times")}
    return Job(loop=loop, **lists, **parts)


def write_job(folder: Path, job: Job) -> None:
    """Write job.npz into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    loop = {f"loop_{name}": np.array(value) for name, value in job.loop._asdict().items()}
    np.savez(folder / "job.npz", **{k: v for k, v in job._asdict().items() if k != "loop"}, **loop)


def run_work(side: Side, job: Job, work: str) -> Array:
    """One piece of work: "step 1", "step 2", "step 4", "encode", "decode", "edit"..."""
    if work.startswith("step"):
        rows = int(work.split()[1])
        c = job.c[1:2] if rows == 1 else job.c[:rows]
        return side.unet(job.x[:rows], job.t, c)
    if work == "text":
        return side.text(job.ids)
    if work == "encode":
        return side.encode(job.pixels)
    if work == "decode":
        return side.decode(job.x[:1])
    if work == "edit":
        return edit(side, job)
    if work == "picture":
        return make_picture(side, job)
    if work == "editor":  # only mdp_lite has this one
        return side.edit_picture(job)  # type: ignore[attr-defined]
    raise ValueError(f"no such work: {work}")


def edit(side: Side, job: Job) -> Array:
    """An edit of a picture, the models' work of it: its pixels (1, 3, h, w).

    Text of three prompts, encode, a guided call at each level of the source (edit-friendly
    inversion needs no more), the guided steps of the edit, and decodes of source and edit.
    """
    c, z, loop = side.text(job.ids), side.encode(job.pixels), job.loop
    source, target = c[[0, 1]], c[[0, 2]]
    for t, a in zip(loop.t[: loop.recorded], loop.a[: loop.recorded], strict=True):
        guide(side, a**0.5 * z + (1 - a) ** 0.5 * job.noise, t, source, loop.guidance)
    side.decode(z)
    rest = slice(loop.recorded, None)
    levels = list(zip(loop.t[rest], loop.a[rest], loop.b[rest], strict=True))
    x = levels[0][1] ** 0.5 * z + (1 - levels[0][1]) ** 0.5 * job.noise
    for t, a, b in levels:
        eps = guide(side, x, t, target, loop.guidance)
        x = b**0.5 * (x - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - b) ** 0.5 * eps  # DDIM
    return side.decode(x.astype(np.float32))


def guide(side: Side, x: Array, t: int, c: Array, g: float) -> Array:
    """Classifier-free guidance, both rows in one call; c is the null row and the prompt's."""
    x = x.astype(np.float32)
    null, eps = np.split(side.unet(np.concatenate([x, x]), t, c), 2)
    return null + g * (eps - null)


def make_picture(side: Side, job: Job) -> Array:
    """A picture of the empty prompt by Euler's steps, clipped and rounded to 8 bits."""
    x = job.noise * job.sigmas[0]
    for t, sigma, after in zip(job.times, job.sigmas[:-1], job.sigmas[1:], strict=True):
        scaled = (x / (1 + sigma**2) ** 0.5).astype(np.float32)
        x = x + (after - sigma) * side.unet(scaled, t, job.c[:1])
    pixels = side.decode(x.astype(np.float32))
    return (np.round((pixels.clip(-1, 1) + 1) * 127.5) / 127.5 - 1).astype(np.float32)
