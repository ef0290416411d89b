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
from mdp_lite.engine import flops as cost
from mdp_lite.eval.cases import cases
from mdp_lite.eval.resources import taken
from mdp_lite.eval.rounds import gate
from mdp_lite.eval.world import draw
from mdp_lite.method.null_text import null_text
from mdp_lite.method.sample import Path as Walked
from mdp_lite.method.schedule import paper_window
from mdp_lite.pictures.images import to_tensor

FP32, BF16 = torch.float32, torch.bfloat16
BOUNDS = {FP32: 1e-3, BF16: 0.1}  # of latents and pictures, relative to their norm
NULLS, ROW, INNER, GUIDANCE = 1e-3, 25, 10, 7.5  # bound of null rows; the step that is tuned
Sides = dict[str, Callable[[], torch.Tensor]]


@pytest.fixture
def dtype(model: Model) -> torch.dtype:
    return FP32 if model.name == "tiny" else BF16


def kept(
    recorder: Recorder, section: str, sides: Sides, theirs: str, bound: float, **told: Any
) -> dict[str, Any]:
    """The figures of a section behind its gate: all within a bound of the side that is named."""
    outputs = {name: run() for name, run in sides.items()}
    errors = gate(outputs, outputs[theirs], dict.fromkeys(sides, bound))
    found = recorder.compared(sides, warm_up=1)
    recorder.keep(section, {"errors": errors, "bound": bound, **told, **found})
    return found


def test_inversion(benchmark, model: Model, recorder: Recorder, dtype, compiling, steps) -> None:
    """A picture to its path by DDIM inversion, and what the path decodes to."""
    (case,) = cases("color", 1, short=True)
    editors, image = ours(model, dtype, engines(model.device, compiling)), draw(case.before)
    fitted = next(iter(editors.values())).runner.fit(image, "crop", None, None).fitted(image)
    flow = published.load(model.folder, steps, GUIDANCE, checkpointing=False)
    sides: Sides = {
        f"mdp_lite {mode}": lambda one=one: one.invert(image, case.source, "replay", steps).path.x[
            0
        ]
        for mode, one in editors.items()
    }
    sides["published"] = lambda: published.invert(flow, to_tensor(fitted), case.source)[1][-1]
    kept(recorder, f"inversion {model.name}", sides, "published", BOUNDS[dtype], steps=steps)
    benchmark.pedantic(next(iter(sides.values())), rounds=1)


def test_null_text_step(benchmark, model: Model, recorder: Recorder) -> None:
    """One step's null row tuned by ten iterations, none skipped: forward, backward, Adam."""
    (editor,) = ours(model, FP32).values()
    source = editor.generate("a red house", 7, 50, GUIDANCE)
    grid, x = source.grid, source.path.x
    one = type(grid)(*(column[ROW : ROW + 1] for column in grid))
    far = x[ROW + 1] + 1  # a pivot that is never reached
    pivots = Walked(torch.stack([x[ROW], far]), source.path.eps[ROW : ROW + 1], source.path.c)
    to = editor.runner.guidance("a red house", "", GUIDANCE)

    def tuned() -> torch.Tensor:
        return next(null_text(editor.models.unet, one, pivots, to, False, INNER, -1.0, [0])).null

    flows = {
        f"published{'' if kind else ', not checkpointed'}": published.load(
            model.folder, 50, GUIDANCE, kind
        )
        for kind in (True, False)
    }

    def theirs(flow: published.Published) -> torch.Tensor:
        """i = 0 sets the learning rate of a path's first step, as in the path of one above."""
        given = (x[ROW].float(), grid.t[ROW], to.c, to.null, far.float(), 0)
        with torch.enable_grad():
            return published.tuned(flow, *given)[0]

    sides: Sides = {"mdp_lite": tuned}
    sides |= {name: (lambda flow=flow: theirs(flow)) for name, flow in flows.items()}
    kept(
        recorder, f"null-text step {model.name}", sides, "published", NULLS, iterations=INNER
    )  # fmt: skip
    benchmark.pedantic(tuned, rounds=1)


@pytest.mark.parametrize("call", ["encode", "decode"])
def test_vae(benchmark, model: Model, recorder: Recorder, dtype, compiling, call) -> None:
    """A picture to its latent, or a latent to its picture, one dtype on both sides."""
    editors = ours(model, dtype, engines(model.device, compiling))
    codecs = {mode: one.runner for mode, one in editors.items()}
    codec = next(iter(codecs.values()))
    width, (case,) = codec.size[0], cases("color", 1, short=True)
    image = draw(case.before).resize((width, width))
    latent, pixels = codec.latent(image), to_tensor(image).to(model.device, dtype)

    def by_us(one: Any) -> torch.Tensor:
        return one.latent(image) if call == "encode" else to_tensor(one.picture(latent))

    def by_them(vae: AutoencoderKL) -> torch.Tensor:
        if call == "encode":
            return vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
        z = latent.to(dtype)
        return to_tensor(script.picture(parts._replace(vae=vae), z))

    parts = script.load(model.folder, dtype, str(model.device))
    last = script.load(model.folder, dtype, str(model.device), channels_last=True)
    sides: Sides = {f"mdp_lite {m}": lambda one=one: by_us(one) for m, one in codecs.items()}
    sides["diffusers"] = lambda: by_them(parts.vae)
    sides["diffusers channels_last"] = lambda: by_them(last.vae)
    flops = getattr(cost, call)(config(model)[2], width, width).flops
    before = limits([dtype], model.device)
    outputs = {name: run() for name, run in sides.items()}
    errors = gate(outputs, outputs["diffusers"], dict.fromkeys(sides, BOUNDS[dtype]))
    found = recorder.compared(sides)
    most = highest(before, limits([dtype], model.device))
    found = with_fractions(found, flops, dict.fromkeys(sides, dtype), most)
    recorder.keep(f"VAE {call} {model.name}", {"errors": errors, "bound": BOUNDS[dtype], **found})
    benchmark.pedantic(next(iter(sides.values())), rounds=1)


def peak_of(side: str, folder: Path, device: str, dtype: torch.dtype, steps: int) -> dict[str, Any]:
    """Of a process of its own: most bytes while it edits, over what there was before it loaded."""
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
        found = taken(by_us if side == "mdp_lite" else by_them, model.device)
    return found._asdict()


def test_memory(model: Model, recorder: Recorder, dtype) -> None:
    """Loading, a source and an edit of few steps: its weights and the most that a step takes."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, Any] = {}
    for side in ("mdp_lite", "diffusers"):
        with ProcessPoolExecutor(1, context) as pool:
            given = (side, model.folder, str(model.device), dtype, 2)
            found[side] = pool.submit(peak_of, *given).result()
    if found["mdp_lite"]["peak_bytes"] is None:
        pytest.skip("this system does not tell how much memory a process takes")
    ratio = found["diffusers"]["peak_bytes"] / found["mdp_lite"]["peak_bytes"]
    peaks = {side: one["peak_bytes"] for side, one in found.items()}
    told = {"peak_bytes": peaks, "diffusers / mdp_lite": ratio, "dtype": str(dtype)}
    recorder.keep(f"memory {model.name}", told)
    print(told)
