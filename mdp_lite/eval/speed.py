"""What `mdp-lite bench speed` does: the engine's modes by the clock, on this machine."""

import json
from argparse import Namespace
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.checkpoint import atomic
from mdp_lite.cli.console import Console
from mdp_lite.editor import Editor
from mdp_lite.engine import flops as cost
from mdp_lite.engine.engine import chosen
from mdp_lite.engine.estimate import estimate
from mdp_lite.eval.rounds import (
    Limit,
    Timed,
    clocked,
    gate,
    interleaved,
    limit,
    machine,
    spread,
    wait,
)
from mdp_lite.method.schedule import paper_window
from mdp_lite.pipeline.finite import in_float32
from mdp_lite.pipeline.provenance import Settings
from mdp_lite.pipeline.request import Request
from mdp_lite.version import __version__

ROWS = (1, 2, 4)
PROMPT, TARGET, SEED = "a red house on the grass", "a blue house on the grass", 7
BOUNDS = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 3e-2}  # of a step's output
BUDGET, LEAST, MOST = 4.0, 3, 30  # seconds for a measurement of one mode; its rounds
Sides = dict[str, Callable[[], object]]  # by the engine's mode


class Work(NamedTuple):
    """Something to be timed: what it is, by every mode, and its FLOPs."""

    what: str
    sides: Sides
    flops: int


class Line(NamedTuple):
    """What one mode took for one work."""

    what: str
    engine: str
    p50: float
    p90: float
    p99: float
    samples: int
    warm_up: list[float]
    fraction_of_limit: float


def speed(args: Namespace, console: Console) -> Made:
    """Open the model in each mode, check that they agree, and time them in turns."""
    editors = opened_in(args)
    editor = next(iter(editors.values()))
    for note in editor.models.notes:
        console.log(note)
    data = {"command": "bench", "what": "speed", "dry_run": args.dry_run, **settings(editor)}
    if args.dry_run:
        return Made({}, data, [f"would time {', '.join(editors)} of {editor.models.name}"])
    with console.progress("speed") as on_step:
        found, most, errors = timed(editors, args, on_step or _silent)
    lines = [line._asdict() for line in found]
    data |= {"errors": errors, "limit": most._asdict(), "figures": lines}
    if args.output:
        atomic.write(args.output, (json.dumps(data, indent=1) + "\n").encode())
    files = [str(args.output)] if args.output else []
    return Made({}, data | {"files": files}, [*(f"wrote {one}" for one in files), *told(data)])


def opened_in(args: Namespace) -> dict[str, Editor]:
    """The model in each mode of the engine asked for; they share its weights."""
    if args.rounds is not None and args.rounds < 1:
        raise ValueError(f"rounds must be 1 or more, got {args.rounds}")
    if args.methods or args.pictures is not None:
        raise ValueError("bench speed takes no pictures and no methods: it makes its own source")
    editor = opened(Namespace(**vars(args) | {"cache": None}))  # a source from there costs nothing
    gpu = editor.device.type == "cuda"
    asked = args.engines or (("eager", "graph") if gpu else ("eager",))
    modes = dict.fromkeys(chosen(mode, editor.device) for mode in asked)
    return {mode: Editor(editor.models, editor.device, engine=mode) for mode in modes}


def settings(editor: Editor) -> Settings:
    """What figures belong to."""
    origin = editor.models.origin
    dtype = str(origin.dtype).removeprefix("torch.")
    model = {"model": editor.models.name, "dtype": dtype, "device": editor.device.type}
    return model | {"size": "x".join(map(str, editor.runner.size)), "version": __version__,
                    "machine": machine(editor.device)}  # fmt: skip


@torch.no_grad()
def timed(
    editors: dict[str, Editor], args: Namespace, on_step: Callable[[int, int], object]
) -> tuple[list[Line], Limit, dict[str, float]]:
    """Behind the gate, every work by all modes in turns; and the limit of the device."""
    editor = next(iter(editors.values()))
    errors = agreed(editors)
    peak = limit(editor.models.origin.dtype, editor.device)
    todo = works(editors, args.steps)
    found = []
    for k, work in enumerate(todo):
        found.append(in_turns(work.sides, args.rounds, editor.device))
        on_step(k + 1, len(todo))
    peak = max(peak, limit(editor.models.origin.dtype, editor.device))  # others may work beside
    lines = [line for pair in zip(todo, found, strict=True) for line in lined(*pair, peak)]
    return lines, peak, errors


def lined(work: Work, found: dict[str, Timed], peak: Limit) -> list[Line]:
    """The figures of a work, one line a mode."""
    lines = []
    for mode, times in found.items():
        p50, p90, p99, count = spread(times.seconds)
        share = work.flops / p50 / peak.rate
        lines.append(Line(work.what, mode, p50, p90, p99, count, times.warm_up, share))
    return lines


def in_turns(sides: Sides, rounds: int | None, device: torch.device) -> dict[str, Timed]:
    """Rounds as asked for, or as many as the budget has room for; two calls of each warm up."""
    first = {name: [clocked(run, device) for _ in range(2)] for name, run in sides.items()}
    slowest = max(seconds[-1] for seconds in first.values())
    wait(device)
    count = rounds or min(MOST, max(LEAST, int(BUDGET / slowest)))
    found = interleaved(sides, count, device, warm_up=0)
    return {name: times._replace(warm_up=first[name]) for name, times in found.items()}


def agreed(editors: dict[str, Editor]) -> dict[str, float]:
    """How far a step of each mode is from the model in float32; too far is a RuntimeError."""
    models = next(iter(editors.values())).models
    dtype = models.origin.dtype
    x, t, c = inputs(next(iter(editors.values())), 2)
    want = (models.unet if dtype == torch.float32 else in_float32(models.unet))(x, t, c)
    outputs = {
        mode: one.runner.unet(x.to(dtype), t, c.to(dtype)).float() for mode, one in editors.items()
    }
    return gate(outputs, want, dict.fromkeys(outputs, BOUNDS[dtype]))


def inputs(editor: Editor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """x, t, c of a call with so many rows, in float32."""
    config, generator = editor.models.unet.config, torch.Generator().manual_seed(0)
    y, x = (side // editor.runner.factor for side in editor.runner.size)
    latent = torch.randn(rows, config.in_channels, y, x, generator=generator)
    c = torch.randn(rows, _tokens(editor), config.cross_attention_dim, generator=generator)
    return latent.to(editor.device), torch.tensor(501, device=editor.device), c.to(editor.device)


def works(editors: dict[str, Editor], steps: int | None) -> list[Work]:
    """A call of the UNet with 1, 2 and 4 rows, a source, an edit of it, and a decoded latent."""
    editor = next(iter(editors.values()))
    models, codec, (width, height) = editor.models, editor.runner, editor.runner.size
    y, x = height // codec.factor, width // codec.factor
    flops = {
        rows: cost.unet(models.unet.config, y, x, rows, _tokens(editor)).flops for rows in ROWS
    }
    decode = cost.decode(models.vae.config, height, width).flops
    found = [Work(f"step, {n} row{'s' * (n > 1)}", _steps(editors, n), flops[n]) for n in ROWS]
    source = editor.generate(PROMPT, SEED, steps)
    calls = source.cost.unet_calls
    asked = Request(source, TARGET, "epsilon", *paper_window(calls))
    plan = editor.plan(asked)
    rows = source.cost.unet_rows // calls
    made: Sides = {
        mode: (lambda e=e: e.generate(PROMPT, SEED, steps)) for mode, e in editors.items()
    }
    edit: Sides = {mode: (lambda e=e: e.edits([asked])) for mode, e in editors.items()}
    seen: Sides = {
        mode: (lambda e=e: e.runner.decode(source.path.x[-1])) for mode, e in editors.items()
    }
    return [
        *found,
        Work(f"source, {calls} steps", made, calls * flops[rows] + decode),
        Work(f"edit, {calls} steps", edit, estimate(models, plan, height, width).flops),
        Work("VAE decode", seen, decode),
    ]


def _steps(editors: dict[str, Editor], rows: int) -> Sides:
    editor = next(iter(editors.values()))
    dtype = editor.models.origin.dtype
    x, t, c = inputs(editor, rows)
    given = x.to(dtype), t, c.to(dtype)
    return {mode: (lambda one=one: one.runner.unet(*given)) for mode, one in editors.items()}


def _tokens(editor: Editor) -> int:
    return editor.models.text_encoder.config.max_position_embeddings


def told(data: Settings) -> list[str]:
    """The figures as a table, after what they belong to."""
    on, peak = data["machine"], data["limit"]
    head = f"{data['model']}, {data['size']}, {data['dtype']} on {on.get('gpu', on['cpu'])}"
    lines = [f"{head}, {on['threads']} threads, torch {on['torch']}"]
    lines += [f"limit: {peak['rate'] / 1e9:,.0f} GFLOP/s ({peak['name']})"]
    apart = ", ".join(f"{mode} {error:.1e}" for mode, error in data["errors"].items())
    lines += [f"distance of a step from float32: {apart}", ""]
    row = "{:18} {:8} {:>10} {:>10} {:>10} {:>7} {:>9}"
    lines.append(row.format("", "engine", "p50 ms", "p90 ms", "p99 ms", "rounds", "of limit"))
    for one in data["figures"]:
        times = (f"{1e3 * one[name]:,.1f}" for name in ("p50", "p90", "p99"))
        share = f"{one['fraction_of_limit']:.0%}"
        lines.append(row.format(one["what"], one["engine"], *times, one["samples"], share))
    return lines


def _silent(done: int, count: int) -> None:
    """Where nobody watches."""
