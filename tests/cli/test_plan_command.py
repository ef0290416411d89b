"""mdp-lite plan and mdp-lite sweep: what they say, write and cost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.engine import flops
from mdp_lite.engine.estimate import estimate
from mdp_lite.method.plan import naive_plan
from mdp_lite.method.schedule import zero_weights
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images
from mdp_lite.pictures.sheets import MARGIN, MIN_SIDE, Table, contact, tile
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Cost

SOURCE = ("--source-prompt", "a red house", "--prompt", "a blue boat")
SWEEP = "sweep --variants epsilon,c,x --t-max 9,10 --t-m 4,5 --schedules constant,linear".split()

Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def photo(work_folder: Path) -> None:
    """A picture in the working folder."""
    Image.effect_noise((48, 40), 60).convert("RGB").save("photo.jpg")


# --- plan --------------------------------------------------------------------------------------


def test_a_local_leash_of_twelve_steps_is_18_rows(run: Run) -> None:
    plans = run("plan", *SOURCE, "--steps", "12", "--schedule", "local-leash")["plans"]
    assert list(plans) == ["epsilon"] and plans["epsilon"]["cost"]["unet_rows"] == 18


@pytest.mark.parametrize(
    "line",
    [
        SOURCE,
        (*SOURCE, "--t-max", "10", "--t-m", "7", "--steps", "12"),
        (*SOURCE, "--strength", "0.3", "--schedule", "linear"),
        (*SOURCE, "--guidance-scale", "1"),
        (*SOURCE, "--weight", "-0.5", "--schedule", "local-leash"),
        ("photo.jpg", *SOURCE, "--method", "ddim"),
    ],
)
def test_a_plan_costs_what_the_edit_costs(
    line: tuple[str, ...], run: Run, unet_rows: list[int]
) -> None:
    said = run("plan", *line, "--variant", "all")
    plans = said["plans"]
    assert list(plans) == list(VARIANTS)
    assert not Path("edited.png").exists()
    costs = run("edit", *line, "--variant", "all", "--dry-run")["costs"]
    assert unet_rows == []
    for variant, one in plans.items():
        wanted = {key: one["cost"][key] for key in ("unet_rows", "unet_calls")}
        assert costs[variant] == {**wanted, "backward_rows": 0}
        assert one["cost"]["unet_rows"] <= one["naive"]["unet_rows"]
        assert one["cost"]["flops"] <= one["naive"]["flops"]
        segments = one["segments"]
        assert sum(len(segment["reads"]) for segment in segments) == one["cost"]["unet_rows"]
        assert segments[-1]["steps"][1] == said["steps"]
        assert one["naive"]["unet_calls"] == said["steps"]


def test_null_text_can_tune_the_steps_of_the_plan_alone(run: Run) -> None:
    line = ("photo.jpg", *SOURCE, "--method", "null-text", "--tune", "plan", "--steps", "6")
    segments = run("plan", *line)["plans"]["epsilon"]["segments"]
    calls = [one["steps"][0] for one in segments if one["kind"] == "call"]
    inversion = run("edit", *line, "--dry-run")["settings"]["inversion"]
    assert 0 < len(calls) < 6 and inversion["tuned_steps"] == calls


def test_a_plan_for_people(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["plan", *SOURCE, "--model", "model", "--t-max", "9", "--t-m", "5"]
    assert main([*line, "--steps", "10"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:2] == ["epsilon, 32x32:", "step 0: 1 call of 2 UNet rows (null + c)"]
    assert lines[2:5] == [
        "steps 1 to 5: the difference from the source is scaled, no UNet call",
        "steps 6 to 9: 4 calls of 2 UNet rows each (null + c)",
        "10 UNet rows in 5 calls",
    ]
    assert "each step by itself: 20 UNet rows in 10 calls" in out and err == ""


def test_an_estimate_adds_up(editor: Editor) -> None:
    source = editor.generate("a red house", num_inference_steps=6)
    table = editor.tasks([Request(source, "a boat", "beta", 6, 3, "linear")])[0].weights
    none = zero_weights(6)
    plans = (naive_plan(none, True), 2), (naive_plan(table, True), 3), (naive_plan(none, False), 1)
    for plan, wide in plans:
        found, models = estimate(editor.models, plan, 32, 32), editor.models
        tokens = models.text_encoder.config.max_position_embeddings
        one = flops.unet(models.unet.config, 8, 8, tokens=tokens)
        widest = flops.unet(models.unet.config, 8, 8, wide, tokens)
        decode = flops.decode(models.vae.config, 32, 32)
        assert found.unet_rows == plan.unet_rows
        # A row more costs what the first costs, but for the one embedding of t.
        least = decode.flops + plan.unet_calls * one.flops
        assert least <= found.flops <= decode.flops + plan.unet_rows * one.flops
        assert found.activation_bytes == max(widest.cpu_bytes, decode.cpu_bytes)
        path = source.path
        assert found.path_bytes == path.x.nbytes + path.eps.nbytes
        parts = (models.unet, models.vae, models.text_encoder)
        assert found.weight_bytes == sum(p.nbytes for part in parts for p in part.parameters())
        resident = max(widest.resident_bytes, decode.resident_bytes)
        gaps = resident - found.activation_bytes
        assert found.malloc_bytes == gaps + found.path_bytes  # a path is put together from steps
        total = found.weight_bytes + resident + 2 * found.path_bytes
        assert found.peak_bytes == total + found.library_bytes


# --- sweep -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(SOURCE, marks=pytest.mark.slow),
        (*SOURCE, "--seed", "3,4"),
        ("photo.jpg", *SOURCE),
    ],
)
def test_a_sweep_writes_a_sheet_its_cells_and_a_line_for_each(
    where: tuple[str, ...], run: Run, unet_rows: list[int], editor: Editor
) -> None:
    before = run(*SWEEP, *where, "--dry-run")
    assert unet_rows == [] and not Path("sweep").exists()
    said = run(*SWEEP, *where)
    assert said["cost"] == Cost(sum(unet_rows), len(unet_rows))._asdict()
    for key in ("cost", "costs", "cells", "files", "settings", "truncated"):
        assert said[key] == before[key]
    assert said["costs"]["sweep"]["unet_rows"] < said["costs"]["naive"]["unet_rows"]
    files = sorted(path.as_posix() for path in Path("sweep").iterdir())
    assert files == sorted(said["files"])
    lines = [json.loads(line) for line in Path("sweep/sweep.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == said["cells"] == len(files) - 2 == 24 * (2 if "3,4" in where else 1)
    names = ("seed", "variant", "t_max", "t_m", "schedule")
    assert len({tuple(row[name] for name in names) for row in lines}) == len(lines)
    for row in lines[::11]:
        assert images.read_settings(f"sweep/{row['file']}") == row


def test_a_cell_is_the_edit(run: Run, editor: Editor) -> None:
    run(*SWEEP, *SOURCE, "--seed", "3", "-o", "out", "--rows", "0")
    row = json.loads(Path("out/sweep.jsonl").read_text("utf-8").splitlines()[5])
    source = editor.generate("a red house", 3)
    edit = editor.edit(
        source, "a blue boat", row["variant"], row["t_max"], row["t_m"], row["schedule"]
    )
    made = images.open_picture(f"out/{row['file']}")
    assert made.tobytes() == edit.picture.tobytes()
    assert row["cost_alone"] == edit.cost._asdict()


BAD = {
    "sweep --prompt b": "sweep needs PICTURE or --source-prompt",
    "plan --prompt b": "plan needs PICTURE or --source-prompt",
    "sweep --prompt b --source-prompt a --variants eps": "must be one of epsilon, c, x, beta, got",
    "sweep --prompt b --source-prompt a --t-max 4,x": "must be a number, got 'x'",
    "sweep --prompt b --source-prompt a --t-max 4 --t-m 5": "--t-m must be at most --t-max = 4.0",
    "sweep --prompt b --source-prompt a --seed 1,": "--seed must not be empty, got ''",
    "sweep photo.jpg --prompt b --seed 1,2": "seed is for a source made from a prompt, got 1",
    "sweep --prompt b --source-prompt a --rows -1": "--rows must be 0 or more, got -1",
    "sweep --prompt b --source-prompt a -o photo.jpg": "output must be writable",
    "plan --prompt b --source-prompt a --t-max 50": "--t-max must be at most the 10 steps",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_lines_are_one_sentence(
    line: str, unet_rows: list[int],
    says_one_line: Callable[[str], None],
) -> None:  # fmt: skip
    assert main([*line.split(), "--model", "model"]) == 2
    says_one_line(BAD[line])
    assert unet_rows == [] and not Path("sweep").exists()


# --- contact sheets ----------------------------------------------------------------------------

PICTURES = [Image.effect_noise((64, 48), 10 * i + 20).convert("RGB") for i in range(5)]


def test_a_contact_sheet_has_the_source_in_the_corner_and_each_picture_in_its_place() -> None:
    before, *others = PICTURES
    page = contact([Table(("before", before), ["a", "b"], [("1", others[:2]), ("2", others[2:])])])
    width, height = tile(before).size
    assert min(width, height) == MIN_SIDE and page.width == 3 * (width + MARGIN) + MARGIN
    below = page.height - MARGIN - height
    places = {0: (0, below - 2 * (height + MARGIN)), 1: (1, below - height - MARGIN), 4: (2, below)}
    for i, (column, top) in places.items():
        left = MARGIN + column * (width + MARGIN)
        found = page.crop((left, top, left + width, top + height))
        assert found.tobytes() == tile(PICTURES[i]).tobytes()


def test_a_contact_sheet_shrinks_what_is_large_and_needs_pictures() -> None:
    assert tile(Image.new("RGB", (1024, 512))).size == (256, 128)
    with pytest.raises(ValueError, match="a contact sheet needs at least one picture"):
        contact([Table(("before", PICTURES[0]), [], [])])
