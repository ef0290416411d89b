"""Seconds from a picture to its edited file by a model of few steps, at SD-Turbo's full size.

    python -m benchmarks.fast_edit --models FOLDER --out benchmarks/results/fast_edit.json

writes a random SD-Turbo in bfloat16 (3 GB) and a random TAESD into a temporary folder in FOLDER,
which is removed at the end. The model is loaded before the clock starts; the first edit also packs
its weights, so each number of steps has a first and a next one. Each is: read the JPEG, record its
noise, edit, write the PNG. FLOPs are those of the UNet in all of that, and of the decoder twice,
because the source is decoded too.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, EulerDiscreteScheduler
from PIL import Image

from benchmarks.record import format_command
from mdp_lite.editor import Editor
from mdp_lite.engine.estimate import estimate
from mdp_lite.eval.rounds import describe_machine
from mdp_lite.method.plan import naive_plan
from mdp_lite.pipeline.request import Request
from tests.support.full_size import NOISE, write

STEPS, SIDE, REPEATS = (1, 2, 4), 512, 2
PROMPTS = "a house by a lake", "a castle by a lake"
EULER = {key: NOISE[key] for key in ("beta_start", "beta_end", "beta_schedule", "steps_offset")}


def write_models(folder: Path) -> tuple[Path, Path]:
    """SD-Turbo's networks and scheduler with random weights, and a TAESD for it."""
    model = write("sd21", folder / "sd-turbo", torch.bfloat16)
    EulerDiscreteScheduler(
        num_train_timesteps=1000, timestep_spacing="trailing", **EULER
    ).save_pretrained(model / "scheduler")
    index = json.loads((model / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "EulerDiscreteScheduler"]
    (model / "model_index.json").write_text(json.dumps(index))
    torch.manual_seed(0)
    AutoencoderTiny().to(torch.bfloat16).save_pretrained(folder / "taesd")
    return model, folder / "taesd"


def edit_file(editor: Editor, picture: Path, output: Path, steps: int) -> int:
    """The whole edit; its UNet rows, those of the recorded noise among them."""
    source = editor.invert(picture, PROMPTS[0], num_inference_steps=steps, width=SIDE, height=SIDE)
    edit = editor.edit(source, PROMPTS[1])
    edit.picture.save(output)
    return source.cost.unet_rows + edit.cost.unet_rows


def measure(editor: Editor, folder: Path, steps: int) -> dict[str, Any]:
    """Seconds, rows and FLOPs of an edit in these steps."""
    picture, output, seconds, rows = folder / "a.jpg", folder / "b.png", [], 0
    for _ in range(REPEATS):
        started = time.perf_counter()
        rows = edit_file(editor, picture, output, steps)
        seconds.append(time.perf_counter() - started)
    source = editor.generate(PROMPTS[0], 0, steps, width=SIDE, height=SIDE)
    (task,) = editor.tasks([Request(source, PROMPTS[1])])
    costs = [estimate(editor.models, one, SIDE, SIDE) for one in (
        task.plan, naive_plan(task.weights, guided=False)
    )]  # fmt: skip
    return {
        "rows": rows, "seconds first": seconds[0], "seconds next": min(seconds[1:]),
        "flops": sum(one.flops for one in costs),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="a folder with 4 GB of room")
    parser.add_argument("--out", type=Path, help="a JSON file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.models) as top:
        folder = Path(top)
        model, taesd = write_models(folder)
        Image.effect_noise((640, 512), 60).convert("RGB").save(folder / "a.jpg")
        editor = Editor.from_pretrained(model, "cpu", torch.bfloat16, vae=taesd)
        found = {str(steps): measure(editor, folder, steps) for steps in STEPS}
    for steps, one in found.items():
        print(f"{steps} steps: {one['rows']} rows, {one['seconds next']:.2f} s")
    machine = describe_machine(torch.device("cpu"))
    command = format_command("fast_edit", sys.argv[1:])
    if args.out:
        figures = {"picture": f"{SIDE}x{SIDE}", "machine": machine, "command": command} | found
        args.out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
