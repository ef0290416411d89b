"""The parts of an edit against diffusers: inversion, a null-text step, the VAE, memory.

    python -m pytest benchmarks/test_parts.py --benchmark-enable -s -m "" --size sd15

The bundled model runs in float32 on both sides. Of another size the VAE and the memory are those of
bfloat16 on both, null-text is in float32 on both, and an inversion as delivered: bfloat16 against
the published flow's float32.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from benchmarks import diffusers_edit as script
from benchmarks import published
from benchmarks.record import Recorder, highest, limits, with_fractions
from benchmarks.sides import Model, config, engines, ours
from mdp_lite import Editor
from mdp_lite.engine import flops as cost
from mdp_lite.eval.cases import make_cases
from mdp_lite.eval.resources import measure_resources
from mdp_lite.eval.rounds import gate
from mdp_lite.eval.world import draw
from mdp_lite.method.null_text import null_text
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import paper_window
from mdp_lite.pictures.images import to_tensor
from mdp_lite.pipeline.runner import ModelRunner

FP32, BF16 = torch.float32, torch.bfloat16
BOUNDS = {FP32: 1e-3, BF16: 0.1}  # of latents and pictures, relative to their norm
NULLS, STEP, INNER, GUIDANCE = 1e-3, 25, 10, 7.5  # bound of null rows; the tuned step
Sides = dict[str, Callable[[], torch.Tensor]]


@pytest.fixture
def dtype(model: Model) -> torch.dtype:
    return FP32 if model.name == "tiny" else BF16


def store_compared(
    recorder: Recorder, section: str, sides: Sides, theirs: str, bound: float, **more: Any
) -> dict[str, Any]:
    """Check that all sides are within a bound of `theirs`, then time them and store the section."""
    outputs = {name: run() for name, run in sides.items()}
    errors = gate(outputs, outputs[theirs], dict.fromkeys(sides, bound))
    found = recorder.compare(sides, warm_up=1)
    recorder.store(section, {"errors": errors, "bound": bound, **more, **found})
    return found


def test_inversion(benchmark, model: Model, recorder: Recorder, dtype, compiling, steps) -> None:
    """A picture to its path by DDIM inversion, and what the path decodes to."""
    (case,) = make_cases("color", 1, short=True)
    editors, image = ours(model, dtype, engines(model.device, compiling)), draw(case.source_scene)
    fitted = next(iter(editors.values())).runner.fit(image, "crop", None, None).apply(image)
    flow = published.load(model.folder, steps, GUIDANCE, checkpointing=False)

    def by_us(one: Editor) -> torch.Tensor:
        return one.invert(image, case.source, "replay", steps).path.x[0]

    sides: Sides = {f"mdp_lite {k}": lambda one=one: by_us(one) for k, one in editors.items()}
    sides["published"] = lambda: published.invert(flow, to_tensor(fitted), case.source)[1][-1]
    store_compared(
        recorder, f"inversion {model.name}", sides, "published", BOUNDS[dtype], steps=steps
    )
    benchmark.pedantic(next(iter(sides.values())), rounds=1)


def test_null_text_step(benchmark, model: Model, recorder: Recorder) -> None:
    """Ten iterations of tuning one step's null row, none skipped: forward, backward, Adam."""
    (editor,) = ours(model, FP32).values()
    source = editor.generate("a red house", 7, 50, GUIDANCE)
    grid, x = source.grid, source.path.x
    one = grid.cut(STEP, STEP + 1)
    far = x[STEP + 1] + 1  # a pivot that is never reached
    pivots = Trajectory(
        torch.stack([x[STEP], far]), source.path.eps[STEP : STEP + 1], source.path.c
    )
    guidance = editor.runner.guidance("a red house", "", GUIDANCE)

    def by_us() -> torch.Tensor:
        unet = editor.models.unet
        return next(null_text(unet, one, pivots, guidance, False, INNER, -1.0, [0])).null

    flows = {
        f"published{'' if kind else ', not checkpointed'}": published.load(
            model.folder, 50, GUIDANCE, kind
        )
        for kind in (True, False)
    }

    def theirs(flow: published.PublishedFlow) -> torch.Tensor:
        """i = 0 sets the learning rate of a path's first step: the path above has one step."""
        inputs = (x[STEP].float(), grid.t[STEP], guidance.c, guidance.null, far.float(), 0)
        with torch.enable_grad():
            return published.tune_null(flow, *inputs)[0]

    sides: Sides = {"mdp_lite": by_us}
    sides |= {name: (lambda flow=flow: theirs(flow)) for name, flow in flows.items()}
    section = f"null-text step {model.name}"
    store_compared(recorder, section, sides, "published", NULLS, iterations=INNER)
    benchmark.pedantic(by_us, rounds=1)


@pytest.mark.parametrize("call", ["encode", "decode"])
def test_vae(benchmark, model: Model, recorder: Recorder, dtype, compiling, call) -> None:
    """Encoding a picture or decoding a latent, with one dtype on both sides.

    python -m pytest benchmarks/test_parts.py --benchmark-enable -s -m "" -k vae --size sd15
    """
    editors = ours(model, dtype, engines(model.device, compiling))
    runners = {mode: one.runner for mode, one in editors.items()}
    runner = next(iter(runners.values()))
    width, (case,) = runner.size[0], make_cases("color", 1, short=True)
    image = draw(case.source_scene).resize((width, width))
    latent, pixels = runner.encode(image), to_tensor(image).to(model.device, dtype)

    def by_us(one: ModelRunner) -> torch.Tensor:
        return one.encode(image) if call == "encode" else to_tensor(one.decode(latent))

    def by_them(vae: AutoencoderKL, layout: torch.memory_format) -> torch.Tensor:
        if call == "encode":
            x = pixels.contiguous(memory_format=layout)
            return vae.encode(x).latent_dist.mean * vae.config.scaling_factor
        z = latent.to(dtype).contiguous(memory_format=layout)
        return to_tensor(script.picture(parts._replace(vae=vae), z))

    parts = script.load(model.folder, dtype, str(model.device))
    last = script.load(model.folder, dtype, str(model.device), channels_last=True)
    sides: Sides = {f"mdp_lite {m}": lambda one=one: by_us(one) for m, one in runners.items()}
    sides["diffusers"] = lambda: by_them(parts.vae, torch.contiguous_format)
    sides["diffusers channels_last"] = lambda: by_them(last.vae, torch.channels_last)
    flops = getattr(cost, call)(config(model)[2], width, width).flops
    before = limits([dtype], model.device)
    outputs = {name: run() for name, run in sides.items()}
    errors = gate(outputs, outputs["diffusers"], dict.fromkeys(sides, BOUNDS[dtype]))
    found = recorder.compare(sides)
    limit = highest(before, limits([dtype], model.device))
    found = with_fractions(found, flops, dict.fromkeys(sides, dtype), limit)
    recorder.store(f"VAE {call} {model.name}", {"errors": errors, "bound": BOUNDS[dtype], **found})
    benchmark.pedantic(next(iter(sides.values())), rounds=1)


def measure_peak(
    side: str, folder: Path, device: str, dtype: torch.dtype, steps: int
) -> dict[str, Any]:
    """The peak memory of an edit in bytes, over that before loading; runs in a fresh process."""
    model, window = Model("", folder, torch.device(device)), script.window_of(steps)

    def by_us() -> None:
        ((_, editor),) = ours(model, dtype).items()
        source = editor.generate("a red house", 7, steps, GUIDANCE)
        editor.edit(source, "a blue house", "epsilon", *paper_window(steps))

    def by_them() -> None:
        p = script.load(folder, dtype, device)
        path = script.source(p, "a red house", script.noise(p, 7), steps, GUIDANCE)
        script.picture(p, script.edit(p, path, "a blue house", window, GUIDANCE))

    with torch.no_grad():
        found = measure_resources(by_us if side == "mdp_lite" else by_them, model.device)
    return found._asdict()


def test_memory(model: Model, recorder: Recorder, dtype) -> None:
    """Loading, a source and an edit of few steps: its weights and the most that a step takes."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, Any] = {}
    for side in ("mdp_lite", "diffusers"):
        with ProcessPoolExecutor(1, context) as pool:
            settings = (side, model.folder, str(model.device), dtype, 2)
            found[side] = pool.submit(measure_peak, *settings).result()
    if found["mdp_lite"]["peak_bytes"] is None:
        pytest.skip("this system does not report the memory of a process")
    ratio = found["diffusers"]["peak_bytes"] / found["mdp_lite"]["peak_bytes"]
    peaks = {side: one["peak_bytes"] for side, one in found.items()}
    figures = {"peak_bytes": peaks, "diffusers / mdp_lite": ratio, "dtype": str(dtype)}
    recorder.store(f"memory {model.name}", figures)
    print(figures)
