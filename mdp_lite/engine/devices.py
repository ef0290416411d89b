"""The kinds of devices: which are there, the dtype of wide numbers on each, waiting, memory."""

import torch

from mdp_lite.names import BadInput

KINDS = ("cpu", "cuda", "mps")  # mps is Apple's GPU


def wide_dtype(device: torch.device) -> torch.dtype:
    """The dtype of latents, noise, grids and sources on a device: float64, on MPS float32.

    They are small, and the path from noise to a clean latent multiplies a rounding error by
    1 / sqrt(abar_0), 13 times at 50 steps of SD 1.x. Apple's GPUs have no float64; docs/models.md
    says what float32 costs. Tables are computed in float64 on the CPU, and only then converted.

    >>> wide_dtype(torch.device("cpu")), wide_dtype(torch.device("mps"))
    (torch.float64, torch.float32)
    """
    return torch.float32 if device.type == "mps" else torch.float64


def default_device() -> torch.device:
    """A CUDA GPU if there is one, else Apple's, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def check_present(device: torch.device) -> None:
    """Raise BadInput unless this machine has the device and this torch can use it."""
    if device.type == "mps" and not torch.backends.mps.is_available():
        lacks = "this Mac" if torch.backends.mps.is_built() else "this torch"
        raise BadInput(
            f"device {device} is not there: {lacks} has no MPS, want cpu or cuda", "device"
        )
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        raise BadInput(
            f"device {device} is not there, {count} {device.type} devices found", "device"
        )


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def free_memory() -> None:
    """Give back the GPU memory that torch holds for later use."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
