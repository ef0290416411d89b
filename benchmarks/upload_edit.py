"""An edit of an uploaded picture, process start to file, against diffusers and OpenVINO.

    python -m benchmarks.upload_edit [--size sd15 --models FOLDER] [--steps 8] [--rounds 3]
    python -m benchmarks.upload_edit --openvino FOLDER    # the same, with OpenVINO
    python -m benchmarks.upload_edit --published [--size sd15 --models FOLDER]

Each side is a fresh process, in turns, with the files in the page cache. The same work: DDIM
inversion of one row a step, then an epsilon edit by the authors' window; `diffusers_edit.py` leaves
out the same calls, in the same dtype, in channels_last. Both must make the same picture, within a
bound that the file names. `openvino_edit.py` does the same on models that were converted and
compiled before; how far its picture is from ours is in the file. --published compares our draft
(`--quality draft`) with 50 steps that all call the UNet, as in the published code. That is not the
same work: docs/results.md says what each is worth.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks.record import RESULTS, ROOT, Recorder, format_command, summarize
from benchmarks.sides import Model, config, model_of
from benchmarks.test_bundled import CPU, PROMPT, TARGET, run_python
from mdp_lite.eval.rounds import time_in_turns
from mdp_lite.method.schedule import paper_window
from mdp_lite.pictures.images import open_picture, psnr

DTYPES = {"tiny": "float32", "sd15": "bfloat16"}
GUIDANCE = {"tiny": "4", "sd15": "7.5"}
LEAST = {"float32": 45.0, "bfloat16": 20.0}  # dB; random weights differ more than trained ones
PUBLISHED, ROUNDS = 50, 3  # steps; of processes in turns
SIDES = ("mdp_lite", "diffusers script")
OPENVINO, PRECISIONS = "OpenVINO script", {"float32": "f32", "bfloat16": "bf16"}
Commands = Mapping[str, list[str]]


def build_commands(model: Model, picture: Path, out: Path, steps: int) -> dict[str, list[str]]:
    """The command line of each side for the same work."""
    t_max, t_m = map(str, paper_window(steps))
    window = ["--method", "replay", "--variant", "epsilon", "--t-max", t_max, "--t-m", t_m]
    ours = [*build_ours(model, picture, out), *window, "--steps", str(steps)]
    return {
        SIDES[0]: [*ours, "--guidance-scale", GUIDANCE[model.name]],
        SIDES[1]: [*build_theirs(model, picture, out, steps), "--skip"],
    }


def build_published(model: Model, picture: Path, out: Path) -> dict[str, list[str]]:
    """The command lines of our draft and of the published number of steps."""
    return {
        SIDES[0]: [*build_ours(model, picture, out), "--quality", "draft"],
        SIDES[1]: build_theirs(model, picture, out, PUBLISHED),
    }


def build_ours(model: Model, picture: Path, out: Path) -> list[str]:
    """`mdp-lite edit` of the picture by the model."""
    words = ["-m", "mdp_lite", "edit", str(picture), "--source-prompt", PROMPT, "--prompt", TARGET]
    how = ["--device", "cpu", "--dtype", DTYPES[model.name], "--quiet"]
    return [*words, *how, "--model", str(model.folder), "-o", str(out / f"{SIDES[0]}.png")]


def build_theirs(model: Model, picture: Path, out: Path, steps: int) -> list[str]:
    """The same by the script on diffusers."""
    script = str(ROOT / "benchmarks" / "diffusers_edit.py")
    words = [script, str(model.folder), str(out / f"{SIDES[1]}.png"), PROMPT, TARGET]
    how = ["--device", "cpu", "--dtype", DTYPES[model.name], "--channels-last"]
    settings = ["--steps", str(steps), "--guidance", GUIDANCE[model.name]]
    return [*words, "--picture", str(picture), *how, *settings]


def convert(model: Model, folder: Path) -> None:
    """Convert the model's parts for OpenVINO, those that the folder does not have."""
    run_python("-m", "benchmarks.peers.openvino_models", str(model.folder), str(folder))


def build_openvino(
    model: Model, folder: Path, picture: Path, out: Path, steps: int
) -> dict[str, list[str]]:
    """The command line of the script on OpenVINO."""
    script, to = ROOT / "benchmarks" / "openvino_edit.py", out / f"{OPENVINO}.png"
    words = [str(script), str(model.folder), str(folder), str(to), PROMPT, TARGET]
    how = ["--picture", str(picture), "--precision", PRECISIONS[DTYPES[model.name]]]
    return {OPENVINO: [*words, *how, "--steps", str(steps), "--guidance", GUIDANCE[model.name]]}


def compare(out: Path, name: str) -> float:
    """The dB between our picture and that of a side."""
    return psnr(open_picture(out / f"{SIDES[0]}.png"), open_picture(out / f"{name}.png"))


def check_pictures(out: Path, least: float) -> dict[str, object]:
    """The dB between the pictures; an error below a bound, before any figure.

    OpenVINO's may be farther away: its operators round where it chooses to.
    """
    found = compare(out, SIDES[1])
    assert found >= least, f"the pictures are {found:.1f} dB apart, bound {least}"
    facts: dict[str, object] = {"psnr": write_psnr(found), "bound": least}
    if (out / f"{OPENVINO}.png").exists():
        facts["psnr of OpenVINO"] = write_psnr(compare(out, OPENVINO))
    return facts


def write_psnr(found: float) -> str | float:
    """As JSON can hold it."""
    return "equal" if found == math.inf else round(found, 2)


def find_side(model: Model) -> int:
    """Pixels along a side of the model's own pictures."""
    settings, _, vae = config(model)
    return settings.latent_size[0] * vae.factor


def measure(recorder: Recorder, section: str, commands: Commands, facts: dict[str, object]) -> None:
    """Time the commands in turns; store their seconds and ratio with the facts."""
    sides = {name: partial(run_python, *words) for name, words in commands.items()}
    timed = time_in_turns(sides, recorder.rounds or ROUNDS, CPU, warm_up=0)
    recorder.store(section, {**facts, **summarize(timed)})


def main() -> None:
    """Read the command line, check that both pictures are one, and measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.upload_edit", description=__doc__)
    parser.add_argument("--size", choices=DTYPES, default="tiny")
    parser.add_argument("--models", type=Path, help="a folder for random weights of SD 1.5's size")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--openvino", type=Path, help="also OpenVINO; its models go to this folder")
    parser.add_argument("--out", type=Path, default=RESULTS / "upload_edit.json")
    args = parser.parse_args()
    model = model_of(args.size, args.models or Path(), CPU)
    command = format_command("upload_edit", sys.argv[1:])
    recorder = Recorder(args.out, command, args.rounds, CPU)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        picture = out / "upload.png"
        size = find_side(model), find_side(model)  # both sides take it as it is
        Image.effect_mandelbrot(size, (-2, -1.3, 1, 1.3), 90).convert("RGB").save(picture)
        if args.published:
            commands, facts = build_published(model, picture, out), {"published steps": PUBLISHED}
            run_python(*commands[SIDES[0]])  # reads the files into memory
            return measure(recorder, f"draft against published {args.size}", commands, facts)
        commands = build_commands(model, picture, out, args.steps)
        if args.openvino:
            convert(model, args.openvino)
            commands |= build_openvino(model, args.openvino, picture, out, args.steps)
        for words in commands.values():  # also reads the files into memory
            run_python(*words)
        facts = {"steps": args.steps, **check_pictures(out, LEAST[DTYPES[args.size]])}
        measure(recorder, f"uploaded picture {args.size}", commands, facts)


if __name__ == "__main__":
    main()
