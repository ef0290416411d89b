"""The doctor on the machine: operating system and Python, and the devices that torch sees."""

import os
import platform
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from mdp_lite.cli.commands.doctor import DoctorOptions
from mdp_lite.cli.units import SIZES, format_count, pluralize
from mdp_lite.eval.doctor.check import Check, judge
from mdp_lite.eval.resources import count_cores, read_memory
from mdp_lite.eval.rounds import describe_machine
from mdp_lite.names import BadInput
from mdp_lite.pipeline import check

# Variables that change what is loaded or how fast it runs; tokens are not among them.
VARIABLES = (
    "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "MDP_LITE_CACHE",
    "MDP_LITE_PACKAGES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
    "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "LD_PRELOAD", "PYTHONPATH",
)  # fmt: skip
DRIVER = Path("/proc/driver/nvidia/version")  # on Linux, where NVIDIA's driver is loaded
PROGRAM = "nvidia-smi"  # elsewhere
INSTALL = "install a torch for CUDA which this driver can run (pytorch.org says how)"


def check_environment(args: DoctorOptions) -> Check:
    """The system, the processor, the memory, and whether torch has more threads than cores.

    More threads than cores, as in a container with a limit, make a step several times slower.
    """
    machine, cores, (total, free) = (
        describe_machine(torch.device("cpu")),
        count_cores(),
        read_memory(),
    )
    threads = machine["threads"]
    figures = {
        "system": platform.platform(), "python": platform.python_version(),
        "processor": machine["cpu"], "cores": cores, "threads": threads,
        "memory_bytes": total, "free_memory_bytes": free,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }  # fmt: skip
    known = [f"{format_count(total, SIZES)} of memory"] if total else []
    known += [f"{format_count(free, SIZES)} free"] if free else []
    counts = f"{pluralize(cores, 'core')}, {pluralize(threads, 'thread')}"
    text = ", ".join(
        [figures["system"], f"Python {figures['python']}", machine["cpu"], counts, *known]
    )
    text += "".join(f"; {name}={value}" for name, value in figures["variables"].items())
    advice = f"torch has more threads than this process has cores: set OMP_NUM_THREADS={cores}"
    return judge("environment", threads <= cores, text, advice, figures)


def check_devices(args: DoctorOptions) -> Check:
    """The devices, and whether torch can use the one that is asked for, or a GPU that is here."""
    gpus, asked, driver = list_gpus(), args.model.device, find_driver()
    figures: dict[str, Any] = {
        "torch": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus, "driver": driver,
        "mps": torch.backends.mps.is_available(),
    }  # fmt: skip
    text = describe_torch(gpus)
    try:
        device = check.device(asked)
    except BadInput as error:
        return judge("devices", False, f"{text}; {error}", _advise_device(asked, gpus), figures)
    figures["device"] = str(device)
    text += f"; this run is on {device}"
    old = [one["name"] for one in gpus if not one["has_code"]]
    if old:
        advice = f"install a torch with code for {', '.join(old)}, or give --device cpu"
        return judge("devices", False, text, advice, figures)
    unseen = driver is not None and not gpus and asked is None
    text += "; the NVIDIA driver of this machine is not used" if unseen else ""
    return judge("devices", not unseen, text, f"{INSTALL}, or give --device cpu", figures)


def describe_torch(gpus: list[dict[str, Any]]) -> str:
    """The build of torch and the GPUs that it sees, in words."""
    cuda, apple = torch.version.cuda, torch.backends.mps.is_available()
    words = [f"torch {torch.__version__}, built {f'for CUDA {cuda}' if cuda else 'without CUDA'}"]
    words += [*map(describe_gpu, gpus), *(["Apple's GPU"] if apple else [])]
    return "; ".join(words if words[1:] else [*words, "no GPU"])


def _advise_device(asked: str | None, gpus: list[dict[str, Any]]) -> str:
    if asked is not None and check.device_name(asked).type == "mps":
        return "mps needs macOS and a torch with MPS; or give --device cpu"
    if torch.version.cuda is None:
        return f"this torch is without CUDA: {INSTALL}"
    return "give --device cpu or one of the GPUs" if gpus else "install NVIDIA's driver"


def list_gpus() -> list[dict[str, Any]]:
    """The CUDA devices that torch sees: name, memory, and whether torch has code for them."""
    with warnings.catch_warnings():  # what torch says of an old driver is in the check's text
        warnings.simplefilter("ignore")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = []
    for i in range(count):
        major, minor = torch.cuda.get_device_capability(i)
        free, total = torch.cuda.mem_get_info(i)
        one = {"name": torch.cuda.get_device_name(i), "capability": f"{major}.{minor}"}
        one |= {"memory_bytes": total, "free_memory_bytes": free}
        found.append(one | {"has_code": has_code(major, minor, torch.cuda.get_arch_list())})
    return found


def has_code(major: int, minor: int, architectures: list[str]) -> bool:
    """Whether code for these architectures runs on a GPU of this compute capability.

    sm_86 is machine code, for GPUs of the same major number from that minor number on; compute_86
    is compiled by the driver for any newer GPU. Without a list nothing is known.

    has_code(8, 9, ["sm_80"])  # True
    """
    for name in architectures:
        kind, _, number = name.partition("_")
        digits = "".join(letter for letter in number if letter.isdigit())
        if not digits:
            continue
        least = int(digits[:-1] or 0), int(digits[-1])
        same = least[0] == major if kind == "sm" else True
        if same and least <= (major, minor):
            return True
    return not architectures


def describe_gpu(one: dict[str, Any]) -> str:
    """A GPU in words."""
    memory, free = (format_count(one[key], SIZES) for key in ("memory_bytes", "free_memory_bytes"))
    return f"{one['name']} (capability {one['capability']}, {memory}, {free} free)"


def find_driver() -> str | None:
    """What says that NVIDIA's driver is here: the first line of its version, or its program."""
    if DRIVER.is_file():
        return (DRIVER.read_text("utf-8").splitlines() or ["unknown"])[0]
    return PROGRAM if shutil.which(PROGRAM) else None
