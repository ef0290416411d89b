"""What `mdp-lite info` prints, against the models themselves, run and counted."""

import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from mdp_lite.__main__ import main
from mdp_lite.checkpoint.load import CATALOGUE
from mdp_lite.cli import units
from mdp_lite.editor import Editor
from mdp_lite.engine import flops
from mdp_lite.engine.memory import LIBRARY_BYTES
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.config import CLIPConfig, UNetConfig, VAEConfig
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE
from mdp_lite.pipeline.abilities import find_family
from support import ldm
from support.checkpoints import DEFAULTS, write_json
from support.checkpoints import SCHEDULER as PLAIN

ReadInfo = Callable[..., dict[str, Any]]
FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
SIZES = {"float32": 4, "float16": 2}
SCHEDULER = "scheduler/scheduler_config.json"


@pytest.fixture
def read_info(capsys: pytest.CaptureFixture[str]) -> ReadInfo:
    """Runs `info --json` and returns the object it printed."""

    def call(*line: object) -> dict[str, Any]:
        assert main(["info", *map(str, line), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the random model to change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def total(q: torch.Size, k: torch.Size, v: torch.Size, *_: object, **__: object) -> int:
    return sdpa_flop_count(q, k, v)


def test_what_it_is(read_info: ReadInfo, checkpoint: Path) -> None:
    said = read_info(checkpoint)
    assert list(said) == [
        *("command", "model", "layout", "revision", "family", "picture", "pictures", "words"),
        *(
            "prediction_type",
            "notes",
            "machine",
            "tokens",
            "longest_prompt",
            "clip_skip",
            "parameters",
            "dtypes",
        ),
        *("weight_bytes", "files", "bytes", "sha256", "edit", "gpu", "scheduler", "defaults"),
        *("text_encoder", "unet", "vae"),
    ]
    assert (said["model"], said["layout"], said["revision"]) == ("random", "folder", None)
    assert said["family"] == "Stable Diffusion of another shape"
    assert (said["notes"], said["longest_prompt"]) == ([], 24)


def test_what_it_holds(read_info: ReadInfo, checkpoint: Path, editor: Editor) -> None:
    said, models = read_info(checkpoint), editor.models
    parts = {"text_encoder": models.text_encoder, "unet": models.unet, "vae": models.vae}
    counts = {part: sum(p.numel() for p in m.parameters()) for part, m in parts.items()}
    assert said["parameters"] == counts | {"all": sum(counts.values())}
    assert said["weight_bytes"] == {dtype: sum(counts.values()) * n for dtype, n in SIZES.items()}
    assert said["dtypes"] == {part: ["float32"] for part in parts}
    found = {p.relative_to(checkpoint).as_posix(): p for p in checkpoint.rglob("*") if p.is_file()}
    assert said["files"] == {name: path.stat().st_size for name, path in found.items()}
    assert said["bytes"] == sum(said["files"].values())
    assert said["tokens"] == len(models.tokenizer.clip)


def test_an_edit_costs_what_the_editor_spends(
    read_info: ReadInfo, checkpoint: Path, editor: Editor
) -> None:
    said = read_info(checkpoint, "--no-hash")["edit"]
    plain = Editor(editor.models, editor.device)
    plain.runner.unet, plain.runner.vae._wrapped = editor.models.unet, {}  # no kernels of our own
    with FlopCounterMode(display=False, custom_mapping={FUSED: total}) as counter:
        source = plain.generate("a red house")
        edit = plain.edit(source, "a blue boat")
    assert said["picture"] == "x".join(map(str, edit.image.size))
    assert said["unet_rows"] == source.cost.unet_rows + edit.cost.unet_rows
    assert said["unet_calls"] == source.cost.unet_calls + edit.cost.unet_calls
    assert said["flops"]["all"] == counter.get_total_flops()
    assert sum(said["flops"].values()) == 2 * said["flops"]["all"]


def test_without_guidance_a_step_is_one_row(read_info: ReadInfo, copy: Path) -> None:
    guided = read_info(copy, "--no-hash")["edit"]
    write_json(copy / "mdp_lite.json", DEFAULTS | {"guidance_scale": 1.0})
    plain = read_info(copy, "--no-hash")["edit"]
    # Ten steps of the source, and of the edit those five outside its window of weights 1.
    assert (plain["unet_rows"], guided["unet_rows"]) == (15, 30)
    assert (plain["unet_calls"], guided["unet_calls"]) == (15, 15)
    assert 2 * plain["flops"]["text_encoder"] == guided["flops"]["text_encoder"]
    assert plain["flops"]["vae"] == guided["flops"]["vae"]


def test_the_hash_of_a_folder_is_of_names_and_sums(read_info: ReadInfo, copy: Path) -> None:
    lines = []
    for path in filter(Path.is_file, copy.rglob("*")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{digest}  {path.parent.name}/{path.name}\n")
    was = read_info(copy)["sha256"]
    assert was == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    assert read_info(copy, "--no-hash")["sha256"] is None
    with (copy / "unet/diffusion_pytorch_model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    assert read_info(copy)["sha256"] != was


@pytest.mark.representative("False")
@pytest.mark.parametrize("openclip", [False, True])
def test_a_single_file_needs_no_tokenizer(
    openclip: bool, read_info: ReadInfo, tmp_path: Path
) -> None:
    parts = ldm.write_folder(tmp_path / "folder", openclip)
    file = tmp_path / "model.safetensors"
    save_file(ldm.single(parts, openclip), file)
    said = read_info(file)
    assert (said["layout"], said["tokens"], said["longest_prompt"]) == ("single file", None, None)
    assert said["files"] == {"model.safetensors": file.stat().st_size}
    assert said["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert said["notes"][0].startswith("prediction type epsilon: ")
    line = ("--tokenizer", tmp_path / "folder", "--prediction-type", "v_prediction", "--no-hash")
    chosen = read_info(file, *line)
    assert (chosen["prediction_type"], chosen["notes"]) == ("v_prediction", [])
    assert chosen["longest_prompt"] == 24


def test_lines_for_people(
    checkpoint: Path, read_info: ReadInfo, capsys: pytest.CaptureFixture[str]
) -> None:
    said = read_info(checkpoint)
    assert main(["info", str(checkpoint)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line[13] == " " and " " not in line[:13].strip() for line in lines)
    shown = dict(line.split(None, 1) for line in lines if line[:1] != " ")
    assert shown["model"] == "random (folder)"
    assert shown["prediction"] == "epsilon"
    assert shown["unet"].split()[0] == f"{said['parameters']['unet']:,}"
    assert shown["edit"] == "32x32, 10 steps, guidance 3, with its source: 30 UNet rows"
    assert shown["sha256"] == said["sha256"]
    assert sum(name in line for line in lines for name in said["files"]) == len(said["files"])


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (3_438_167_536, "3.44 GB"),
    ],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert units.format_count(count, units.SIZES) == text


def test_the_scheduler_is_described_in_words(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = json.loads((copy / SCHEDULER).read_text("utf-8"))
    write_json(copy / SCHEDULER, raw | {"rescale_betas_zero_snr": True, "set_alpha_to_one": True,
                                        "prediction_type": "v_prediction"})  # fmt: skip
    assert main(["info", str(copy), "--no-hash"]) == 0
    out = capsys.readouterr().out
    assert "leading spacing, offset 1, ends at alpha 1, zero terminal SNR\n" in out
    assert "sha256" not in out


def test_the_commit_of_what_lies_in_a_cache(
    read_info: ReadInfo, checkpoint: Path, tmp_path: Path
) -> None:
    commit = "0123456789" * 4
    folder = shutil.copytree(checkpoint, tmp_path / "models--a--b" / "snapshots" / commit)
    assert read_info(folder, "--no-hash")["revision"] == commit


def hollow(folder: Path, tokenizer: Path) -> Path:
    """Stable Diffusion 1.5 in its full size and in float16: two gigabytes of holes in files."""
    text = CLIPConfig(49408, 768, 3072, 12, 12)
    unet = UNetConfig(768, sample_size=64)
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    vae = VAEConfig((128, 256, 512, 512), down, up)
    with torch.device("meta"):
        made = {"text_encoder": CLIPTextEncoder(text), "unet": UNet(unet), "vae": VAE(vae)}
    for part, model in made.items():
        write_json(folder / part / "config.json", asdict(model.config))
        write_holes(folder / part / ldm.WEIGHTS[part], model.state_dict())
    write_json(folder / SCHEDULER, asdict(PLAIN) | {"clip_sample": False})
    shutil.copytree(tokenizer, folder / "tokenizer")
    return folder


def write_holes(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """A safetensors file of zeros that were never written."""
    header, end = {}, 0
    for key, tensor in tensors.items():
        start, end = end, end + 2 * tensor.numel()
        header[key] = {"dtype": "F16", "shape": tensor.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def test_stable_diffusion_in_full_size(
    checkpoint: Path, tmp_path: Path, read_info: ReadInfo
) -> None:
    full_size = hollow(tmp_path / "sd15", checkpoint / "tokenizer")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = read_info(full_size, "--no-hash")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < said["bytes"] / 10  # no weight is read
    assert (said["family"], said["picture"]) == ("Stable Diffusion 1.x", "512x512")
    assert said["parameters"]["unet"] == 859_520_964
    assert said["dtypes"]["unet"] == ["float16"]
    assert said["edit"]["unet_rows"] == 166  # 100 of the source, 66 of the window 47/17
    assert round(said["edit"]["flops"]["unet"] / 83e9, 1) == 1606.5  # 83 calls of two rows
    decode = flops.decode(VAEConfig((128, 256, 512, 512)), 512, 512, dtype=torch.bfloat16)
    most = decode.resident_bytes
    beside = said["edit"]["peak_bytes"]["bfloat16"] - said["weight_bytes"]["float16"] - most
    assert beside == LIBRARY_BYTES + 2 * 101 * 4 * 64 * 64 * 8  # and the source path, twice
    assert ("float16 becomes float32" in " ".join(said["notes"])) != torch.cuda.is_available()


@pytest.mark.parametrize(
    ("width", "levels", "name"),
    [
        (768, (320, 640, 1280, 1280), "Stable Diffusion 1.x"),
        (1024, (320, 640, 1280, 1280), "Stable Diffusion 2.x"),
        (768, (320, 640, 1280), "Stable Diffusion of another shape"),
        (512, (320, 640, 1280, 1280), "Stable Diffusion of another shape"),
    ],
)
def test_families_follow_from_the_shape(width: int, levels: tuple[int, ...], name: str) -> None:
    assert find_family(UNetConfig(width, levels)) == name


def test_the_list(read_info: ReadInfo, capsys: pytest.CaptureFixture[str]) -> None:
    said = read_info("--list")["catalogue"]
    assert [row["id"] for row in said] == [known.id for known in CATALOGUE]
    assert main(["info", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[::3] == [row["id"] for row in said]
    for row, about, note in zip(said, lines[1::3], lines[2::3], strict=True):
        assert row["family"] in about and about.endswith(f"licence: {row['licence']}")
        assert note == f"  {row['note']}"


NO_MODEL = "a model must be one of tiny, small, a folder, a .safetensors file or a hub id"
BAD = dict.fromkeys(("none", "no/such/place"), NO_MODEL) | {
    "no/such --offline": "is not in the cache",
    "model.txt": "a model file must end in .safetensors, got",
    "model.ckpt": "is a pickle, which is never loaded: `mdp-lite convert` makes safetensors of it",
    "tiny --ema": "ema is for single files: a folder holds one UNet",
    "tiny --model-variant fp32": "no part has the variant 'fp32': want one of text_encoder/mod",
    "tiny --tokenizer none": "tokenizer must be a folder or a hub id, got 'none'",
    "tiny --strict": "--strict",
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_one_sentence(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says_one_line: Callable[[str], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("model.txt", "model.ckpt"):
        Path(name).write_bytes(b"x")
    assert main(["info", *line.split()]) == 2
    says_one_line(BAD[line])
