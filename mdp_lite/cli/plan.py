"""What `mdp-lite plan` tells: what an edit will compute, and what that costs, before it runs."""

from argparse import Namespace
from typing import Any

from mdp_lite.cli.console import Console, note_cut, source_of
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.cli.info import FLOPS, SIZES
from mdp_lite.editor import Editor, Source
from mdp_lite.engine.estimate import Estimate, estimate, walked
from mdp_lite.method.plan import described
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.request import Request, variant_of


def plan(args: Namespace, editor: Editor, console: Console) -> Made:
    """The plans of an edit, one for each variant asked for; the UNet is not called."""
    idle = dry_run_editor(editor)
    source = source_of(args, idle, console)
    note_cut(editor, console, args.prompt)
    one = Request(source, args.prompt, args.variant, args.t_max, args.t_m)
    variants = VARIANTS if args.variant == "all" else (variant_of(one, editor.models.defaults),)
    plans, lines = {}, []
    for variant in variants:
        plans[variant], told = _one(args, editor, idle, source, variant)
        lines += ["", *told] if lines else told
    width, height = source.image.size
    data = {"command": "plan", "size": f"{width}x{height}", "steps": len(source.grid.t)}
    return Made({}, {**data, "plans": plans}, lines)


def _one(
    args: Namespace, editor: Editor, idle: Editor, source: Source, variant: str
) -> tuple[dict[str, Any], list[str]]:
    request = Request(
        source, args.prompt, variant, args.t_max, args.t_m, args.schedule, args.strength,
        None, args.guidance_scale, args.negative_prompt or None, proximal=args.proximal,
    )  # fmt: skip
    (task,) = idle.tasks([request])
    width, height = source.image.size
    naive = walked(task.weights, task.to.null is not None)
    costs = [estimate(editor.models, one, height, width) for one in (task.plan, naive)]
    legs = [{"kind": one.kind, "rows": [one.start, one.stop], "reads": one.reads}
            for one in task.plan.legs]  # fmt: skip
    names = ("cost", "naive")
    data = {name: _data(one) for name, one in zip(names, costs, strict=True)} | {"legs": legs}
    told = [f"each step by itself: {costs[1].unet_rows} UNet rows in {costs[1].unet_calls} calls"]
    both = " against ".join(format_count(one.flops, FLOPS) for one in costs)
    memory = format_count(costs[0].peak_bytes, SIZES)
    parts = [f"{name} {format_count(size, SIZES)}" for name, size in (
        ("weights", costs[0].weight_bytes), ("activations", costs[0].activation_bytes),
        ("source path", costs[0].path_bytes))]  # fmt: skip
    told += [f"UNet and decoder: {both}", f"memory: {memory} ({', '.join(parts)})"]
    return data, [f"{variant}, {width}x{height}:", *described(task.plan), *told]


def _data(one: Estimate) -> dict[str, int]:
    return {**one._asdict(), "peak_bytes": one.peak_bytes}
