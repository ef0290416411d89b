"""How a GPU computes: the settings of torch's libraries, and the layout of convolutions' weights.

None of the defaults has been measured on a GPU yet.
"""

import logging
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from mdp_lite.engine.fusing import FUSED, Fused
from mdp_lite.engine.placement import RESERVE_BYTES
from mdp_lite.models.conv import Conv2d
from mdp_lite.names import BadInput

GB = 10**9
HALVES = (torch.float16, torch.bfloat16)
log = logging.getLogger("mdp_lite")


@dataclass(frozen=True)
class GpuSettings:
    """How a GPU computes. Nothing of it has an influence on a CPU.

    tf32: float32 is multiplied in TF32, with 10 bits of mantissa instead of 23. channels_last: the
    weights of convolutions lie as tensor cores read them, in 16 bits or with tf32. cudnn_benchmark:
    cuDNN times its algorithms for each new shape, in each thread, and takes the fastest, so that
    the last bits may differ from one process or thread to the next. fused says which own kernels
    run (see Fused). memory: how many GB (10^9 bytes) edits may take, by default what is free.
    Raises BadInput for other values.

    >>> GpuSettings(memory=8).channels_last
    True
    """

    tf32: bool = False
    channels_last: bool = True
    cudnn_benchmark: bool = False
    memory: float | None = None
    fused: Fused = FUSED

    def __post_init__(self) -> None:
        """Raise BadInput for values that are none."""
        for name in ("tf32", "channels_last", "cudnn_benchmark"):
            if type(getattr(self, name)) is not bool:
                raise BadInput(f"{name} must be True or False, got {getattr(self, name)!r}", name)
        if not isinstance(self.fused, Fused):
            want = "fused must be a Fused, as Fused(geglu=False)"
            raise BadInput(f"{want}, got {self.fused!r:.80}", "fused")
        if self.memory is not None:
            check_gigabytes("memory", self.memory)


DEFAULT = GpuSettings()


def check_gigabytes(name: str, value: Any) -> float:
    """So many GB of a GPU; raises BadInput for what is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < 10_000:
        raise BadInput(
            f"{name} must be a number of GB above 0 and below 10000, got {value!r}", name
        )
    return float(value)


def prepare_gpu(unet: nn.Module, vae: nn.Module, settings: GpuSettings) -> None:
    """Set torch's flags and lay the weights, before an engine for a GPU is built.

    torch has these flags once for a whole process, so the last engine that is built sets them.
    """
    torch.backends.cuda.matmul.allow_tf32 = settings.tf32
    torch.backends.cudnn.allow_tf32 = settings.tf32  # torch's own default is True
    torch.backends.cudnn.benchmark = settings.cudnn_benchmark
    _log_flags_once(settings.tf32, settings.cudnn_benchmark)
    for model in (unet, vae):
        if settings.channels_last and uses_tensor_cores(model, settings):
            lay_channels_last(model)


def uses_tensor_cores(model: nn.Module, settings: GpuSettings) -> bool:
    """Whether a GPU multiplies a model's weights in tensor cores: in 16 bits, or with tf32."""
    weight = next(model.parameters(), None)
    return settings.tf32 or (weight is not None and weight.dtype in HALVES)


def lay_channels_last(model: nn.Module) -> None:
    """Give every convolution its weight in channels_last; its results then lie so too."""
    for module in model.modules():
        if isinstance(module, Conv2d) and not module.weight.is_mkldnn:
            laid = module.weight.detach().contiguous(memory_format=torch.channels_last)
            module.weight = nn.Parameter(laid, requires_grad=False)


def find_budget(device: torch.device, settings: GpuSettings, loaded: int = 0) -> int:
    """The bytes that edits may take on a GPU: what is free, or less if settings say so.

    loaded: bytes that are on the device already and count among them. For another device, which
    stands for a GPU that is not here, it is what settings say.
    """
    given = [] if settings.memory is None else [int(settings.memory * GB)]
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        given.append(torch.cuda.mem_get_info(device)[0] + cached + loaded)
    return min(given) - RESERVE_BYTES


@cache
def _log_flags_once(tf32: bool, benchmark: bool) -> None:
    words = ("off", "on")
    log.info(
        f"in this process torch's TF32 is {words[tf32]} (torch.backends.cudnn.allow_tf32, "
        f"torch.backends.cuda.matmul.allow_tf32) and cudnn.benchmark {words[benchmark]}"
    )
