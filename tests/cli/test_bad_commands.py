"""Bad command lines: exit code 2, exactly one line on stderr, nothing sampled, nothing written."""

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdp_lite.__main__ import main
from support.places import ROOT


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    sized = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + sized + bytes(4) + data + struct.pack(">I", zlib.crc32(data))


@pytest.fixture
def folder(work_folder: Path) -> Path:
    """The working folder with good and bad pictures."""
    good = Image.effect_noise((40, 30), 60).convert("RGB")
    good.save("good.png")
    good.save("good.jpg")
    good.save("good.gif")
    good.save("good.tif")
    others = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    for name in ("moving.png", "moving.webp", "moving.gif"):
        good.save(name, save_all=True, append_images=others)
    for name in ("good.png", "good.jpg"):
        raw = Path(name).read_bytes()
        Path(f"cut{Path(name).suffix}").write_bytes(raw[: len(raw) // 2])
    Path("empty.png").write_bytes(b"")
    Path("text.png").write_text("a red house")
    Path("page.png").write_text("<!doctype html><html></html>")
    Path("drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    Path("bomb.png").write_bytes(png_header(20000, 20000))
    Path("large.png").write_bytes(png_header(9000, 9000))
    Path("link.png").symlink_to("good.png")
    os.link("good.png", "twin.png")
    Path("folder.png").mkdir()
    return work_folder


def snapshot(place: Path) -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(place.rglob("*"))}


G, E = "generate a --model model", "edit --prompt b --model model"
S = f"{E} --source-prompt a"
R = "invert --model model"
FORMAT = "picture must be a PNG, JPEG or WebP file"
# What the line has: our own sentence, or of the C library the argument alone.
COMMANDS: dict[str, str | tuple[str, ...]] = {
    # the command line itself
    "": "COMMAND",
    "paint": "'paint'",
    "generate": "PROMPT",
    "edit good.png": "--prompt",
    "invert": "PICTURE",
    f"{G} --sed 3": "--sed",
    f"{G} unasked": "unasked",
    f"{G} --seed": "--seed",
    f"{G} --dtype int8": ("--dtype", "'int8'"),
    f"{S} --variant eps": ("--variant", "'eps'"),
    f"{S} --schedule sin": ("--schedule", "'sin'"),
    f"{E} good.png --method null": ("--method", "'null'"),
    # numbers
    f"{G} --seed one": ("--seed", "must be a whole number, got 'one'"),
    f"{G} --seed 1.5": ("--seed", "must be a whole number, got '1.5'"),
    f"{G} --seed -1": "seed must be from 0 to 2^63 - 1, got -1",
    f"{G} --seed 9223372036854775808": "seed must be from 0 to 2^63 - 1, got 9223372036854775808",
    f"{G} --steps 0": "--steps must be from 1 to 1000, got 0",
    f"{G} --steps 1001": "--steps must be from 1 to 1000, got 1001",
    f"{G} --steps 1.5": ("--steps", "must be a whole number, got '1.5'"),
    f"{G} --steps nan": ("--steps", "must be a whole number, got 'nan'"),
    f"{G} --guidance-scale nan": "--guidance-scale must be from 1 to 100, got nan",
    f"{G} --guidance-scale=-inf": "--guidance-scale must be from 1 to 100, got -inf",
    f"{G} --guidance-scale -2": "--guidance-scale must be from 1 to 100, got -2.0",
    f"{G} --guidance-scale high": ("--guidance-scale", "must be a number, got 'high'"),
    f"{G} --width 0": "--width must be from 1 to 4096, got 0",
    f"{G} --height 31": "--height must be a multiple of 4 from 4 to 4096, got 31",
    f"{G} --height 100000": "--height must be from 1 to 4096, got 100000",
    # the window
    f"{S} --t-max 11": "--t-max must be at most the 10 steps of the path, got 11.0",
    f"{S} --t-max -1": "--t-max must be 0 or more, got -1.0",
    f"{S} --t-max 4 --t-m 5": "--t-m must be at most --t-max = 4.0, got 5.0",
    f"{S} --t-m nan": "--t-m must be 0 or more, got nan",
    f"{S} --strength 1.01": "--strength must be from 0 to 1, got 1.01",
    f"{S} --strength 0.5 --t-m 3": "--strength and --t-m set the same thing: give one of them",
    f"{S} --weight inf": "must be a finite number, got inf",
    f"{S} --weight much": "--weight",
    f"{S} --steps 500 --t-max 501": "--t-max must be at most the 500 steps of the path",
    # which source
    E: "edit needs PICTURE or --source-prompt",
    f"{E} good.png --seed 3": "seed is for a source made from a prompt, got 3 and a PICTURE",
    f"{S} --method ddim": "method is for inverting a PICTURE, got 'ddim' without one",
    # pictures
    f"{R} none.png": f"{FORMAT}, got no such file: 'none.png'",
    f"{R} folder.png": f"{FORMAT}, got a folder: 'folder.png'",
    f"{R} /dev/null": f"{FORMAT}, got a device: '/dev/null'",
    f"{R} empty.png": f"{FORMAT}, got 0 bytes: 'empty.png'",
    f"{R} text.png": f"{FORMAT} by its content, got something else: 'text.png'",
    f"{R} page.png": f"{FORMAT} by its content, got something else: 'page.png'",
    f"{R} drawing.svg": f"{FORMAT} by its content, got something else: 'drawing.svg'",
    f"{R} good.gif": f"{FORMAT} by its content, got something else: 'good.gif'",
    f"{R} good.tif": f"{FORMAT} by its content, got something else: 'good.tif'",
    f"{R} moving.gif": f"{FORMAT} by its content, got something else: 'moving.gif'",
    f"{R} moving.png": "picture must be a still one, got 3 frames: 'moving.png'",
    f"{R} moving.webp": "picture must be a still one, got 3 frames: 'moving.webp'",
    f"{R} cut.png": "picture must be whole, got a damaged file",
    f"{R} cut.jpg": "picture must be whole, got a damaged file",
    f"{R} bomb.png": "picture must have at most 64 megapixels, got far more: 'bomb.png'",
    f"{R} large.png": "picture must have at most 64 megapixels, got 9000x9000: 'large.png'",
    f"{E} text.png": f"{FORMAT} by its content, got something else: 'text.png'",
    # models
    "generate a --model none": "a .safetensors file or a hub id like \"org/name\", got 'none'",
    "generate a --model good.png": "a model file must end in .safetensors, got good.png",
    "generate a --model folder.png": "a checkpoint folder must hold text_encoder/config.json",
    "info none": "a .safetensors file or a hub id like \"org/name\", got 'none'",
    f"{G} --lora none": "want a .safetensors file or org/name/file.safetensors, got 'none'",
    f"{G} --lora good.png:0.5": "good.png is not a readable safetensors file",
    f"{G} --lora good.png:nan": "the strength of a LoRA must be a finite number, got nan",
    f"{G} --embedding none": "want a .safetensors file or org/name/file.safetensors, got 'none'",
    f"{G} --vae none": "vae must be a folder, a .safetensors file or a hub id, got 'none'",
    f"{G} --tokenizer none": "tokenizer must be a folder or a hub id, got 'none'",
    f"{G} --prediction-type flow": ("--prediction-type", "'flow'"),
    f"{G} --model-variant ../x": "variant must be part of a file name like fp16, got '../x'",
    f"{G} --model-variant fp16": "no part has the variant 'fp16': want one of text_encoder/mod",
    f"{G} --ema": "ema is for single files: a folder holds one UNet",
    f"{G} --device tpu": "device must be cpu, cuda or mps, got 'tpu'",
    f"{G} --device cuda:99": "device cuda:99 is not there",
    # outputs
    f"{G} -o out.gif": "--output must be a file name that ends in .png, .jpg, .jpeg, .webp, or -",
    f"{G} -o out": "--output must be a file name that ends in .png, .jpg, .jpeg, .webp, or -, got",
    f"{G} -o folder.png": "output must be a file, got the folder 'folder.png'",
    f"{G} -o text.png/out.png": ("output must be writable", "for 'text.png/out.png'"),
    f"{G} -o {'x' * 300}.png": ("output must be writable", "x.png'"),
    f"{R} good.png -o good.png": "output must not be the input picture, got 'good.png'",
    f"{R} good.png -o link.png": "output must not be the input picture, got 'link.png'",
    f"{E} good.png -o ./good.png": "output must not be the input picture, got 'good.png'",
    f"{E} good.png -o twin.png": "output must not be the input picture, got 'twin.png'",
    f"{E} good.png --sheet good.png": "output must not be the input picture, got 'good.png'",
    f"{E} good.png -o a.png --sheet a.png": "--sheet must be another file than the picture",
    f"{E} good.png --sheet a.pdf": ("--sheet", "must be a file name that ends in .png"),
}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_bad_command_line(line: str, folder: Path, says_words: Callable[..., None]) -> None:
    before, words = snapshot(folder), COMMANDS[line]
    assert main(line.split()) == 2
    says_words(*([words] if isinstance(words, str) else words))
    assert snapshot(folder) == before


@pytest.mark.parametrize("line", [G, f"{S} --variant all", f"{R} good.png"])
def test_a_folder_that_can_not_be_written(
    line: str, folder: Path, says_one_line: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)  # root may write anywhere
    monkeypatch.setattr("mdp_lite.models.unet.UNet.predict", lambda *a: pytest.fail("sampled"))
    before = snapshot(folder)
    assert main([*line.split(), "-o", "new/out.png"]) == 2
    says_one_line("output must be writable, got 'Permission denied' for 'new/")
    assert snapshot(folder) == before


def test_nothing_is_sampled_before_bad_input_is_found(
    folder: Path, says_one_line: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdp_lite.models.unet.UNet.predict", lambda *a: pytest.fail("sampled"))
    assert main(f"{S} --variant all --t-max 11".split()) == 2
    says_one_line("--t-max must be at most the 10 steps of the path, got 11.0")


@pytest.mark.representative("generate a --model none")
@pytest.mark.parametrize(
    "line", [f"{R} text.png", "generate a --model none", "edit", f"{G} --steps 0 --json"]
)
def test_a_real_process_says_one_line(line: str, folder: Path) -> None:
    paths = os.pathsep.join(str(ROOT / room) for room in ("", "kernels", "weights"))
    done = subprocess.run(
        [sys.executable, "-m", "mdp_lite", *line.split()],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mdp-lite: ") and done.stderr.count("\n") == 1
