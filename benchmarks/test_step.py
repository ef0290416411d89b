"""One call of the UNet, the same work on both sides: mdp_lite's engines against diffusers.

    python -m pytest benchmarks/test_step.py --benchmark-enable -s -m "" --size sd15 --models FOLDER

All sides have the same weights and inputs, and run in turns in one process. Before that each must
give what diffusers gives in float32, within BOUNDS, relative to its norm.
"""

import time

import pytest
import torch

from benchmarks.record import Recorder, highest, limits, with_fractions
from benchmarks.sides import (
    Call,
    Inputs,
    Model,
    engines,
    flops,
    inputs,
    our_steps,
    reference,
    their_step,
)
from mdp_lite.eval.rounds import gate

BOUNDS = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}
BF16, FP32 = torch.bfloat16, torch.float32


def short(value: object) -> str:
    """bfloat16 for torch.bfloat16."""
    return str(value).removeprefix("torch.")


def build_sides(model: Model, dtype: torch.dtype, call: Inputs, compiling: bool) -> dict[str, Call]:
    """All sides in one dtype, mdp_lite's fastest mode first."""
    sides = our_steps(model, dtype, call, engines(model.device, compiling))
    kinds = ("eager", "eager channels_last", "compiled")[: 3 if compiling else 2]
    return sides | {f"diffusers {kind}": their_step(model, dtype, call, kind) for kind in kinds}


def measure(
    model: Model, recorder: Recorder, section: str, sides: dict[str, Call], call: Inputs,
    dtypes: dict[str, torch.dtype], want: torch.Tensor,
) -> None:  # fmt: skip
    """Check all outputs against `want`, then time the sides and store the section."""
    bounds = {name: BOUNDS[dtype] for name, dtype in dtypes.items()}
    begun, outputs, first = time.perf_counter(), {}, {}
    for name, run in sides.items():
        outputs[name] = run()
        begun, first[name] = time.perf_counter(), time.perf_counter() - begun  # compiles
    errors = gate(outputs, want, bounds)
    rows, before = len(call.x), limits(dtypes.values(), model.device)
    found = recorder.compare(sides)
    limit = highest(before, limits(dtypes.values(), model.device))
    found = with_fractions(found, flops(model, rows), dtypes, limit)
    recorder.store(
        section, {"rows": rows, "errors": errors, "bounds": bounds, "first_call": first, **found}
    )


@pytest.mark.parametrize(("dtype", "rows"), [(BF16, 2), (BF16, 1), (BF16, 4), (FP32, 2)], ids=short)
def test_step(benchmark, model, recorder, compiling, rows, dtype) -> None:
    """Identical work: one dtype, every mode of both libraries."""
    call = inputs(model, rows)
    want = reference(model, call)
    sides = build_sides(model, dtype, call, compiling)
    section, dtypes = f"step {model.name} {short(dtype)} {rows}", dict.fromkeys(sides, dtype)
    measure(model, recorder, section, sides, call, dtypes, want)
    benchmark.pedantic(next(iter(sides.values())), rounds=1)


def test_step_against_float32(benchmark, model, recorder, compiling) -> None:
    """A guided step in bfloat16 against diffusers in float32, eager, in both layouts."""
    call = inputs(model, 2)
    modes = engines(model.device, compiling)[:1]
    sides = {f"{k} bfloat16": run for k, run in our_steps(model, BF16, call, modes).items()}
    for kind in ("eager", "eager channels_last"):
        sides[f"diffusers {kind} float32"] = their_step(model, FP32, call, kind)
    dtypes = {name: BF16 if name.endswith("bfloat16") else FP32 for name in sides}
    want = sides["diffusers eager float32"]()
    section = f"step {model.name} bfloat16 against float32"
    measure(model, recorder, section, sides, call, dtypes, want)
    benchmark.pedantic(next(iter(sides.values())), rounds=1)
