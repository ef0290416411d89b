"""The bundled model on the CPU in float32: a warm edit and a cold command, against diffusers.

    python -m pytest benchmarks/test_bundled.py --benchmark-enable -s -m ""

The peer is `diffusers_edit.py`. "same plan" leaves out the calls whose result it throws away, as
mdp_lite does: that ratio is of identical work, the others are as delivered. The gate: all make the
same picture.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import diffusers_edit as script
from benchmarks.record import ROOT, Recorder
from benchmarks.sides import Model, compiled, diffusers_unet, engines, model_of, ours
from mdp_lite import Editor
from mdp_lite.eval.rounds import gate
from mdp_lite.method.schedule import paper_window
from mdp_lite.pictures.images import open_picture, psnr, to_tensor

PROMPT, TARGET, SEED, GUIDANCE = "a red house on the grass", "a blue house on the grass", 7, 4.0
STEMS = ("mdp_lite", "script", "skip")  # of the pictures that cold processes write
FP32, CPU = torch.float32, torch.device("cpu")
BOUND, LEAST = 1e-3, 45.0  # of a latent, relative to its norm; dB between pictures
Run = Callable[[], tuple[torch.Tensor, Image.Image]]


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model_of("tiny", tmp_path_factory.mktemp("models"), CPU)


def our_edit(editor: Editor, steps: int) -> Run:
    """An edit of a source that is there."""
    source = editor.generate(PROMPT, SEED, steps, GUIDANCE)

    def run() -> tuple[torch.Tensor, Image.Image]:
        made = editor.edit(source, TARGET, "epsilon", *paper_window(steps))
        return made.latent, made.image

    return run


def compiled_parts(model: Model) -> script.Parts:
    """The script's models with a UNet as good as it can be made."""
    unet = compiled(diffusers_unet(model, FP32, channels_last=True))
    call = lambda x, t, c: unet(x, t, c, return_dict=False)[0]  # noqa: E731
    return script.load(model.folder, FP32)._replace(unet=call)


def their_edit(parts: script.Parts, steps: int, skip: bool) -> Run:
    """The same by the script."""
    path = script.source(parts, PROMPT, script.noise(parts, SEED), steps, GUIDANCE)

    def run() -> tuple[torch.Tensor, Image.Image]:
        latent = script.edit(parts, path, TARGET, script.window_of(steps), GUIDANCE, skip)
        return latent, script.picture(parts, latent)

    return run


def test_warm_edit(benchmark, recorder: Recorder, bundled: Model, compiling, steps) -> None:
    """A source is there; from the call to the picture."""
    editors = ours(bundled, FP32, engines(CPU, compiling))
    sides = {f"mdp_lite {mode}": our_edit(one, steps) for mode, one in editors.items()}
    peers = {"diffusers script": script.load(bundled.folder, FP32)}
    if compiling:
        peers["diffusers script, compiled"] = compiled_parts(bundled)
    for name, parts in peers.items():
        sides[name] = their_edit(parts, steps, False)
        sides[f"{name}, same plan"] = their_edit(parts, steps, True)
    made = {name: run() for name, run in sides.items()}
    want, shown = made["diffusers script"]
    errors = gate({k: one[0] for k, one in made.items()}, want, dict.fromkeys(made, BOUND))
    decibels = {name: psnr(one[1], shown) for name, one in made.items()}
    assert min(decibels.values()) >= LEAST, decibels
    found = recorder.compared(sides)
    gated = {"errors": errors, "bound": BOUND, "psnr_at_least": min(decibels.values())}
    recorder.keep("warm edit tiny", {"steps": steps, **gated, **found})
    benchmark.pedantic(next(iter(sides.values())), rounds=3)


def process(*words: str) -> None:
    """A Python of its own, with this project's packages at hand."""
    rooms = [str(ROOT / room) for room in (".", "kernels", "weights")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(rooms), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def commands(case: str, steps: int, folder: Path, out: Path) -> dict[str, list[str]]:
    """What each side is started with; the same settings, a picture each."""
    common = ["--seed", str(SEED), "--steps", str(steps)]
    prompts = ["--source-prompt", PROMPT, "--prompt", TARGET] if case == "edit" else [PROMPT]
    t_max, t_m = map(str, paper_window(steps))
    window = ["--variant", "epsilon", "--t-max", t_max, "--t-m", t_m] if case == "edit" else []
    ours = ["-m", "mdp_lite", case, *prompts, *common, "--guidance-scale", str(GUIDANCE)]
    target = [TARGET] if case == "edit" else []
    theirs = [str(ROOT / "benchmarks" / "diffusers_edit.py"), str(folder)]
    settings = [*common, "--guidance", str(GUIDANCE), "--device", "cpu"]
    found = {
        "mdp_lite": [*ours, *window, "--device", "cpu", "-o", str(out / "mdp_lite.png")],
        "diffusers script": [*theirs, str(out / "script.png"), PROMPT, *target, *settings],
    }
    if case == "edit":
        words = [*theirs, str(out / "skip.png"), PROMPT, *target, *settings, "--skip"]
        found["diffusers script, same plan"] = words
    return found | {"import torch": ["-c", "import torch"]}


@pytest.mark.parametrize("case", ["edit", "generate"])
def test_cold(benchmark, recorder: Recorder, bundled: Model, steps, tmp_path, case) -> None:
    """A fresh process from its start to a written picture, files in the page cache.

    "import torch" is what no side can go below.
    """
    words = commands(case, steps, bundled.folder, tmp_path)
    sides = {name: (lambda one=one: process(*one)) for name, one in words.items()}
    found = recorder.compared(sides, warm_up=1, rounds=15)
    del found["ratios"]["import torch / mdp_lite"]
    shown = [open_picture(path) for path in sorted(tmp_path.glob("*.png")) if path.stem in STEMS]
    assert len(shown) == len(words) - 1
    decibels = [psnr(one, shown[0]) for one in shown[1:]]
    assert min(decibels) >= LEAST, decibels
    assert to_tensor(shown[0]).std() > 0.1  # not a blank picture
    gated = {"psnr_at_least": min(decibels)}
    recorder.keep(f"cold {case} tiny", {"steps": steps, **gated, **found})
    benchmark.pedantic(sides["mdp_lite"], rounds=1)
