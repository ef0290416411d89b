"""`mdp-lite plan`: what an edit will compute, and its cost, before it runs."""

from typing import Any

from mdp_lite.checkpoint.load import examine
from mdp_lite.cli.commands.plan import PlanOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.cli.gpu_plan import format_gpu, plan_gpu
from mdp_lite.cli.loading import read_choices
from mdp_lite.cli.memory import format_memory
from mdp_lite.cli.reports import Report
from mdp_lite.cli.requests import build_request, choose_variants
from mdp_lite.cli.sources import choose_source, log_truncation
from mdp_lite.cli.units import FLOPS, format_count, pluralize
from mdp_lite.editor import Editor, Source
from mdp_lite.engine.edit_bytes import EditSize
from mdp_lite.engine.estimate import Estimate, estimate
from mdp_lite.method.execute import EditTask
from mdp_lite.method.plan import Plan, naive_plan
from mdp_lite.pipeline import check
from mdp_lite.pipeline.plan_text import describe_plan


def show_plan(args: PlanOptions, editor: Editor, console: Console) -> Report:
    """The plans of an edit, one for each variant that is asked for; the UNet is not called."""
    stub = dry_run_editor(editor)
    source = choose_source(args, stub, console, args.seed)
    log_truncation(editor, console, args.prompt)
    width, height = source.image.size
    plans: dict[str, Any] = {}
    lines: list[str] = []
    for variant in choose_variants(args):
        (task,) = stub.tasks([build_request(args, source, variant)])
        planned, naive = _estimate_costs(editor, source, task)
        plans[variant] = _build_data(task.plan, planned, naive)
        lines += [""] * bool(lines)
        lines += [f"{variant}, {width}x{height}:", *describe_plan(task.plan)]
        lines += _describe_costs(planned, naive)
    gpu = _plan_gpu(args, editor, EditSize(height, width, 2, len(source.grid.t)))
    lines += ["", "GPU:", *format_gpu(gpu)] if gpu else []
    data = {"command": "plan", "size": f"{width}x{height}", "steps": len(source.grid.t)}
    return Report({}, {**data, "plans": plans, "gpu": gpu}, lines)


def _plan_gpu(args: PlanOptions, editor: Editor, size: EditSize) -> dict[str, Any] | None:
    """What of the model waits on the CPU for such an edit; None without a GPU."""
    model, gpu = args.model, editor.runner.gpu
    if editor.device.type != "cuda" and gpu.memory is None:
        return None
    examined = examine(model.name, read_choices(model.checkpoint), model.vae)
    return plan_gpu(examined, editor.device, gpu, check.dtype(model.dtype), args.engine.mode, size)


def _estimate_costs(editor: Editor, source: Source, task: EditTask) -> tuple[Estimate, Estimate]:
    """The cost of the plan, and of the plan that skips nothing."""
    width, height = source.image.size
    naive = naive_plan(task.weights, task.guidance.null is not None)
    planned, other = (estimate(editor.models, p, height, width) for p in (task.plan, naive))
    return planned, other


def _build_data(plan: Plan, planned: Estimate, naive: Estimate) -> dict[str, Any]:
    segments = [
        {"kind": one.kind, "steps": [one.start, one.stop], "reads": one.reads}
        | ({"reuses": True} if one.reuses else {})
        for one in plan.segments
    ]
    costs = {"cost": planned, "naive": naive}
    return {
        **{name: {**c._asdict(), "peak_bytes": c.peak_bytes} for name, c in costs.items()},
        "segments": segments,
    }


def _describe_costs(planned: Estimate, naive: Estimate) -> list[str]:
    flops = " against ".join(format_count(one.flops, FLOPS) for one in (planned, naive))
    return [
        f"each step by itself: {pluralize(naive.unet_rows, 'UNet row')} in "
        f"{pluralize(naive.unet_calls, 'call')}",
        f"UNet and decoder: {flops}",
        format_memory(planned),
    ]
