"""The stages in their order, cheapest and most decisive first, each with a time limit."""

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.gpu_first import (
    captures,
    cold_start,
    compiled,
    environment,
    kernel_times,
    limits,
    profile_step,
    pytest_runs,
    steps,
)
from benchmarks.gpu_first.findings import Findings, Setting


class Stage(NamedTuple):
    """A stage: its name, what it answers, its limit in seconds, and its work."""

    name: str
    question: str
    limit: int
    work: Callable[[Setting, Findings], None]


STAGES = (
    Stage("environment", "what is this machine, and does its GPU compute and record?", 30,
          environment.describe_environment),
    Stage("gpu-tests", "do graphs, 16 bits and warm_up(only=True) do what their tests want?", 80,
          pytest_runs.run_gpu_tests),
    Stage("triton", "do the Triton kernels agree with their references?", 60,
          pytest_runs.run_triton_cases),
    Stage("failed-capture", "after a capture that fails, is all as before?", 30,
          captures.fail_a_capture),
    Stage("jobs", "do 48 jobs that arrive during captures get their pictures?", 50,
          captures.let_jobs_arrive),
    Stage("limits", "how fast are matrix products and copies here?", 20, limits.measure_limits),
    Stage("steps-float16", "how long is a step of SD 1.5's size, eager and as a graph?", 60,
          steps.time_float16),
    Stage("profile", "where does a step's time go?", 30, profile_step.profile_step),
    Stage("cold-start", "how long is it from nothing to the first picture?", 50,
          cold_start.measure_cold_start),
    Stage("steps-float32", "how long is a step in float32?", 50, steps.time_float32),
    Stage("settings-float16", "which settings make it faster?", 30, steps.try_settings_float16),
    Stage("settings-float32", "and in float32, TF32 among them?", 40, steps.try_settings_float32),
    Stage("kernels", "are our kernels faster than torch's and compiled ones?", 60,
          kernel_times.compare_kernels),
    Stage("compile-tests", "is the compiled engine right?", 120, pytest_runs.run_compile_tests),
    Stage("compiled-step", "how long is a compiled step?", 240, compiled.time_compiled),
)  # fmt: skip
NAMES = tuple(one.name for one in STAGES)


def find_stage(name: str) -> Stage:
    """The stage of a name."""
    return next(one for one in STAGES if one.name == name)
