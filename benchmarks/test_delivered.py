"""An epsilon edit as delivered: mdp_lite in bfloat16 against the published flow in float32.

    python -m pytest benchmarks/test_delivered.py --benchmark-enable -s -m "" --size sd15 --steps 50

Both sample a source from a prompt with guidance and edit it at the window of 47 and 26 of 50
steps. The published flow (`diffusers_edit.py`) calls the UNet with both rows in each step; mdp_lite
where a row's result is used. Rounds have one source and one edit each; one decode each on both
sides. With --steps N the window keeps its shares.
"""

import time
from collections.abc import Callable

import torch

from benchmarks import diffusers_edit as script
from benchmarks.record import Recorder, enough, summarize
from benchmarks.sides import Model, engines, ours
from mdp_lite import Editor
from mdp_lite.engine.devices import synchronize
from mdp_lite.eval.rounds import TimedRounds, gate
from mdp_lite.method.schedule import paper_window
from mdp_lite.pipeline.once import once

PROMPT, TARGET, SEED, GUIDANCE = "a red house on the grass", "a blue house on the grass", 7, 7.5
BOUND = 0.05  # of the edit's latent, relative to its norm: bfloat16 steps against float32 ones
WARM_UP = 2  # steps
Flow = Callable[[int], tuple[float, float, torch.Tensor]]  # steps -> seconds of both, the latent


def our_flow(model: Model, editor: Editor) -> Flow:
    """The flow of mdp_lite: a source, then an edit of it."""

    def run(steps: int) -> tuple[float, float, torch.Tensor]:
        begun = now(model)
        source = editor.generate(PROMPT, SEED, steps, GUIDANCE)
        between = now(model)
        result = editor.edit(source, TARGET, "epsilon", *paper_window(steps))
        return between - begun, now(model) - between, result.latent

    return run


def once_flow(model: Model, editor: Editor) -> Flow:
    """The same edit by `once`, without the source's picture; the edit alone has 0 seconds."""

    def run(steps: int) -> tuple[float, float, torch.Tensor]:
        begun = now(model)
        window = dict(zip(("t_max", "t_m"), paper_window(steps), strict=True))
        result = once(editor, PROMPT, TARGET, SEED, "epsilon", steps, GUIDANCE, **window)
        return now(model) - begun, 0.0, result.latent

    return run


def their_flow(model: Model, channels_last: bool) -> Flow:
    parts = script.load(model.folder, torch.float32, str(model.device), channels_last)

    def run(steps: int) -> tuple[float, float, torch.Tensor]:
        begun = now(model)
        path = script.source(parts, PROMPT, script.noise(parts, SEED), steps, GUIDANCE)
        script.picture(parts, path.latent)
        between = now(model)
        latent = script.edit(parts, path, TARGET, script.window_of(steps), GUIDANCE)
        script.picture(parts, latent)
        return between - begun, now(model) - between, latent

    return run


def now(model: Model) -> float:
    synchronize(model.device)
    return time.perf_counter()


def faster_layout(model: Model) -> tuple[Flow, dict[str, float]]:
    """The published flow in its faster memory layout, chosen by a short trial of both."""
    flows = {name: their_flow(model, name == "channels_last") for name in ("NCHW", "channels_last")}
    for run in flows.values():
        run(1)
    seconds = {name: sum(run(WARM_UP)[:2]) for name, run in flows.items()}
    return flows[min(seconds, key=lambda name: seconds[name])], seconds


def test_source_and_edit(benchmark, model: Model, recorder: Recorder, compiling, steps) -> None:
    theirs, layouts = faster_layout(model)
    ((mode, editor),) = ours(model, torch.bfloat16, engines(model.device, compiling)[:1]).items()
    flows = {
        f"mdp_lite {mode} bfloat16": our_flow(model, editor),
        f"mdp_lite {mode} bfloat16, source not shown": once_flow(model, editor),
        "published flow float32": theirs,
    }
    first = {name: [sum(run(WARM_UP)[:2])] for name, run in flows.items()}
    slowest = max(one[0] for one in first.values()) * steps / WARM_UP
    parts: dict[str, list[tuple[float, float]]] = {name: [] for name in flows}
    latents: dict[str, torch.Tensor] = {}
    for i in range(recorder.rounds or enough(slowest)):
        for name in list(flows)[:: -1 if i % 2 else 1]:
            *seconds, latents[name] = flows[name](steps)
            parts[name].append((seconds[0], seconds[1]))
            print(f"{name}: source {seconds[0]:.2f} s, edit {seconds[1]:.2f} s", flush=True)
    errors = gate(latents, latents["published flow float32"], dict.fromkeys(flows, BOUND))
    settings = {"steps": steps, "errors": errors, "bound": BOUND, "layouts": layouts}
    for section, pick in (("source + edit", sum), ("edit", lambda pair: pair[1])):
        timed = {n: TimedRounds([pick(one) for one in rows], first[n]) for n, rows in parts.items()}
        timed = {name: one for name, one in timed.items() if min(one.seconds) > 0}
        recorder.store(f"{section} {model.name}", {**settings, **summarize(timed)})
    benchmark.extra_info.update(settings)
    benchmark.pedantic(flows[next(iter(flows))], (WARM_UP,), rounds=1)
