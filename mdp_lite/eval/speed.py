"""The command `mdp-lite bench speed`: times the engine's modes on this machine."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.cli.commands.bench import BenchOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.loading import open_editor
from mdp_lite.cli.reports import Report
from mdp_lite.cli.units import pluralize
from mdp_lite.editor import Editor
from mdp_lite.engine import flops
from mdp_lite.engine.devices import synchronize
from mdp_lite.engine.engine import choose_mode
from mdp_lite.engine.estimate import estimate
from mdp_lite.eval.figures_file import try_to_write
from mdp_lite.eval.rounds import (
    DeviceLimit,
    TimedRounds,
    describe_machine,
    find_limit,
    gate,
    percentiles,
    time_in_turns,
    time_warm_up,
)
from mdp_lite.files import atomic
from mdp_lite.method.schedule import paper_window
from mdp_lite.names import BadInput
from mdp_lite.pipeline.finite import to_float32
from mdp_lite.pipeline.provenance import Settings
from mdp_lite.pipeline.request import Request
from mdp_lite.version import __version__

ROWS = (1, 2, 4)
PROMPT, TARGET, SEED = "a red house on the grass", "a blue house on the grass", 7
BOUNDS = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 3e-2}  # of a step's output
BUDGET, MIN_ROUNDS, MAX_ROUNDS = 4.0, 3, 30  # seconds for a measurement of one mode; its rounds
ModeCalls = dict[str, Callable[[], object]]  # by the engine's mode


class Workload(NamedTuple):
    """Something to time: its name, the call of it in every mode, and its FLOPs."""

    what: str
    calls: ModeCalls
    flops: int


class SpeedFigure(NamedTuple):
    """The seconds of one mode for one workload, and its share of the device's peak."""

    what: str
    engine: str
    p50: float
    p90: float
    p99: float
    samples: int
    warm_up: list[float]
    fraction_of_limit: float


def bench_speed(args: BenchOptions, console: Console) -> Report:
    """Open the model in each mode, check that they agree, and time them in turns."""
    editors = open_editors(args)
    editor = next(iter(editors.values()))
    for note in editor.models.notes:
        console.log(note)
    data = {"command": "bench", "what": "speed", "dry_run": args.run.dry_run}
    data |= describe_setup(editor)
    if args.run.dry_run:
        return Report({}, data, [f"would time {', '.join(editors)} of {editor.models.name}"])
    with console.progress("speed") as on_step:
        figures, limit, errors = measure(editors, args, on_step or _ignore)
    data |= {"errors": errors, "limit": limit._asdict()}
    data |= {"figures": [one._asdict() for one in figures]}
    content = (json.dumps(data, indent=1) + "\n").encode()
    path = args.output
    done = not path or try_to_write(lambda: atomic.write(path, content), console)
    files = [str(path)] if path and done else []
    lines = [*(f"wrote {file}" for file in files), *format_figures(data)]
    return Report({}, data | {"files": files}, lines, failed=not done)


def open_editors(args: BenchOptions) -> dict[str, Editor]:
    """The model in each of the engine's modes that are asked for; they share its weights."""
    if args.methods or args.pictures is not None:
        raise BadInput("bench speed takes no pictures and no methods: it makes its own source")
    # Without a cache, because a source from a cache costs nothing.
    editor = open_editor(replace(args.model, cache=None), args.engine)
    gpu = editor.device.type == "cuda"
    engines = args.speed.engines or (("eager", "graph") if gpu else ("eager",))
    modes = dict.fromkeys(choose_mode(mode, editor.device) for mode in engines)
    return {mode: Editor(editor.models, editor.device, engine=mode) for mode in modes}


def describe_setup(editor: Editor) -> Settings:
    """The model and the machine that figures belong to."""
    origin = editor.models.origin
    dtype = str(origin.dtype).removeprefix("torch.")
    model = {"model": editor.models.name, "dtype": dtype, "device": editor.device.type}
    return model | {"size": "x".join(map(str, editor.runner.size)), "version": __version__,
                    "machine": describe_machine(editor.device)}  # fmt: skip


@torch.no_grad()
def measure(
    editors: dict[str, Editor], args: BenchOptions, on_step: Callable[[int, int], object]
) -> tuple[list[SpeedFigure], DeviceLimit, dict[str, float]]:
    """The figures of every workload, the device's limit, and the error of each mode.

    The modes are timed only if they agree.
    """
    editor = next(iter(editors.values()))
    errors = check_agreement(editors)
    limit = find_limit(editor.models.origin.dtype, editor.device)
    workloads = build_workloads(editors, args.steps)
    times = []
    for k, work in enumerate(workloads):
        times.append(time_modes(work.calls, args.speed.rounds, editor.device))
        on_step(k + 1, len(workloads))
    # Other processes may have slowed the first measurement.
    limit = max(limit, find_limit(editor.models.origin.dtype, editor.device))
    pairs = zip(workloads, times, strict=True)
    return [one for pair in pairs for one in make_figures(*pair, limit)], limit, errors


def make_figures(
    work: Workload, times: dict[str, TimedRounds], limit: DeviceLimit
) -> list[SpeedFigure]:
    """The figures of a workload, one for each mode."""
    figures = []
    for mode, one in times.items():
        p50, p90, p99, count = percentiles(one.seconds)
        share = work.flops / p50 / limit.rate
        figures.append(SpeedFigure(work.what, mode, p50, p90, p99, count, one.warm_up, share))
    return figures


def time_modes(calls: ModeCalls, count: int | None, device: torch.device) -> dict[str, TimedRounds]:
    """Time `count` rounds, or as many as fit the budget; two calls of each mode warm up."""
    first = time_warm_up(calls, 2, device)
    slowest = max(seconds[-1] for seconds in first.values())
    synchronize(device)
    count = count or min(MAX_ROUNDS, max(MIN_ROUNDS, int(BUDGET / slowest)))
    times = time_in_turns(calls, count, device, warm_up=0)
    return {name: one._replace(warm_up=first[name]) for name, one in times.items()}


def check_agreement(editors: dict[str, Editor]) -> dict[str, float]:
    """The relative distance of a step of each mode from the model in float32.

    Raises RuntimeError if one is beyond its bound.
    """
    models = next(iter(editors.values())).models
    dtype = models.origin.dtype
    x, t, c = make_inputs(next(iter(editors.values())), 2)
    want = (models.unet if dtype == torch.float32 else to_float32(models.unet))(x, t, c)
    outputs = {
        mode: one.runner.unet(x.to(dtype), t, c.to(dtype)).float() for mode, one in editors.items()
    }
    return gate(outputs, want, dict.fromkeys(outputs, BOUNDS[dtype]))


def make_inputs(editor: Editor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """x, t, c of a UNet call with so many rows, in float32."""
    config, generator = editor.models.unet.config, torch.Generator().manual_seed(0)
    y, x = (side // editor.runner.factor for side in editor.runner.size)
    latent = torch.randn(rows, config.in_channels, y, x, generator=generator)
    c = torch.randn(rows, _count_tokens(editor), config.cross_attention_dim, generator=generator)
    return latent.to(editor.device), torch.tensor(501, device=editor.device), c.to(editor.device)


def build_workloads(editors: dict[str, Editor], steps: int | None) -> list[Workload]:
    """A call of the UNet with 1, 2 and 4 rows, a source, an edit of it, and a decoded latent."""
    editor = next(iter(editors.values()))
    models, runner, (width, height) = editor.models, editor.runner, editor.runner.size
    y, x, tokens = height // runner.factor, width // runner.factor, _count_tokens(editor)
    step = {rows: flops.unet(models.unet.config, y, x, rows, tokens).flops for rows in ROWS}
    decode = flops.decode(models.vae.config, height, width).flops
    works = [Workload(f"step, {pluralize(n, 'row')}", _unet_calls(editors, n), step[n])
             for n in ROWS]  # fmt: skip
    source = editor.generate(PROMPT, SEED, steps)
    calls = source.cost.unet_calls
    rows = source.cost.unet_rows // calls
    request = Request(source, TARGET, "epsilon", *paper_window(calls))
    edit = estimate(models, editor.plan(request), height, width).flops
    generate: ModeCalls = {
        mode: (lambda e=e: e.generate(PROMPT, SEED, steps)) for mode, e in editors.items()
    }
    edits: ModeCalls = {mode: (lambda e=e: e.edits([request])) for mode, e in editors.items()}
    decodes: ModeCalls = {
        mode: (lambda e=e: e.runner.decode(source.path.x[-1])) for mode, e in editors.items()
    }
    return [
        *works,
        Workload(f"source, {pluralize(calls, 'step')}", generate, calls * step[rows] + decode),
        Workload(f"edit, {pluralize(calls, 'step')}", edits, edit),
        Workload("VAE decode", decodes, decode),
    ]


def _unet_calls(editors: dict[str, Editor], rows: int) -> ModeCalls:
    editor = next(iter(editors.values()))
    dtype = editor.models.origin.dtype
    x, t, c = make_inputs(editor, rows)
    inputs = x.to(dtype), t, c.to(dtype)
    return {mode: (lambda one=one: one.runner.unet(*inputs)) for mode, one in editors.items()}


def _count_tokens(editor: Editor) -> int:
    return editor.models.c_shape[0]


def format_figures(data: Settings) -> list[str]:
    """The model and the machine, then the figures as a table."""
    on, limit = data["machine"], data["limit"]
    head = f"{data['model']}, {data['size']}, {data['dtype']} on {on.get('gpu', on['cpu'])}"
    lines = [f"{head}, {pluralize(on['threads'], 'thread')}, torch {on['torch']}"]
    lines += [f"limit: {limit['rate'] / 1e9:,.0f} GFLOP/s ({limit['name']})"]
    errors = ", ".join(f"{mode} {error:.1e}" for mode, error in data["errors"].items())
    lines += [f"distance of a step from float32: {errors}", ""]
    line = "{:18} {:8} {:>10} {:>10} {:>10} {:>7} {:>9}"
    lines.append(line.format("", "engine", "p50 ms", "p90 ms", "p99 ms", "rounds", "of limit"))
    for one in data["figures"]:
        times = (f"{1e3 * one[name]:,.1f}" for name in ("p50", "p90", "p99"))
        share = f"{one['fraction_of_limit']:.0%}"
        lines.append(line.format(one["what"], one["engine"], *times, one["samples"], share))
    return lines


def _ignore(done: int, count: int) -> None:
    """A progress report that nobody sees."""
