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
from benchmarks.sides import Model, compile_unet, diffusers_unet, engines, model_of, ours
from mdp_lite import Editor
from mdp_lite.eval.rounds import gate
from mdp_lite.method.schedule import paper_window
from mdp_lite.pictures.images import open_picture, psnr, to_tensor

PROMPT, TARGET, SEED, GUIDANCE = "a red house on the grass", "a blue house on the grass", 7, 4.0
OUTPUTS = ("mdp_lite", "script", "skip")  # names of the pictures that cold processes write
FP32, CPU = torch.float32, torch.device("cpu")
BOUND, LEAST = 1e-3, 45.0  # of a latent, relative to its norm; dB between pictures
Run = Callable[[], tuple[torch.Tensor, Image.Image]]


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model_of("tiny", tmp_path_factory.mktemp("models"), CPU)


def our_edit(editor: Editor, steps: int) -> Run:
    """An edit of a source that is already computed."""
    source = editor.generate(PROMPT, SEED, steps, GUIDANCE)

    def run() -> tuple[torch.Tensor, Image.Image]:
        result = editor.edit(source, TARGET, "epsilon", *paper_window(steps))
        return result.latent, result.image

    return run


def compile_parts(model: Model) -> script.Parts:
    """The script's models with the UNet compiled with the best options."""
    unet = compile_unet(diffusers_unet(model, FP32, channels_last=True))
    call = lambda x, t, c: unet(x, t, c, return_dict=False)[0]  # noqa: E731
    return script.load(model.folder, FP32)._replace(unet=call)


def their_edit(parts: script.Parts, steps: int, skip: bool) -> Run:
    """The same edit by the script."""
    path = script.source(parts, PROMPT, script.noise(parts, SEED), steps, GUIDANCE)

    def run() -> tuple[torch.Tensor, Image.Image]:
        latent = script.edit(parts, path, TARGET, script.window_of(steps), GUIDANCE, skip)
        return latent, script.picture(parts, latent)

    return run


def test_warm_edit(benchmark, recorder: Recorder, bundled: Model, compiling, steps) -> None:
    """From the call to the picture; the source is already computed."""
    editors = ours(bundled, FP32, engines(CPU, compiling))
    sides = {f"mdp_lite {mode}": our_edit(one, steps) for mode, one in editors.items()}
    peers = {"diffusers script": script.load(bundled.folder, FP32)}
    if compiling:
        peers["diffusers script, compiled"] = compile_parts(bundled)
    for name, parts in peers.items():
        sides[name] = their_edit(parts, steps, False)
        sides[f"{name}, same plan"] = their_edit(parts, steps, True)
    results = {name: run() for name, run in sides.items()}
    want, picture = results["diffusers script"]
    errors = gate({k: one[0] for k, one in results.items()}, want, dict.fromkeys(results, BOUND))
    decibels = {name: psnr(one[1], picture) for name, one in results.items()}
    assert min(decibels.values()) >= LEAST, decibels
    found = recorder.compare(sides)
    checks = {"errors": errors, "bound": BOUND, "psnr_at_least": min(decibels.values())}
    recorder.store("warm edit tiny", {"steps": steps, **checks, **found})
    benchmark.pedantic(next(iter(sides.values())), rounds=3)


def run_python(*words: str) -> None:
    """Run Python in a new process that can import this project's packages."""
    rooms = [str(ROOT / room) for room in (".", "kernels", "weights")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(rooms), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def commands(case: str, steps: int, folder: Path, out: Path) -> dict[str, list[str]]:
    """The command line of each side: the same settings, a picture each."""
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

    "import torch" is the time that no side can go below.
    """
    words = commands(case, steps, bundled.folder, tmp_path)
    sides = {name: (lambda one=one: run_python(*one)) for name, one in words.items()}
    found = recorder.compare(sides, warm_up=1, rounds=15)
    del found["ratios"]["import torch / mdp_lite"]
    paths = [path for path in sorted(tmp_path.glob("*.png")) if path.stem in OUTPUTS]
    pictures = [open_picture(path) for path in paths]
    assert len(pictures) == len(words) - 1
    decibels = [psnr(one, pictures[0]) for one in pictures[1:]]
    assert min(decibels) >= LEAST, decibels
    assert to_tensor(pictures[0]).std() > 0.1  # not a blank picture
    checks = {"psnr_at_least": min(decibels)}
    recorder.store(f"cold {case} tiny", {"steps": steps, **checks, **found})
    benchmark.pedantic(sides["mdp_lite"], rounds=1)
