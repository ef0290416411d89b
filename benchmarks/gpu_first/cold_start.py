"""Stage "cold start": seconds from the start of a process to a picture on the disk."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.gpu_first.findings import Findings, Setting
from benchmarks.gpu_first.random_model import build_models, write_folder
from benchmarks.record import ROOT
from mdp_lite.editor import Editor

STEPS, FEW_STEPS = 20, 2
ENGINES = {"cpu": ("eager",), "cuda": ("auto", "eager")}
ROUNDS = 2


def measure_cold_start(setting: Setting, findings: Findings) -> None:
    """Write the model as a folder, then generate from the command line, each time anew."""
    findings.add("seconds: import torch", time_process("-c", "import torch"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        dtype = torch.float32 if setting.device.type == "cpu" else torch.float16
        findings.add("weight bytes", write_model(setting, dtype, folder))
        picture = Path(scratch) / "picture.png"
        for engine in ENGINES[setting.device.type] * ROUNDS:
            took = time_process(*list_words(setting, folder, engine, picture))
            findings.figures.setdefault(f"seconds: {engine}", [])
            findings.add(f"seconds: {engine}", [*findings.figures[f"seconds: {engine}"], took])
            findings.check(f"{engine}: a picture is written", picture.exists())
            picture.unlink(missing_ok=True)


def write_model(setting: Setting, dtype: torch.dtype, folder: Path) -> int:
    """Write the model's folder; nothing of it stays on the device. Returns the weights' bytes."""
    bundled = Editor.from_pretrained("tiny", "cpu").models.tokenizer.folders[0]
    size = write_folder(build_models(setting, dtype), bundled, folder)
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
    return size


def list_words(setting: Setting, folder: Path, engine: str, picture: Path) -> list[str]:
    """The command line of one picture."""
    steps = FEW_STEPS if setting.small else STEPS
    return [
        "-m", "mdp_lite", "generate", "a red house on the grass", "--seed", "7",
        "--model", str(folder), "--device", str(setting.device), "--engine", engine,
        "--steps", str(steps), "-o", str(picture), "--quiet",
    ]  # fmt: skip


def time_process(*words: str) -> float:
    """Seconds of a Python process; raises if it fails."""
    begun = time.perf_counter()
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *words], cwd=ROOT, env=env, check=True)
    return time.perf_counter() - begun
