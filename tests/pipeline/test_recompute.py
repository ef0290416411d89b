"""Edits that compute the rectangle of their mask; elsewhere they read the recorded layers."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mdp_lite import Edit, Editor, Request, Source, plan_layers, record_layers
from mdp_lite.engine import pages
from mdp_lite.names import BadInput
from mdp_lite.pipeline.layers import (
    LayersPlan,
    RecordedLayers,
    RecordedStep,
    WindowedDenoiser,
    select_rows,
)
from mdp_lite.pipeline.provenance import describe_edit
from mdp_lite.pipeline.recompute import HALO

TARGET = "a blue house on the grass"
NEAR = 0.2  # of what the exact edit changes, with a halo of one cell; measured: 0.05 to 0.11
BOX = (16, 16, 40, 44)  # of 64x64 pixels
CELLS = (4, 11, 4, 10)  # that the box covers: top, bottom, left, right


@pytest.fixture(scope="module")
def tiny() -> Editor:
    return Editor.from_pretrained("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def source(tiny: Editor) -> Source:
    return tiny.generate("a red house on the grass", seed=7, num_inference_steps=6)


@pytest.fixture(scope="module")
def request_of(source: Source) -> Request:
    return Request(source, TARGET, mask=BOX)


@pytest.fixture(scope="module")
def layers(tiny: Editor, request_of: Request) -> RecordedLayers:
    return record_layers(tiny, request_of, halo=1)


def distance(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def measure_error(got: Edit, want: Edit, source: Source) -> float:
    """How far an edit is from the exact one, as a share of what that one changes."""
    start = source.path.x[-1]
    return ((got.latent - want.latent).norm() / (want.latent - start).norm()).item()


def test_an_edit_is_nearly_the_exact_one(tiny: Editor, source: Source, layers: Any) -> None:
    exact = tiny.edit(source, TARGET, mask=BOX)
    got = tiny.edit(source, TARGET, layers=layers)
    assert got.mask is not None and exact.mask is not None
    assert np.array_equal(np.asarray(got.mask), np.asarray(exact.mask))
    assert 0 < measure_error(got, exact, source) < NEAR
    assert got.cost == exact.cost
    assert got.layers == layers.plan and "with recorded layers" in repr(got)
    assert exact.layers is None and "layers" not in repr(exact)
    said, nothing = (describe_edit("tiny", source, one, {}) for one in (got, exact))
    assert said["layers"] == layers.plan.window._asdict() and "layers" not in nothing


def test_a_larger_halo_costs_more_and_is_nearer(
    tiny: Editor, source: Source, request_of: Request
) -> None:
    [exact] = tiny.edits([request_of])
    plans, errors = list[LayersPlan](), list[float]()
    for halo in (0, 1, HALO):
        layers = record_layers(tiny, request_of, halo=halo)
        top, bottom, left, right = CELLS
        assert layers.plan == plan_layers(tiny, request_of, halo)
        assert layers.plan.window == (top - halo, bottom + halo, left - halo, right + halo)
        plans.append(layers.plan)
        errors.append(measure_error(tiny.edit(source, TARGET, layers=layers), exact, source))
    assert plans[0].share < plans[1].share < plans[2].share < 1
    assert errors[0] > errors[1] > errors[2]


def test_the_halo_has_a_default_and_ends_at_the_edges(tiny: Editor, request_of: Request) -> None:
    assert plan_layers(tiny, request_of) == plan_layers(tiny, request_of, HALO)
    assert plan_layers(tiny, request_of, 100).window == (0, 16, 0, 16)


@pytest.mark.parametrize("halo", [-1, 1.5, True, "2"])
def test_a_halo_is_a_number_of_cells(tiny: Editor, request_of: Request, halo: Any) -> None:
    with pytest.raises(BadInput, match="halo must be"):
        plan_layers(tiny, request_of, halo)
    with pytest.raises(BadInput, match="halo must be"):
        record_layers(tiny, request_of, halo=halo)


def test_outside_the_mask_every_bit_is_the_source(
    tiny: Editor, source: Source, layers: Any
) -> None:
    got = tiny.edit(source, TARGET, layers=layers)
    top, bottom, left, right = CELLS
    outside = torch.ones(source.path.x.shape[-2:], dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert torch.equal(got.latent[..., outside], source.path.x[-1][..., outside])
    pixels = np.asarray(got.picture) != np.asarray(source.picture)
    assert not pixels.any(2)[np.asarray(got.mask) == 0].any()


@pytest.mark.parametrize("kind", ["epsilon", "c", "x", "beta"])
@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_a_window_of_everything_is_the_exact_edit(
    every_editor: Editor, kind: str, guidance_scale: float
) -> None:
    source = every_editor.generate("a red house", num_inference_steps=4)
    whole = torch.ones(source.path.x.shape[-2:])
    request = Request(source, TARGET, kind, mask=whole, weight=0.5, guidance_scale=guidance_scale)
    layers = record_layers(every_editor, request)
    [got] = every_editor.edits([replace(request, layers=layers)])
    [want] = every_editor.edits([request])
    assert layers.plan.share == 1 and len(layers.steps) == want.cost.unet_calls > 0
    assert distance(got.latent, want.latent) < 1e-3


@pytest.mark.parametrize("method", ["edit-friendly", "replay", "null-text", "negative-prompt"])
def test_every_inversion_has_layers(tiny: Editor, source: Source, method: str) -> None:
    own = tiny.invert(source.image, source.prompt, method=method, num_inference_steps=4)
    request = Request(own, TARGET, mask=BOX)
    layers = record_layers(tiny, request, halo=1)
    [got], [want] = tiny.edits([replace(request, layers=layers)]), tiny.edits([request])
    assert measure_error(got, want, own) < NEAR


def test_the_plan_is_what_was_recorded(
    tiny: Editor, request_of: Request, layers: RecordedLayers
) -> None:
    plan, own = plan_layers(tiny, request_of, halo=1), tiny.plan(request_of)
    assert plan == layers.plan
    top, bottom, left, right = CELLS
    assert tuple(plan.window) == (top - 1, bottom + 1, left - 1, right + 1)
    assert plan.unet_calls == len(layers.steps) == own.unet_calls
    assert plan.unet_rows == own.unet_rows
    recorded = sum(
        pages.round_up(part.nbytes) for one in layers.steps.values() for part in one.recorded
    )
    assert 0.9 * plan.nbytes < recorded <= plan.nbytes
    assert layers.count_rows(own) == pytest.approx(plan.share * own.unet_rows)
    assert f"{plan.nbytes / 2**20:.1f} MiB" in repr(layers)


def test_a_step_that_was_not_recorded_is_computed_whole(
    tiny: Editor, source: Source, request_of: Request
) -> None:
    few = record_layers(tiny, replace(request_of, t_max=6, t_m=4), halo=1)
    much = Request(source, TARGET, t_max=6, t_m=2, layers=few)
    plan = tiny.plan(much)
    assert len(few.steps) < plan.unet_calls
    rows = 2 * (few.plan.share * len(few.steps) + plan.unet_calls - len(few.steps))
    assert few.count_rows(plan) == pytest.approx(rows)
    called = list[int]()

    def count(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        called.append(int(t))
        return x

    windowed = tiny.runner.engine.windowed
    assert windowed is not None
    denoiser = WindowedDenoiser(few, count, windowed(few.plan.window, few.size))
    c = next(iter(few.steps.values())).c
    for t in source.grid.t:
        denoiser(torch.zeros(2, 4, *few.size), t, c)
    assert called == [int(t) for t in source.grid.t if float(t) not in few.steps]
    assert tiny.edits([much])[0].cost == tiny.edit(source, TARGET, t_max=6, t_m=2).cost


def test_a_window_that_is_not_finite_is_computed_whole(
    tiny: Editor, source: Source, layers: RecordedLayers
) -> None:
    def spoil(part: Tensor) -> Tensor:
        return torch.full_like(part, torch.nan)

    steps = {
        t: s._replace(recorded=[spoil(part) for part in s.recorded])
        for t, s in layers.steps.items()
    }
    got = tiny.edit(source, TARGET, layers=replace(layers, steps=steps))
    assert torch.equal(got.latent, tiny.edit(source, TARGET, mask=BOX).latent)


def test_a_mapped_file_holds_the_same_bits(
    tiny: Editor, source: Source, request_of: Request, layers: RecordedLayers, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(pages, "read_free_memory", lambda device: 0.0)
    assert pages.choose_folder(1, tmp_path) == tmp_path
    spilled = record_layers(tiny, request_of, folder=tmp_path, halo=1)
    assert list(tmp_path.iterdir()) == []  # the file has no name
    pairs = [tiny.edit(source, TARGET, layers=one).latent for one in (layers, spilled)]
    assert torch.equal(*pairs)


def test_memory_is_taken_where_there_is_enough() -> None:
    assert pages.choose_folder(1) is None


def test_a_smaller_mask_another_prompt_and_a_loaded_source(
    tiny: Editor, source: Source, layers: RecordedLayers, tmp_path: Path
) -> None:
    tiny.save_source(source, tmp_path / "a.safetensors")
    again = tiny.load_source(tmp_path / "a.safetensors")
    small = (20, 20, 32, 32)
    prompt = "a green house on the grass"
    got = tiny.edit(again, prompt, variant="x", mask=small, layers=layers)
    want = tiny.edit(source, prompt, variant="x", mask=small)
    assert measure_error(got, want, source) < NEAR


def test_threads_read_the_same_layers(tiny: Editor, source: Source, layers: Any) -> None:
    prompts = [TARGET, "a green tree", "a red tent", TARGET]

    def edit(prompt: str) -> Tensor:
        return tiny.edit(source, prompt, layers=layers).latent

    want = [edit(prompt) for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(torch.equal, pool.map(edit, prompts), want))


def test_what_does_not_fit_is_refused(tiny: Editor, source: Source, layers: Any) -> None:
    other = tiny.generate("a red house on the grass", seed=8, num_inference_steps=6)
    for request, reason in (
        (Request(source, TARGET, mask=(0, 0, 64, 64), layers=layers), "must lie in the layers'"),
        (Request(source, TARGET, negative_prompt="a tent", layers=layers), "negative prompt"),
        (Request(other, TARGET, layers=layers), "of the edit's source"),
    ):
        with pytest.raises(BadInput, match=reason):
            tiny.edits([request])
    one = Request(source, TARGET, layers=layers)
    with pytest.raises(BadInput, match="all have the same layers"):
        tiny.edits([one, Request(source, TARGET)])
    with pytest.raises(BadInput, match="max_rows 0, got 4"):
        tiny.edits([one], max_rows=4)
    with pytest.raises(BadInput, match="have none"):
        record_layers(tiny, Request(source, TARGET))


def test_other_engines_refuse(tiny: Editor, source: Source, layers: Any) -> None:
    compiled = Editor(tiny.models, engine="compile")
    for run in (
        lambda: record_layers(compiled, Request(source, TARGET, mask=BOX)),
        lambda: compiled.edit(source, TARGET, layers=layers),
    ):
        with pytest.raises(BadInput, match="mode eager"):
            run()


def test_layers_of_a_window_run_no_whole_call(
    tiny: Editor, source: Source, layers: RecordedLayers
) -> None:
    def fail(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        raise AssertionError("a whole call")

    windowed = tiny.runner.engine.windowed
    assert windowed is not None
    denoiser = WindowedDenoiser(layers, fail, windowed(layers.plan.window, layers.size))
    t, step = next(iter(layers.steps.items()))
    x = torch.zeros(2, 4, *layers.size)
    assert denoiser(x, torch.tensor(int(t)), step.c).shape == x.shape


def test_a_row_reads_what_was_recorded_for_its_condition() -> None:
    null, own, new = torch.randn(3, 1, 5, 2)
    step = RecordedStep(0, torch.cat([null, own]), [torch.tensor([[10.0], [20.0]])])

    def read(*rows: Tensor) -> list[float]:
        [values] = select_rows(step, torch.cat(rows))
        return values.flatten().tolist()

    assert read(null, new) == [10, 20]  # the edit's row reads the source's
    assert read(null, own) == [10, 20]
    assert read(null, new, own) == [10, 20, 20]
    assert read(new) == read(own) == [20]
