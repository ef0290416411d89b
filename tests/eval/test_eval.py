"""The scoring of edits: known distances, honest cases, exact sweeps, and a reader that reads."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mdp_lite.eval import score, world
from mdp_lite.eval.cases import FULL_KINDS, KINDS, cases, scenes
from mdp_lite.eval.metrics import psnr, shown, squared_error
from mdp_lite.eval.reader import HEADS, WEIGHTS, Reader, labels, load_reader, read, truth
from mdp_lite.eval.sweep import Cell, sweep
from mdp_lite.method.sample import Conditions, record, walk
from mdp_lite.method.sample import Path as Track
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.names import VARIANTS, Grid, Weights, ddim_grid, table, window

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


def test_shown_is_what_eight_bits_keep() -> None:
    levels = torch.linspace(-1.2, 1.2, 97)[None, None, None].expand(1, 3, 1, 97)
    kept = shown(levels)
    assert kept.min() == -1 and kept.max() == 1
    assert torch.allclose((kept + 1) * 127.5, ((kept + 1) * 127.5).round(), atol=1e-4)
    assert (kept - levels.clamp(-1, 1)).abs().max() <= 1 / 255 + 1e-6


def test_shapes_that_differ_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \[1, 3, 8, 8\] and \[2, 3, 8, 8\]"):
        squared_error(grey(0), grey(0, 2))
    with pytest.raises(ValueError, match="inside must be bool"):
        squared_error(grey(0), grey(0), torch.ones(1, 8, 8))


# --- cases -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FULL_KINDS)
def test_a_case_changes_one_field_between_records_that_training_never_sees(kind: str) -> None:
    for case in cases(kind, 4, short=False):
        assert world.held_back(case.before) and world.held_back(case.after)
        assert case.seed >= 10_000_000 and world.sample(case.seed) == case.before
        value = getattr(case.after, kind)
        assert value != getattr(case.before, kind)
        assert world.change(case.before, kind, value) == case.after
        assert case.target in [world.caption(case.after, form=f) for f in ("comma", "sentence")]


@pytest.mark.parametrize("kind", KINDS)
def test_short_prompts_differ_in_one_word_and_leave_most_unsaid(kind: str) -> None:
    for case in cases(kind, 6, short=True):
        assert getattr(case.after, kind) in case.target and case.source != case.target
        told = [f for f in world.FIELDS if f != "light" and getattr(case.before, f) in case.source]
        assert kind in told and len(told) <= 3, case.source


def test_the_same_cases_come_again() -> None:
    assert cases("color", 3, short=True) == cases("color", 3, short=True)
    assert len({case.seed for case in cases("color", 8, short=True)}) == 8


def test_a_kind_that_short_prompts_cannot_edit_is_an_error() -> None:
    with pytest.raises(ValueError, match="kind must be one of color, .*, got 'light'"):
        cases("light", 1, short=True)


# --- sweeps ------------------------------------------------------------------------------------


def toy(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    """A denoiser that depends on all it is given."""
    return torch.tanh(x * (0.5 + c.mean(dim=(1, 2))[:, None, None, None]) + t / 1000)


class Bench:
    """A grid, two prompts, and the paths that they give from one noise."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.grid: Grid = ddim_grid(SchedulerConfig(steps_offset=1), N)
        self.x, null, g = torch.randn(2, 4, 4, 4), torch.randn(1, 3, 5), torch.tensor(3.0)
        self.source, _ = self.path(Conditions(torch.randn(2, 3, 5), null, g))
        _, self.to = self.path(Conditions(torch.randn(2, 3, 5), null, g))

    def path(self, to: Conditions) -> tuple[Track, Conditions]:
        return record(self.x, list(walk(toy, self.grid, self.x, to)), to.c), to

    def slowly(self, cell: Cell) -> Tensor:
        """The cell as Editor.edit computes it: every row of the table walked."""
        columns = table(cell.variant, window(N, cell.t_max, cell.t_m))
        weights = Weights(*(cell.share * column for column in columns))
        return list(walk(toy, self.grid, self.x, self.to, self.source, weights))[-1].x


CELLS = [Cell(*c) for c in itertools.product(VARIANTS, (N, N - 2), (0, 3, 7, N - 2), (1.0, 0.5))]


def test_a_sweep_gives_what_walking_each_cell_gives() -> None:
    bench = Bench()
    found = sweep(toy, bench.grid, bench.source, bench.to, CELLS)
    assert list(found) == CELLS
    for cell in CELLS:
        assert torch.allclose(found[cell], bench.slowly(cell), atol=1e-5), cell.label


def test_a_sweep_over_an_inverted_path_does_not_take_c_for_the_source() -> None:
    bench = Bench()
    other = bench.source._replace(c=bench.to.c)  # a path that its condition did not make
    bench.source = other
    cells = [Cell(variant, N, 7) for variant in VARIANTS]
    found = sweep(toy, bench.grid, other, bench.to, cells, sampled=False)
    for cell in cells:
        assert torch.allclose(found[cell], bench.slowly(cell), atol=1e-5), cell.label


def test_a_sweep_reads_the_network_no_more_than_it_must() -> None:
    bench, rows = Bench(), []

    def counted(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        rows.append(len(x))
        return toy(x, t, c)

    cells = [Cell(variant, N, 7) for variant in VARIANTS]
    sweep(counted, bench.grid, bench.source, bench.to, cells)
    assert len(rows) == N - 7  # all four are one picture, and its first 7 steps are the source's
    rows.clear()
    pair = [Cell("c", 9, 4), Cell("beta", 9, 4)]
    found = sweep(counted, bench.grid, bench.source, bench.to, pair)
    assert len(rows) == N  # at weight 1 beta is c
    assert found[pair[0]] is found[pair[1]]


def test_labels_name_the_cell() -> None:
    assert Cell("epsilon", 47, 26).label == "epsilon 47/26"
    assert Cell("beta", 50, 8, 0.5).label == "beta 50/8 w=0.5"


# --- verdicts ----------------------------------------------------------------------------------


class Codes(torch.nn.Module):
    """A reader of pictures that hold their labels in their first pixels."""

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        codes = (picture[:, 0, 0, : len(HEADS)] * 10).round().long()
        sizes = [len(values) for values in HEADS.values()]
        pairs = zip(codes.T, sizes, strict=True)
        return tuple(torch.nn.functional.one_hot(code, size).float() for code, size in pairs)


def coded(records: list[world.Scene]) -> Tensor:
    pictures = torch.zeros(len(records), 3, 64, 64)
    pictures[:, 0, 0, : len(HEADS)] = torch.tensor([labels(r) for r in records]) / 10
    return pictures


def test_verdicts_tell_right_from_kept() -> None:
    case = cases("color", 1, short=True)[0]
    spoilt = world.change(case.after, "companion", other("companion", case.after.companion))
    before = coded([case.before] * 4)
    after = coded([case.after, case.before, spoilt, world.change(case.before, "time", "day")])
    found = score.verdicts(Codes(), [case] * 4, before, after)
    still = float(case.before.time == "day")
    assert found["right"] == [1, 0, 1, 0]
    assert found["kept"] == [1, 1, 0, still]
    assert found["both"] == [1, 0, 0, 0]


def other(field: str, value: str) -> str:
    return next(v for v in HEADS[field] if v != value)


def test_readings_count_each_named_field() -> None:
    seen = [score.full_caption(scene, seed) for seed, scene in itertools.islice(scenes(), 2)]
    wrong = world.change(seen[1].before, "ground", other("ground", seen[1].before.ground))
    pictures = coded([seen[0].before, wrong])
    found = score.readings_right(Codes(), seen, pictures)
    assert found["ground"] == [1, 0] and found["color"] == [1, 1] and found["all named"] == [1, 0]


def test_the_true_answer_differs_from_the_picture_inside_the_region_alone() -> None:
    some = [cases(kind, 2, short=False) for kind in ("color", "ground", "light")]
    for batch in some:
        before = score.drawn(case.before for case in batch)
        after = score.drawn(case.after for case in batch)
        far = score.distances(before, after, score.regions(batch))
        assert min(far["outside"]) > 38 and max(far["inside"]) < 30


# --- the reader --------------------------------------------------------------------------------


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the reader is trained with the bundled model")
def test_the_reader_reads_held_back_drawings() -> None:
    assert WEIGHTS.stat().st_size <= 400_000
    records = [scene for _, scene in itertools.islice(scenes(), 200)]
    found = read(load_reader(), score.drawn(records))
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
