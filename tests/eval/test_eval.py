"""Scoring edits: known distances, held-back cases, exact sweeps, and a reader that reads."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mdp_lite.eval import score, world
from mdp_lite.eval.cases import FULL_KINDS, KINDS, iterate_scenes, make_cases
from mdp_lite.eval.metrics import psnr, quantize, squared_error
from mdp_lite.eval.reader import HEADS, WEIGHTS, Reader, load_reader, read, truth
from mdp_lite.eval.sweep import EvalCell, run_cells
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.sample import Trajectory, record, sample
from mdp_lite.method.schedule import Grid, Weights, ddim_grid, variant_table, window
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.names import VARIANTS
from support.coded_pictures import CodeReader, encode_scenes, other_value

N = 12


def grey(level: float, count: int = 1) -> Tensor:
    return torch.full((count, 3, 8, 8), level)


# --- metrics -----------------------------------------------------------------------------------


def test_psnr_of_known_differences() -> None:
    # A tenth of the peak (2) everywhere: 20 dB; a hundredth: 40 dB.
    found = psnr(torch.cat([grey(0.2), grey(0.02)]), grey(0.0, 2))
    assert found.tolist() == pytest.approx([20, 40], abs=1e-4)


def test_psnr_of_equal_pictures_is_finite() -> None:
    assert psnr(grey(0.3), grey(0.3)).isfinite().all()


def test_masked_psnr_counts_the_masked_pixels_alone() -> None:
    found, inside = grey(0.0), torch.zeros(1, 8, 8, dtype=torch.bool)
    inside[:, :2] = True
    found[:, :, :2] = 0.2
    assert psnr(found, grey(0.0), inside).item() == pytest.approx(20, abs=1e-4)
    assert psnr(found, grey(0.0), ~inside).item() > 100
    assert psnr(found, grey(0.0)).item() == pytest.approx(20 + 10 * np.log10(4), abs=1e-4)


def test_masked_psnr_of_no_pixel_is_not_a_number() -> None:
    inside = torch.zeros(1, 8, 8, dtype=torch.bool)
    assert psnr(grey(0.2), grey(0.0), inside).isnan().all()


def test_quantize_keeps_eight_bits() -> None:
    levels = torch.linspace(-1.2, 1.2, 97)[None, None, None].expand(1, 3, 1, 97)
    found = quantize(levels)
    assert found.min() == -1 and found.max() == 1
    assert torch.allclose((found + 1) * 127.5, ((found + 1) * 127.5).round(), atol=1e-4)
    assert (found - levels.clamp(-1, 1)).abs().max() <= 1 / 255 + 1e-6


def test_shapes_that_differ_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \[1, 3, 8, 8\] and \[2, 3, 8, 8\]"):
        squared_error(grey(0), grey(0, 2))
    with pytest.raises(ValueError, match="inside must be bool"):
        squared_error(grey(0), grey(0), torch.ones(1, 8, 8))


# --- cases -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FULL_KINDS)
def test_a_case_changes_one_field_between_scenes_that_training_never_sees(kind: str) -> None:
    for case in make_cases(kind, 4, short=False):
        assert world.is_held_back(case.source_scene) and world.is_held_back(case.target_scene)
        assert case.seed >= 10_000_000 and world.sample(case.seed) == case.source_scene
        value = getattr(case.target_scene, kind)
        assert value != getattr(case.source_scene, kind)
        assert world.change(case.source_scene, kind, value) == case.target_scene
        assert case.target in [
            world.caption(case.target_scene, form=f) for f in ("comma", "sentence")
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_short_prompts_differ_in_one_word_and_name_little(kind: str) -> None:
    for case in make_cases(kind, 6, short=True):
        assert getattr(case.target_scene, kind) in case.target and case.source != case.target
        scene, fields = case.source_scene, [f for f in world.FIELDS if f != "light"]
        named = [f for f in fields if getattr(scene, f) in case.source]
        assert kind in named and len(named) <= 3, case.source


def test_equal_calls_make_equal_cases() -> None:
    assert make_cases("color", 3, short=True) == make_cases("color", 3, short=True)
    assert len({case.seed for case in make_cases("color", 8, short=True)}) == 8


def test_a_kind_that_short_prompts_cannot_edit_is_an_error() -> None:
    with pytest.raises(ValueError, match="kind must be one of color, .*, got 'light'"):
        make_cases("light", 1, short=True)


# --- sweeps ------------------------------------------------------------------------------------


def toy(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    """A denoiser that depends on all its inputs."""
    return torch.tanh(x * (0.5 + c.mean(dim=(1, 2))[:, None, None, None]) + t / 1000)


class SweepBench:
    """A grid, two prompts, and the paths that they give from one noise."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.grid: Grid = ddim_grid(SchedulerConfig(steps_offset=1), N)
        self.x, null, g = torch.randn(2, 4, 4, 4), torch.randn(1, 3, 5), torch.tensor(3.0)
        self.source, _ = self.path(Guidance(torch.randn(2, 3, 5), null, g))
        _, self.guidance = self.path(Guidance(torch.randn(2, 3, 5), null, g))

    def path(self, guidance: Guidance) -> tuple[Trajectory, Guidance]:
        steps = sample(toy, self.grid, self.x, guidance)
        return record(self.x, list(steps), guidance.c), guidance

    def slowly(self, cell: EvalCell) -> Tensor:
        """The cell with every step of its table computed."""
        columns = variant_table(cell.variant, window(N, cell.t_max, cell.t_m))
        weights = Weights(*(cell.share * column for column in columns[:4]))
        steps = sample(toy, self.grid, self.x, self.guidance, False, self.source, weights)
        return list(steps)[-1].x


CELLS = [
    EvalCell(*c) for c in itertools.product(VARIANTS, (N, N - 2), (0, 3, 7, N - 2), (1.0, 0.5))
]


def test_a_sweep_equals_all_steps_of_each_cell() -> None:
    bench = SweepBench()
    found, _ = run_cells(toy, bench.grid, bench.source, bench.guidance, CELLS)
    assert list(found) == CELLS
    for cell in CELLS:
        assert torch.allclose(found[cell], bench.slowly(cell), atol=1e-5), cell.label


def test_a_sweep_over_an_inverted_path_does_not_take_c_for_the_source() -> None:
    bench = SweepBench()
    other = bench.source._replace(c=bench.guidance.c)  # not the condition that made the path
    bench.source = other
    cells = [EvalCell(variant, N, 7) for variant in VARIANTS]
    found, _ = run_cells(toy, bench.grid, other, bench.guidance, cells, own_noise=False)
    for cell in cells:
        assert torch.allclose(found[cell], bench.slowly(cell), atol=1e-5), cell.label


def test_a_sweep_calls_the_network_no_more_than_it_must() -> None:
    bench, rows = SweepBench(), []

    def counting(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        rows.append(len(x))
        return toy(x, t, c)

    cells = [EvalCell(variant, N, 7) for variant in VARIANTS]
    run_cells(counting, bench.grid, bench.source, bench.guidance, cells)
    assert len(rows) == N - 7  # all four are one picture, and its first 7 steps are the source's
    rows.clear()
    pair = [EvalCell("c", 9, 4), EvalCell("beta", 9, 4)]
    found, _ = run_cells(counting, bench.grid, bench.source, bench.guidance, pair)
    assert len(rows) == N  # at weight 1 beta is c
    assert found[pair[0]] is found[pair[1]]


def test_labels_name_the_cell() -> None:
    assert EvalCell("epsilon", 47, 26).label == "epsilon 47/26"
    assert EvalCell("beta", 50, 8, 0.5).label == "beta 50/8 w=0.5"


# --- verdicts ----------------------------------------------------------------------------------


def test_right_and_kept_are_judged_separately() -> None:
    case = make_cases("color", 1, short=True)[0]
    spoilt = world.change(
        case.target_scene, "companion", other_value("companion", case.target_scene.companion)
    )
    day = world.change(case.source_scene, "time", "day")
    source = encode_scenes([case.source_scene] * 4)
    target = encode_scenes([case.target_scene, case.source_scene, spoilt, day])
    found = score.judge_cases(CodeReader(), [case] * 4, source, target)
    still = float(case.source_scene.time == "day")
    assert found["right"] == [1, 0, 1, 0]
    assert found["kept"] == [1, 1, 0, still]
    assert found["both"] == [1, 0, 0, 0]


def test_readings_count_each_named_field() -> None:
    pair = [
        score.make_caption_case(scene, seed)
        for seed, scene in itertools.islice(iterate_scenes(), 2)
    ]
    wrong = world.change(
        pair[1].source_scene, "ground", other_value("ground", pair[1].source_scene.ground)
    )
    pictures = encode_scenes([pair[0].source_scene, wrong])
    found = score.score_readings(CodeReader(), pair, pictures)
    assert found["ground"] == [1, 0] and found["color"] == [1, 1] and found["all named"] == [1, 0]


def test_the_true_answer_differs_from_the_picture_inside_the_region_alone() -> None:
    some = [make_cases(kind, 2, short=False) for kind in ("color", "ground", "light")]
    for batch in some:
        source = score.render(case.source_scene for case in batch)
        target = score.render(case.target_scene for case in batch)
        far = score.measure_distances(source, target, score.field_regions(batch))
        assert min(far["outside"]) > 38 and max(far["inside"]) < 30


# --- the reader --------------------------------------------------------------------------------


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the reader is trained with the bundled model")
def test_the_reader_reads_held_back_pictures() -> None:
    assert WEIGHTS.stat().st_size <= 400_000
    records = [scene for _, scene in itertools.islice(iterate_scenes(), 200)]
    found = read(load_reader(), score.render(records))
    for field in world.FIELDS:
        right = [got[field] == truth(r)[field] for got, r in zip(found, records, strict=True)]
        assert np.mean(right) >= 0.97, field


def test_the_reader_names_every_head() -> None:
    found = read(Reader(), torch.zeros(2, 3, 64, 64))
    assert len(found) == 2
    for name, value in found[0].items():
        assert value in HEADS[name]
    assert list(found[0]) == [*world.FIELDS, "companion"]


def test_reader_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shape \[b, 3, 64, 64\], got \[1, 3, 32, 32\]"):
        read(Reader(), torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="reader must be a safetensors file"):
        load_reader(tmp_path / "none.safetensors")
