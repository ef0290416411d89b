"""The mdp-lite command: what it writes, prints and costs."""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.models.unet import UNet
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images
from mdp_lite.pipeline.result import Cost

TARGET = "a blue boat"

Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def folder(work_folder: Path) -> Path:
    """The working folder with two pictures."""
    Image.effect_noise((48, 40), 60).convert("RGB").save("photo.jpg")
    Image.effect_noise((32, 32), 60).convert("RGB").save("fits.png")
    return work_folder


LINES: dict[str, tuple[str, ...]] = {
    "generate": ("generate", "a red house", "--seed", "5"),
    "no guidance": ("generate", "a red house", "--guidance-scale", "1", "--steps", "3"),
    "edit": ("edit", "photo.jpg", "--prompt", TARGET, "--source-prompt", "a"),
    "edit ddim": ("edit", "photo.jpg", "--prompt", TARGET, "--method", "ddim"),
    "edit synthetic": ("edit", "--prompt", TARGET, "--source-prompt", "a", "--seed", "5"),
    "edit all": ("edit", "fits.png", "--prompt", TARGET, "--variant", "all"),
    "invert": ("invert", "photo.jpg", "--prompt", "a red house"),
    "invert ddim": ("invert", "photo.jpg", "--method", "ddim"),
}
FILES = {
    "edit": ["edited.png"],
    "edit all": [f"edited-{variant}.png" for variant in VARIANTS],
    "generate": ["out.png"],
    "no guidance": ["out.png"],
    "invert": ["reconstruction.png"],
}


def listing(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


@pytest.mark.parametrize("name", LINES)
def test_a_command_writes_what_it_says_and_costs_what_it_says(
    name: str, run: Run, folder: Path, unet_rows: list[int]
) -> None:
    before = listing(folder)
    said = run(*LINES[name])
    files = FILES.get(name, FILES.get(name.split()[0]))
    assert said["files"] == files
    assert listing(folder) == sorted([*before, *files])
    assert said["cost"] == Cost(sum(unet_rows), len(unet_rows))._asdict()
    assert said["dry_run"] is False and said["truncated"] is False and said["seconds"] > 0


@pytest.mark.parametrize("name", LINES)
def test_a_dry_run_says_the_same_and_does_nothing(
    name: str, run: Run, folder: Path, unet_rows: list[int]
) -> None:
    before = listing(folder)
    said = run(*LINES[name], "--dry-run", "-o", "new/out.png")
    assert (listing(folder), unet_rows) == (before, [])
    real = run(*LINES[name], "-o", "new/out.png")
    assert said["dry_run"] is True
    memory = said.pop("memory")
    assert memory["peak_bytes"] == sum(v for k, v in memory.items() if k != "peak_bytes")
    for key in ("cost", "files", "settings", "seed", "truncated"):
        assert said[key] == real[key]


def test_generate_is_the_editor(run: Run, editor: Editor) -> None:
    run("generate", "a red house", "--seed", "5", "--steps", "4", "--width", "40", "-o", "a.png")
    want = editor.generate("a red house", seed=5, num_inference_steps=4, width=40).image
    assert images.open_picture("a.png").tobytes() == want.tobytes()


@pytest.mark.representative("epsilon", "x")
@pytest.mark.parametrize("variant", VARIANTS)
def test_edit_is_the_editor(variant: str, run: Run, editor: Editor) -> None:
    line = f"--variant {variant} --t-max 8 --schedule linear --strength 0.3".split()
    run("edit", "photo.jpg", "--prompt", TARGET, "--source-prompt", "a", *line)
    source = editor.invert(images.open_picture("photo.jpg"), "a")
    want = editor.edit(source, TARGET, variant, t_max=8, schedule="linear", strength=0.3).picture
    assert want.size == (48, 40)
    assert images.open_picture("edited.png").tobytes() == want.tobytes()


def test_an_edit_by_a_weight_below_0_says_it_in_its_picture(run: Run, editor: Editor) -> None:
    line = "--variant beta --weight -0.5 --t-max 10 --t-m 10 --source-prompt a".split()
    run("edit", "photo.jpg", "--prompt", TARGET, *line)
    source = editor.invert(images.open_picture("photo.jpg"), "a")
    want = editor.edit(source, TARGET, "beta", t_max=10, t_m=10, weight=-0.5)
    assert images.open_picture("edited.png").tobytes() == want.picture.tobytes()
    settings = images.read_settings("edited.png")
    assert settings["weight"] == -0.5 and settings["weights"] == {"beta": [-0.5] * 10}


def test_invert_reports_the_psnr(run: Run, editor: Editor) -> None:
    said = run("invert", "fits.png", "-o", "a.png")
    picture, made = images.open_picture("fits.png"), images.open_picture("a.png")
    assert said["psnr_to_vae"] is None  # identical: JSON has no infinity
    assert said["psnr_to_picture"] == pytest.approx(images.psnr(made, picture), abs=1e-3)
    assert run("invert", "fits.png", "--method", "ddim")["psnr_to_vae"] < 60


def test_metadata_reads_back_and_has_no_path_of_the_machine(run: Run, folder: Path) -> None:
    line = ("--variant", "c", "--t-m", "2", "--sheet", "edited.sheet.png")
    said = run("edit", "photo.jpg", "--prompt", TARGET, *line)
    settings = images.read_settings("edited.png")
    assert settings == said["settings"]
    assert (settings["prompt"], settings["variant"], settings["t_m"]) == (TARGET, "c", 2.0)
    assert settings["model"] == "model" and settings["ai_generated"] is True
    for file in ("edited.png", "edited.sheet.png"):
        text = Path(file).read_bytes()
        assert b"photo" not in text and str(folder).encode() not in text
        assert images.read_settings(file)["source_prompt"] == ""


def test_the_settings_make_the_picture_again(run: Run) -> None:
    run("generate", "a red house", "--seed", "9", "-o", "a.png")
    was = images.read_settings("a.png")
    line = ["--steps", was["num_inference_steps"], "--guidance-scale", was["guidance_scale"]]
    run("generate", was["prompt"], "--seed", str(was["seed"]), *map(str, line), "-o", "b.png")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_the_sheet_shows_before_and_after(run: Run) -> None:
    run("edit", "fits.png", "--prompt", TARGET, "--variant", "all", "--sheet", "new/page.png")
    page = images.open_picture("new/page.png")
    assert page.width == 5 * 192 + 6 * 16
    assert Path("new/page.png").is_file() and not Path("edited.sheet.png").exists()


def test_an_earlier_output_is_replaced(run: Run) -> None:
    run("generate", "a", "--seed", "1")
    first = Path("out.png").read_bytes()
    run("generate", "a", "--seed", "2")
    assert Path("out.png").read_bytes() != first


# what people see


def test_lines_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invert", "fits.png", "--model", "model"]) == 0
    out, err = capsys.readouterr()
    wrote, picture, vae, cost = out.splitlines()
    assert wrote == "wrote reconstruction.png"
    assert picture.startswith("PSNR of the reconstruction against the picture as fitted: ")
    assert vae == "PSNR of the reconstruction against the VAE's own round trip: identical"
    assert (cost, err) == ("cost: 10 UNet rows in 10 calls", "")


def test_what_was_cut_is_said_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["edit", "photo.jpg", "--prompt", "boat " * 40, "--variant", "all", "--model", "model"]
    assert main([*line, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["truncated"] is True
    assert err.splitlines() == [
        "mdp-lite: the picture of 48x40 was cropped at the centre and resized to 32x32",
        'mdp-lite: only 24 tokens of a prompt are read: it ends at "boat boat boat boat boat"',
    ]


@pytest.mark.parametrize("flag", ["--quiet", "--json"])
def test_quiet_and_json_keep_stdout_clean(
    flag: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["edit", "photo.jpg", "--prompt", "a", "--model", "model", flag]) == 0
    out, err = capsys.readouterr()
    assert (out == "") if flag == "--quiet" else out.startswith("{")
    assert (err == "") if flag == "--quiet" else err.count("\n") == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("flag", "shown"), [([], True), (["--quiet"], False)])
def test_progress_goes_to_a_terminal_on_stderr(
    flag: list[str],
    shown: bool,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, forward = Terminal(), UNet.predict

    def slow(*args: Any) -> Any:
        time.sleep(0.11)  # a bar is drawn anew every tenth of a second at most
        return forward(*args)

    monkeypatch.setattr(UNet, "predict", slow)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(["generate", "a", "--steps", "3", "--model", "model", *flag]) == 0
    assert ("generate: " in terminal.getvalue() and "2/3" in terminal.getvalue()) is shown
    assert "/3" not in capsys.readouterr().out


def test_ctrl_c_stops_with_130_and_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, says_one_line: Callable[[str], None]
) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(UNet, "predict", interrupt)
    before = listing(folder)
    assert main(["generate", "a", "--model", "model"]) == 130
    says_one_line("mdp-lite: stopped")
    assert listing(folder) == before


def test_a_failure_that_is_no_bad_input_is_one_line_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, says_one_line: Callable[[str], None]
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mdp_lite.files.atomic.os.replace", full)
    assert main(["generate", "a", "--model", "model", "--quiet"]) == 1
    says_one_line("mdp-lite: out.png can't be written: No space left on device")


def test_info_lists_parts_and_sizes(
    folder: Path, editor: Editor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", "model", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    unet = sum(p.numel() for p in editor.models.unet.parameters())
    assert said["parameters"]["unet"] == unet
    assert (said["picture"], said["defaults"]["num_inference_steps"]) == ("32x32", 10)
    assert said["scheduler"]["prediction_type"] == "epsilon"
    assert said["unet"]["block_out_channels"] == [8, 16]
    assert main(["info", "model"]) == 0
    assert (
        f"unet          {unet:>13,} parameters in float32" in capsys.readouterr().out.splitlines()
    )
