"""What info and plan say about the memory of a GPU, here or not."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mdp_lite.__main__ import main
from mdp_lite.checkpoint.load import examine
from mdp_lite.cli.fields import list_fields
from mdp_lite.cli.loading import warn_idle
from mdp_lite.cli.model_options import GpuOptions, ModelOptions
from mdp_lite.engine.edit_bytes import EditSize, count_edit_bytes
from mdp_lite.engine.gpu import GB
from mdp_lite.engine.placement import RESERVE_BYTES, place_parts
from mdp_lite.files.atomic import warn_once
from mdp_lite.pipeline.gpu_models import facts_of_checkpoint
from support.rehearsing import rehearsal

PLAN = ("plan", "--source-prompt", "a red house", "--prompt", "a tent", "--steps", "4",
        "--model", "tiny")  # fmt: skip
GENERATE = ("generate", "a red house", "--steps", "2", "--dry-run")
Show = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """What a command prints, as data and as lines."""

    def call(*line: str) -> tuple[dict[str, Any], str]:
        assert main([*line, "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert main([*line]) == 0
        return data, capsys.readouterr().out

    return call


@pytest.mark.parametrize("line", [PLAN, ("info", "tiny", "--no-hash")])
def test_a_gpu_that_is_not_here(show: Show, line: tuple[str, ...]) -> None:
    data, text = show(*line, "--gpu-memory", "8")
    found = data["gpu"]
    facts = facts_of_checkpoint(examine("tiny"), torch.float16)
    steps = 4 if line is PLAN else examine("tiny").defaults.num_inference_steps
    want = place_parts(count_edit_bytes(facts, EditSize(64, 64, 2, steps)), 8 * GB)
    assert found["peak_bytes"] == want.peak_bytes and found["dtype"] == "float16"
    assert found["budget_bytes"] == 8 * GB - RESERVE_BYTES and found["fits"]
    assert "64x64 in float16 fits" in text and "everything stays on the GPU" in text


def test_what_does_not_fit_is_said_before_anything_runs(show: Show) -> None:
    data, text = show(*PLAN, "--gpu-memory", "1", "--width", "512", "--height", "512")
    assert not data["gpu"]["fits"] and "512x512 in float16 does not fit" in text
    assert data["gpu"]["text_encoder"] == "waits on the CPU"
    assert "0 B of 1 GB can be used, as 1 GB is reserved for CUDA" in text


def test_without_a_gpu_and_without_its_memory_nothing_is_said(show: Show) -> None:
    data, text = show(*PLAN)
    assert data["gpu"] is None and "GPU" not in text


def test_the_dtype_that_is_wanted_counts(show: Show) -> None:
    wide, _ = show(*PLAN, "--gpu-memory", "8", "--dtype", "float32")
    half, _ = show(*PLAN, "--gpu-memory", "8")
    assert wide["gpu"]["dtype"] == "float32"
    assert wide["gpu"]["peak_bytes"] > 1.8 * half["gpu"]["peak_bytes"]


def test_the_gpu_here_is_planned_for(show: Show) -> None:
    with rehearsal():
        data, text = show("info", "tiny", "--no-hash")
    assert data["gpu"]["budget_bytes"] > 100 * GB and "GPU  " in text


@pytest.mark.parametrize("line", [PLAN, ("info", "tiny", "--no-hash")])
def test_more_memory_than_any_gpu_has(
    line: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--gpu-memory", "10000"]) == 2
    want = "--gpu-memory must be a number of GB above 0 and below 10000, got 10000.0"
    assert want in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "want"),
    [
        (GENERATE, ["--tf32, --gpu-memory have no effect on cpu"]),
        (PLAN, ["--tf32 has no effect on cpu"]),
    ],
)
def test_options_that_do_nothing_on_a_cpu(
    line: tuple[str, ...], want: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    for _ in range(2):
        assert main([*line, "--device", "cpu", "--tf32", "--gpu-memory", "8"]) == 0
    assert [text for text in caplog.messages if "no effect" in text] == want


def test_a_gpu_reads_them(caplog: pytest.LogCaptureFixture) -> None:
    warn_once.cache_clear()
    every = GpuOptions(gpu_memory=8, tf32=True, no_channels_last=True, cudnn_benchmark=True)
    warn_idle(every, torch.device("cuda:1"), plans=False)
    assert not caplog.messages
    warn_idle(every, torch.device("mps"), plans=False)
    names = [one.label for one in list_fields(GpuOptions)]
    assert len(caplog.messages) == 1 and all(name in caplog.messages[0] for name in names)


def test_the_driver_of_a_cluster_is_not_warned() -> None:
    options = ModelOptions(device="cuda", gpu=GpuOptions(tf32=True))
    assert options.for_driver(dry_run=False) == ModelOptions(device="cpu")
    assert options.for_driver(dry_run=True) == ModelOptions(device="cuda")


@pytest.mark.parametrize("value", ["0", "-1", "eight"])
def test_bad_memory_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PLAN, "--gpu-memory", value]) == 2
    assert "--gpu-memory" in capsys.readouterr().err
