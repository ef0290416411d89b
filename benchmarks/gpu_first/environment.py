"""Stage "environment": what this machine is, and that its GPU computes and records at all."""

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from benchmarks.gpu_first.findings import Findings, Setting
from benchmarks.gpu_first.timing import relative_distance
from mdp_lite.eval.rounds import describe_machine

PACKAGES = (
    "torch", "triton", "transformers", "tokenizers", "safetensors", "einops", "numpy", "pillow",
    "typer", "pytest",
)  # fmt: skip
COMPILERS = ("cc", "gcc", "clang", "c++", "g++", "nvcc", "ptxas")
QUERY = "name,driver_version,clocks.sm,clocks.mem,power.limit,temperature.gpu,memory.used"
EXACT = 1e-3  # of a matrix product in float32, which TF32 would exceed at this size


def describe_environment(setting: Setting, findings: Findings) -> None:
    """Versions, compilers, the device and its settings; then one product and one graph."""
    findings.add(
        "machine", describe_machine(setting.device) | {"python": platform.python_version()}
    )
    findings.add("packages", {name: _find_version(name) for name in PACKAGES})
    findings.add("compilers", {name: shutil.which(name) is not None for name in COMPILERS})
    findings.add("settings", describe_settings())
    if setting.device.type == "cuda":
        findings.add("device", describe_device(setting.device))
        findings.add("nvidia-smi", _ask_driver())
        check_graph(findings, setting.device)
    check_product(findings, setting.device)


def describe_settings() -> dict[str, Any]:
    """torch's switches that change speed or numbers."""
    backends = torch.backends.cuda
    return {
        "matmul tf32": backends.matmul.allow_tf32,
        "cudnn tf32": torch.backends.cudnn.allow_tf32,
        "cudnn benchmark": torch.backends.cudnn.benchmark,
        "fp16 reduced": backends.matmul.allow_fp16_reduced_precision_reduction,
        "flash": backends.flash_sdp_enabled(),
        "efficient": backends.mem_efficient_sdp_enabled(),
        "cudnn attention": backends.cudnn_sdp_enabled(),
    }


def describe_device(device: torch.device) -> dict[str, Any]:
    """The GPU as torch sees it."""
    about = torch.cuda.get_device_properties(device)
    return {
        "name": about.name,
        "capability": f"{about.major}.{about.minor}",
        "multiprocessors": about.multi_processor_count,
        "bytes": about.total_memory,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "devices": torch.cuda.device_count(),
    }


def check_product(findings: Findings, device: torch.device) -> None:
    """A matrix product on the device is the CPU's."""
    a, b = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
    distance = relative_distance(a.to(device) @ b.to(device), a.double() @ b.double())
    findings.check("a matrix product in float32 is the CPU's", distance <= EXACT, distance)


def check_graph(findings: Findings, device: torch.device) -> None:
    """The smallest graph: y = 2 x, replayed with another x."""
    x, graph = torch.ones(8, device=device), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = 2 * x
    x.fill_(3)
    graph.replay()
    findings.check("a graph of one kernel replays", bool((y == 6).all()), y[0].item())


def _find_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _ask_driver() -> str | None:
    """What the driver's tool says; nothing is set by it."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
