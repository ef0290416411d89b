"""Stages that time a guided step: eager and as a graph, its waits and memory, its settings."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, cast

import torch
from torch import nn

from benchmarks.gpu_first.findings import Findings, Setting
from benchmarks.gpu_first.random_model import build_models
from benchmarks.gpu_first.timing import (
    FEW,
    REPEATS,
    count_waits,
    relative_distance,
    summarize,
    time_each,
)
from mdp_lite.checkpoint.models import Models
from mdp_lite.editor import Editor
from mdp_lite.engine import flops
from mdp_lite.eval.speed import make_inputs
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Source
from mdp_lite.pipeline.warm_up import warm_up

PROMPT, TARGET, SEED = "a red house on the grass", "a blue house on the grass", 7
WARM, ROWS = 4, 2  # steps that don't count: a graph is recorded in them; rows of a guided step
APART = {torch.float32: 1e-3, torch.float16: 1e-2}  # graph from eager, of a UNet call; TF32 is on
EDIT_STEPS, EDITS, FEW_EDIT_STEPS = 50, 3, 4
ORDERS = {"largest first": (4, 2, 1), "smallest first": (1, 2, 4)}


def time_float16(setting: Setting, findings: Findings) -> None:
    """A guided step of SD 1.5's size in float16."""
    time_modes(setting, findings, torch.float16)


def time_float32(setting: Setting, findings: Findings) -> None:
    """The same in float32."""
    time_modes(setting, findings, torch.float32)


def list_modes(setting: Setting) -> tuple[str, ...]:
    """The engine's modes that need no compiler."""
    return ("graph", "eager") if setting.device.type == "cuda" else ("eager",)


def time_modes(setting: Setting, findings: Findings, dtype: torch.dtype) -> None:
    """Milliseconds of a step, of a UNet call and of an edit, host waits, distance, then memory."""
    models = build_models(setting, choose_dtype(setting, dtype))
    findings.add("model", describe_model(models))
    editors = {mode: Editor(models, setting.device, engine=mode) for mode in list_modes(setting)}
    source = make_source(editors["eager"], setting)
    check_rows(findings, editors["eager"], source)
    for mode, editor in editors.items():
        findings.add(f"{mode}: ms a step", summarize(time_steps(editor, source, setting)))
        findings.add(f"{mode}: ms a UNet call", summarize(time_calls(editor, setting)))
        findings.add(f"{mode}: host waits", count_all_waits(editor, source, setting.device))
        findings.add(f"{mode}: ms an edit", summarize(time_edits(editor, setting)))
    if "graph" in editors:
        compare_modes(findings, editors, source, APART[dtype])
        del editors
        for order, rows in list(ORDERS.items())[: 1 if setting.small else 2]:
            some = rows[:1] if setting.small else rows
            findings.add(f"memory, {order}", measure_memory(models, setting, some))


def choose_dtype(setting: Setting, dtype: torch.dtype) -> torch.dtype:
    """float32 on a CPU, which computes slowly in float16."""
    return torch.float32 if setting.device.type == "cpu" else dtype


def describe_model(models: Models) -> dict[str, Any]:
    """Its name, dtype, parameters of the UNet, and FLOPs and weight bytes of a step."""
    unet, (tokens, _) = models.unet, models.c_shape
    y, x = unet.config.latent_size
    weights = list(unet.parameters())
    return {
        "name": models.name,
        "dtype": str(models.origin.dtype).removeprefix("torch."),
        "parameters": sum(one.numel() for one in weights),
        "weight bytes": sum(one.nbytes for one in weights),
        "FLOPs of a step": flops.unet(unet.config, y, x, ROWS, tokens).flops,
        "latent": [y, x],
    }


def make_source(editor: Editor, setting: Setting) -> Source:
    """A source with as many steps as are timed."""
    return editor.generate(PROMPT, SEED, WARM + (FEW if setting.small else REPEATS))


def build_request(source: Source) -> Request:
    """An edit that calls the UNet with two rows at every step: no weight is the source's alone."""
    return Request(source, TARGET, "epsilon", t_max=len(source.grid.t), t_m=0)


def check_rows(findings: Findings, editor: Editor, source: Source) -> None:
    """What is timed must be whole guided steps."""
    rows, steps = editor.plan(build_request(source)).unet_rows, len(source.grid.t)
    findings.check("every timed step has two rows", rows == ROWS * steps, [rows, steps])


def iterate_steps(editor: Editor, source: Source) -> Iterator[object]:
    """The steps of that edit."""
    return editor.steps([build_request(source)])


def time_steps(editor: Editor, source: Source, setting: Setting) -> list[float]:
    """Milliseconds of each guided step as an edit runs it, after those that warm up."""
    steps = iterate_steps(editor, source)
    for _ in range(WARM):
        next(steps)
    return time_each(lambda: next(steps), len(source.grid.t) - WARM, setting.device)


@torch.no_grad()
def time_calls(editor: Editor, setting: Setting) -> list[float]:
    """Milliseconds of a UNet call of two rows, without the check whether it is finite."""
    call = prepare_call(editor)
    for _ in range(WARM):
        call()
    return time_each(call, FEW if setting.small else REPEATS, setting.device)


def prepare_call(editor: Editor) -> Callable[[], torch.Tensor]:
    """A UNet call of a guided step, its inputs on the device."""
    dtype = editor.models.origin.dtype
    x, t, c = make_inputs(editor, ROWS)
    inputs = x.to(dtype), t, c.to(dtype)
    return lambda: editor.runner.engine.denoise(*inputs)


def time_edits(editor: Editor, setting: Setting) -> list[float]:
    """Milliseconds of a default edit of a computed source, with its prompt and its picture."""
    source = editor.generate(PROMPT, SEED, FEW_EDIT_STEPS if setting.small else EDIT_STEPS)
    for _ in range(2):  # a second use is what is recorded
        editor.edit(source, TARGET)
    return time_each(lambda: editor.edit(source, TARGET), EDITS, setting.device)


def count_all_waits(editor: Editor, source: Source, device: torch.device) -> dict[str, Any]:
    """How often the host waits for the GPU: in a UNet call, a step, and a whole warm edit."""
    steps, call = iterate_steps(editor, source), prepare_call(editor)
    for _ in range(WARM):
        next(steps)
    with torch.no_grad():
        calls = count_waits(call, device)
    edits = count_waits(lambda: editor.edit(source, TARGET), device)
    return {"UNet call": calls, "step": count_waits(lambda: next(steps), device), "edit": edits}


@torch.no_grad()
def compare_modes(
    findings: Findings, editors: dict[str, Editor], source: Source, bound: float
) -> None:
    """Check that a UNet call by a graph is the eager one; how far a whole edit is, is a figure.

    Random weights may make more of a rounding than trained ones.
    """
    distance = relative_distance(*(prepare_call(editors[mode])() for mode in ("graph", "eager")))
    findings.check("graph is eager", distance <= bound, distance)
    edits = [editors[mode].edit(source, TARGET).latent for mode in ("graph", "eager")]
    findings.add("distance of an edit by graphs", relative_distance(*edits))


def measure_memory(models: Models, setting: Setting, rows: tuple[int, ...]) -> dict[str, int]:
    """Bytes that torch holds after a warm-up in this order, and its peak during it."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    editor = Editor(models, setting.device, engine="graph")
    for count in rows:  # warm_up may have an order of its own
        warm_up(editor, (count,))
    recorder = editor.runner.engine.recorder
    return {
        "reserved before": before,
        "reserved": torch.cuda.memory_reserved(),
        "allocated": torch.cuda.memory_allocated(),
        "peak allocated": torch.cuda.max_memory_allocated(),
        "graphs": recorder.count if recorder else 0,
    }


def try_settings_float16(setting: Setting, findings: Findings) -> None:
    """A step in float16 with each combination of settings."""
    try_settings(setting, findings, torch.float16, (False,))


def try_settings_float32(setting: Setting, findings: Findings) -> None:
    """A step in float32 with each combination of settings, TF32 among them."""
    try_settings(setting, findings, torch.float32, (False, True))


def try_settings(
    setting: Setting, findings: Findings, dtype: torch.dtype, tf32: tuple[bool, ...]
) -> None:
    """Milliseconds of a step for channels_last, cudnn.benchmark and TF32, each off and on."""
    models = build_models(setting, choose_dtype(setting, dtype))
    findings.add("model", describe_model(models))
    mode = list_modes(setting)[0]
    source = make_source(Editor(models, setting.device, engine="eager"), setting)
    for last, best, fast in product((False, True), (False, True), tf32):
        with switch(models, last, best, fast):
            editor = Editor(models, setting.device, engine=mode)
            times = summarize(time_steps(editor, source, setting))
        name = {"channels_last": last, "cudnn.benchmark": best, "TF32": fast}
        on = ", ".join(key for key, value in name.items() if value) or "all off"
        findings.add(f"{mode}: {on}", times)


def lay(weight: torch.Tensor, last: bool) -> torch.Tensor:
    """A weight in a memory format, if it is of a convolution."""
    form = torch.channels_last if last else torch.contiguous_format
    return weight.contiguous(memory_format=form) if weight.ndim == 4 else weight


@contextmanager
def switch(models: Models, last: bool, best: bool, fast: bool) -> Iterator[None]:
    """Settings for a while; a convolution follows the memory format of its weight."""
    cudnn: Any = torch.backends.cudnn
    matmul, unet = torch.backends.cuda.matmul, cast(nn.Module, models.unet)
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    unet._apply(lambda weight: lay(weight, last))
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = best, fast, fast
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
