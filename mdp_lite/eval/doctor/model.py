"""The doctor on a model: that it loads, that its weights are numbers, and what memory it takes."""

import time
from dataclasses import replace
from typing import NamedTuple

import torch

from mdp_lite.cli.commands.doctor import DoctorOptions
from mdp_lite.cli.loading import open_editor
from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.editor import Editor
from mdp_lite.engine.estimate import Estimate, estimate
from mdp_lite.engine.memory import LIBRARY_BYTES
from mdp_lite.eval.cases import EditCase, make_cases
from mdp_lite.eval.doctor.check import Check, judge
from mdp_lite.eval.resources import read_peak, reset_peak
from mdp_lite.pipeline import check
from mdp_lite.pipeline.request import Request

# How far the measured peak may be from the plan's: above it, memory that the plan calls enough is
# not; below it by half, a machine that would do is told that it will not.
ABOVE, BELOW = 1.1, 0.5
WORKSPACES = 64_000_000  # bytes at most that libraries of a GPU take beside tensors, as cuBLAS does


class LoadedModel(NamedTuple):
    """A loaded model, the seconds that it took, and the bytes in use before it was loaded."""

    editor: Editor
    seconds: float
    bytes_before: int | None


def load_model(args: DoctorOptions) -> LoadedModel:
    """Load the model of the command line, without a cache, so that nothing is computed before."""
    options = replace(args.chosen_model, cache=None)
    bytes_before = reset_peak(check.device(options.device))
    started = time.perf_counter()
    editor = open_editor(options, args.engine)
    return LoadedModel(editor, time.perf_counter() - started, bytes_before)


def describe_model(loaded: LoadedModel) -> Check:
    """What was loaded."""
    editor, models = loaded.editor, loaded.editor.models
    dtype = str(models.origin.dtype).removeprefix("torch.")
    size = "x".join(map(str, editor.runner.size))
    mode, device = editor.runner.engine.mode, str(editor.device)
    figures = {
        "model": models.name, "dtype": dtype, "device": device, "engine": mode, "size": size,
        "load_seconds": round(loaded.seconds, 3), "notes": list(models.notes),
    }  # fmt: skip
    text = f"{models.name}, {size}, {dtype} on {device}, engine {mode}, loaded in "
    text += "".join([f"{loaded.seconds:.1f} s", *(f"; {note}" for note in models.notes)])
    return Check("model", "pass", text, "", figures)


def check_weights(loaded: LoadedModel) -> Check:
    """Every weight is a finite number; aminmax passes NaN on, and makes no copy of a weight."""
    models = loaded.editor.models
    parts = {"text encoder": models.text_encoder, "UNet": models.unet, "VAE": models.vae}
    every = [(f"{part}, {key}", weight) for part, model in parts.items()
             for key, weight in model.named_parameters()]  # fmt: skip
    bad = [key for key, weight in every if not all(x.isfinite() for x in weight.aminmax())]
    count = sum(weight.numel() for _, weight in every)
    text = f"{count:,} numbers in {len(every):,} weights"
    text += f"; {len(bad)} of these have NaN or infinity, the first is {bad[0]}" if bad else ""
    advice = "the file is damaged, or a LoRA overflowed: get it again, leave out LoRAs one by one"
    return judge("weights", not bad, text, advice, {"count": count, "bad": bad[:10]})


def make_case(loaded: LoadedModel) -> tuple[EditCase, int]:
    """An edit with a known picture, and its number of steps: few, for a check takes seconds."""
    return make_cases("color", 1, short=True)[0], loaded.editor.models.defaults.steps_of("draft")


def check_memory(loaded: LoadedModel) -> Check:
    """The most memory of a source and an edit, as the system counts it, against the plan's."""
    editor, (case, steps) = loaded.editor, make_case(loaded)
    if loaded.bytes_before is None:
        return Check(
            "memory", "skipped", "this system does not say how much memory a process takes"
        )
    source = editor.generate(case.source, case.seed, steps)
    request = Request(source, case.target)
    editor.edits([request])
    planned = plan_memory(editor, request)
    measured = read_peak(editor.device)
    on_cpu = editor.device.type == "cpu"
    if on_cpu:  # what else lives in this process is not the edit's
        measured -= max(0, loaded.bytes_before - LIBRARY_BYTES)
    most = ABOVE * planned.peak_bytes + (0 if on_cpu else WORKSPACES)
    share = measured / planned.peak_bytes
    figures = {"measured_bytes": measured, "planned_bytes": planned.peak_bytes, "share": share}
    sizes = (format_count(one, SIZES) for one in (measured, planned.peak_bytes))
    text = "{} at most, {} by the plan".format(*sizes) + f" ({share:.0%})"
    advice = "the plan is wrong for this model or machine: report this with the whole output"
    return judge("memory", BELOW <= share and measured <= most, text, advice, figures)


@torch.no_grad()
def plan_memory(editor: Editor, request: Request) -> Estimate:
    """What `mdp-lite plan` says of an edit."""
    width, height = editor.runner.size
    return estimate(editor.models, editor.plan(request), height, width)
