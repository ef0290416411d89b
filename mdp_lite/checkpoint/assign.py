"""Building models without memory, and giving them the tensors of a checkpoint."""

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mdp_lite.models.aligned import ALIGNMENT, Linear, copy_apart
from mdp_lite.models.conv import Conv2d
from mdp_lite.names import BadCheckpoint

M = TypeVar("M", bound=nn.Module)
Tensors = dict[str, Tensor]

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)  # to store, not to compute with
FLOATS = (torch.float32, torch.float16, torch.bfloat16, *FP8)
# Their weights may lie anywhere: the first two align them when they compute, a table is only read.
ANYWHERE = (Linear, Conv2d, nn.Embedding)


class BuildOnMeta(TorchFunctionMode):
    """A context in which modules are built on the meta device: shapes only, no initial values.

    torch.device("meta") does the same, but still runs the initialisation on tensors without memory,
    which takes a third of the time to build a whole Stable Diffusion.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Skip torch.nn.init, and let torch.empty create tensors on the meta device."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs | {"device": "meta"} if func is torch.empty else kwargs))


@contextmanager
def pause_gc() -> Iterator[None]:
    """Turn the garbage collector off for a while.

    While a thousand modules are built it would scan all that torch and transformers have imported,
    which sometimes doubles the time of a load.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def auto_dtype(device: torch.device, tensors: Tensors) -> torch.dtype:
    """The dtype that a UNet with these weights has by default on a device.

    On a CPU float16 becomes float32, which loses nothing. On a GPU float32 and float8 become
    float16, and so does bfloat16 if the GPU does not compute in it (compute capability below 8.0).
    On MPS only float8 and a bfloat16 that it can't compute in become float16.
    """
    dtype = stored_dtype(tensors)
    dtype = torch.float16 if dtype in FP8 else dtype
    if device.type == "cpu":
        return torch.float32 if dtype == torch.float16 else dtype
    if dtype == torch.float32 and device.type == "cuda":
        return torch.float16
    lacks = dtype == torch.bfloat16 and not has_bfloat16(device)
    return torch.float16 if lacks else dtype


def stored_dtype(tensors: Tensors) -> torch.dtype:
    """The dtype of these weights in their file."""
    return next(iter(tensors.values())).dtype if tensors else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16: an NVIDIA GPU from compute capability 8.0 on, Apple's
    from macOS 14 on. A GPU that is not here is new.
    """
    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    if device.type == "cpu" or not torch.cuda.is_available():
        return True
    return torch.cuda.get_device_capability(device) >= (8, 0)


def check_tensors(name: str, model: nn.Module, tensors: Tensors) -> None:
    """Raises BadCheckpoint unless keys and shapes are the model's, all floats; reads no byte."""
    wanted = dict(model.named_parameters())
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or unknown:
        raise BadCheckpoint(
            f"{name}: {len(missing)} keys missing{_list_keys(missing)}, "
            f"{len(unknown)} unexpected{_list_keys(unknown)}"
        )
    for key, tensor in tensors.items():
        if tensor.shape != wanted[key].shape:
            got, want = list(tensor.shape), list(wanted[key].shape)
            raise BadCheckpoint(f"{name}: {key} has shape {got}, want {want}")
        if tensor.dtype not in FLOATS:
            raise BadCheckpoint(
                f"{name}: {key} has dtype {tensor.dtype}, want an 8 to 32-bit float"
            )


def assign_tensors(
    model: M, tensors: Iterable[tuple[str, Tensor]], device: torch.device, dtype: torch.dtype
) -> M:
    """Give a model its tensors one by one; check_tensors must have passed them.

    A tensor that has the dtype and stays on the CPU remains mapped, unread; others are copied once.
    So are norms and biases where a file has them unaligned: they are small. Raises BadCheckpoint
    for a weight that the dtype can't hold.
    """
    modules = dict(model.named_modules())
    for key, tensor in tensors:
        path, _, name = key.rpartition(".")
        module = modules[path]
        anywhere = name == "weight" and isinstance(module, ANYWHERE)
        weight = place_weight(tensor, device, dtype, anywhere)
        _check_cast(key, tensor, weight)
        module.register_parameter(name, nn.Parameter(weight, requires_grad=False))
    return model.eval()


def place_weight(
    tensor: Tensor, device: torch.device, dtype: torch.dtype, anywhere: bool = False
) -> Tensor:
    """A tensor as a weight: itself, or one copy if its device, dtype or alignment is another.

    anywhere: a multiple of its numbers' size is enough, at least for now.
    """
    if device.type != "cpu":
        return tensor.to(device, dtype)
    step = dtype.itemsize if anywhere else ALIGNMENT
    stays = tensor.data_ptr() % step == 0
    return tensor if stays and tensor.dtype == dtype else copy_apart(tensor, dtype)


def _check_cast(key: str, tensor: Tensor, weight: Tensor) -> None:
    """Raises BadCheckpoint if a weight became infinite: no later retry could repair that."""
    narrower = weight.dtype == torch.float16 and tensor.dtype in (torch.float32, torch.bfloat16)
    if narrower and weight.isinf().any() and not tensor.isinf().any():
        raise BadCheckpoint(f"{key} has values that float16 can't hold: want dtype float32")


def _list_keys(keys: list[str], count: int = 5) -> str:
    return f" ({', '.join(keys[:count])}{', ...' if len(keys) > count else ''})" if keys else ""
