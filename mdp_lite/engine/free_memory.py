"""How much memory is free for models: of a GPU, or of this machine or its container."""

from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")  # of a container


def read_free_memory(device: torch.device) -> float:
    """Bytes that are free on a device; infinite where the system does not say it."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return min(_read_available(), _read_group())


def _read_available() -> float:
    try:
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return float("inf")


def _read_group() -> float:
    """What a container may still take, if it is bounded."""
    try:
        most, used = ((GROUP / name).read_text() for name in ("memory.max", "memory.current"))
        return max(0.0, float(most) - float(used))  # without a bound the text is "max"
    except (OSError, ValueError):
        return float("inf")
