"""Models without memory of their own, and giving them the tensors of a checkpoint, once each."""

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mdp_lite.names import BadCheckpoint

M = TypeVar("M", bound=nn.Module)
Tensors = dict[str, Tensor]

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)  # to store, not to compute with
FLOATS = (torch.float32, torch.float16, torch.bfloat16, *FP8)


class weightless(TorchFunctionMode):  # noqa: N801 (used like a function)
    """Within it modules are built on the meta device: shapes alone, and no random start.

    torch.device("meta") does the first, but still runs each start on tensors without memory: a
    third of the time that a whole Stable Diffusion takes to build.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Skip torch.nn.init, and make what torch.empty makes on the meta device."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs | {"device": "meta"} if func is torch.empty else kwargs))


@contextmanager
def quick() -> Iterator[None]:
    """Without the garbage collector, which walks all that torch and transformers have imported.

    It would do so while a thousand modules are made: now and then that doubles the time of a load.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def auto_dtype(device: torch.device, tensors: Tensors) -> torch.dtype:
    """The dtype of the UNet's weights, where the device computes well in it.

    A CPU runs float16 as float32, which loses nothing; a GPU without bfloat16 runs it as float16.
    """
    dtype = next(iter(tensors.values())).dtype if tensors else torch.float32
    dtype = torch.float16 if dtype in FP8 else dtype
    if device.type == "cpu":
        return torch.float32 if dtype == torch.float16 else dtype
    lacks = dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.float16 if lacks else dtype


def check_tensors(name: str, model: nn.Module, tensors: Tensors) -> None:
    """Every key of a model and no other, each of its shape and a float; no byte is read."""
    wanted = dict(model.named_parameters())
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or unknown:
        raise BadCheckpoint(
            f"{name}: {len(missing)} keys missing{_first(missing)}, "
            f"{len(unknown)} unexpected{_first(unknown)}"
        )
    for key, tensor in tensors.items():
        if tensor.shape != wanted[key].shape:
            got, want = list(tensor.shape), list(wanted[key].shape)
            raise BadCheckpoint(f"{name}: {key} has shape {got}, want {want}")
        if tensor.dtype not in FLOATS:
            raise BadCheckpoint(
                f"{name}: {key} has dtype {tensor.dtype}, want an 8 to 32-bit float"
            )


def fill(
    model: M, tensors: Iterable[tuple[str, Tensor]], device: torch.device, dtype: torch.dtype
) -> M:
    """Give a model the tensors that check_tensors has passed, as they come.

    One that has the dtype already and stays on the CPU remains mapped; any other is copied once.
    """
    modules = dict(model.named_modules())
    for key, tensor in tensors:
        at, _, name = key.rpartition(".")
        weight = nn.Parameter(tensor.to(device, dtype), requires_grad=False)
        modules[at].register_parameter(name, weight)
    return model.eval()


def _first(keys: list[str], count: int = 5) -> str:
    return f" ({', '.join(keys[:count])}{', ...' if len(keys) > count else ''})" if keys else ""
