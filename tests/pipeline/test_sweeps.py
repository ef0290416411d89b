"""Sweeps: equal to editing each cell by itself, at the cost that the design promises."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.engine import flops
from mdp_lite.method.sample import sample
from mdp_lite.method.schedule import CURVES
from mdp_lite.models.config import UNetConfig, VAEConfig
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline import sweep
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Cost, Source
from support.checkpoints import SCHEDULER, UNET_CONFIG
from support.inverting import CountingUNet

N, G, TARGET = 50, 7.5, "a blue boat"
NATURAL = Image.effect_noise((32, 32), 60).convert("RGB")


@pytest.fixture(scope="module")
def editor(any_editor: Editor) -> Editor:
    """All of this file is for each family of models."""
    return any_editor


def counting(editor: Editor, dtype: torch.dtype) -> Editor:
    """The random model in a precision; steps_offset 0, so that the last step is the identity."""
    models = editor.models
    unet, text = (deepcopy(m).to(dtype) for m in (models.unet, models.text_encoder))
    scheduler = replace(SCHEDULER, steps_offset=0)
    changed = replace(models, unet=CountingUNet(unet), text_encoder=text, scheduler=scheduler)
    return Editor(changed, editor.device)


@pytest.fixture(scope="module")
def exact(editor: Editor) -> Editor:
    return counting(editor, torch.float64)


@pytest.fixture(scope="module")
def single(editor: Editor) -> Editor:
    return counting(editor, torch.float32)


@pytest.fixture(scope="module")
def source(exact: Editor) -> Source:
    return exact.generate("a red house", 3, N, G)


def rows(editor: Editor) -> list[int]:
    """The rows of each call since the last time."""
    unet = editor.models.unet
    assert isinstance(unet, CountingUNet)
    counts, unet.rows = unet.rows, []
    return counts


def naive(editor: Editor, cell: Request) -> Tensor:
    """The cell's latent, with no step left out."""
    (task,) = editor.tasks([cell])
    steps = sample(
        editor.models.unet, task.grid, task.source.x[0], task.guidance, source=task.source,
        weights=task.weights,
    )  # fmt: skip
    with torch.no_grad():
        return list(steps)[-1].x


def relative_error(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the largest number."""
    return ((a - b).abs().max() / b.abs().max()).item()


# --- what an edit and a sweep cost -------------------------------------------------------------


@pytest.mark.parametrize(("variant", "most"), [("epsilon", 46), ("x", 40), ("c", 98), ("beta", 98)])
def test_an_edit_needs_few_rows(variant: str, most: int, exact: Editor, source: Source) -> None:
    rows(exact)
    edit = exact.edit(source, TARGET, variant, 47, 26)
    seen = rows(exact)
    assert sum(seen) <= most
    assert Cost(sum(seen), len(seen)) == edit.cost
    cell = Request(source, TARGET, variant, 47, 26)
    assert relative_error(edit.latent, naive(exact, cell)) <= 1e-10


def test_the_authors_six_windows_of_an_inverted_picture(exact: Editor) -> None:
    # MDP.ipynb, real pictures: t_max 49, 48, 47 with t_m 25 and 26.
    inverted = exact.invert(NATURAL, "a red house", num_inference_steps=N)
    rows(exact)
    windows = [(t_max, t_m) for t_max in (49, 48, 47) for t_m in (25, 26)]
    result = exact.sweep(inverted, TARGET, windows=windows, guidance_scales=G)
    assert sum(rows(exact)) == result.cost.unet_rows <= 2 * 138
    assert result.naive == Cost(2 * 6 * N, 6 * N)
    for cell, edit in list(zip(result.cells, result.edits, strict=True))[::5]:
        assert relative_error(edit.latent, naive(exact, cell)) <= 1e-10


def test_the_authors_six_windows_of_a_generated_picture(exact: Editor, source: Source) -> None:
    # MDP.ipynb, synthetic pictures: t_max 50 to 45 with t_m 25.
    rows(exact)
    result = exact.sweep(source, TARGET, windows=[(t_max, 25) for t_max in range(45, 51)])
    assert sum(rows(exact)) == result.cost.unet_rows <= 2 * 138


GRID = [(t_max, t_m) for t_max in range(44, 51) for t_m in range(20, 31)]


@pytest.mark.slow
def test_a_grid_of_77_windows(exact: Editor, source: Source) -> None:
    rows(exact)
    result = exact.sweep(source, TARGET, windows=GRID)
    seen = rows(exact)
    assert sum(seen) <= 3250 and max(seen) <= sweep.MAX_ROWS
    assert result.cost == Cost(sum(seen), len(seen)) and len(seen) < 100
    assert result.naive.unet_rows == 7700
    for i in (0, 30, 43, 76):
        assert relative_error(result.edits[i].latent, naive(exact, result.cells[i])) <= 1e-10


@pytest.mark.slow
def test_a_grid_of_77_windows_in_fp32(single: Editor) -> None:
    source = single.generate("a red house", 3, N, G)
    result = single.sweep(source, TARGET, windows=GRID)
    for i in (0, 40):
        far = (result.edits[i].latent - naive(single, result.cells[i])).abs().max().item()
        assert far <= 1e-4, far  # of numbers up to 43; 1.2e-5 was measured


# --- what is computed once ---------------------------------------------------------------------


def test_equal_cells_are_computed_and_decoded_once(
    exact: Editor, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    run = exact.runner.vae.run

    def note(name: str, z: torch.Tensor, what: str) -> torch.Tensor:
        decoded.append((name, len(z)))
        return run(name, z, what)

    monkeypatch.setattr(exact.runner.vae, "run", note)
    rows(exact)
    result = exact.sweep(source, TARGET, VARIANTS, [(N, 20)])
    assert sum(rows(exact)) == 2 * (N - 20 - 1)
    assert decoded == [("decode", 1)]
    first, *others = result.edits
    assert all(torch.equal(other.latent, first.latent) for other in others)
    assert [edit.variant for edit in result.edits] == list(VARIANTS)


def test_prefixes_that_are_equal_are_computed_once(exact: Editor, source: Source) -> None:
    rows(exact)
    result = exact.sweep(source, TARGET, ("epsilon", "c"), [(40, 0), (40, 10)], max_rows=0)
    # 10 shared steps and the rest without a window, then 29 and 39 after the two windows.
    assert sum(rows(exact)) == result.cost.unet_rows == 2 * (49 + 29 + 39)


# --- equal to edits alone ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(editor: Editor) -> list[Source]:
    """Sources with as many steps as the model suggests: two seeds, a size and an inversion."""
    return [
        editor.generate("a red house", 1),
        editor.generate("a red boat", 2, width=48),
        editor.invert(NATURAL, "a house"),
    ]


def cells_of(result: sweep.Sweep) -> Iterator[tuple[Request, Tensor, bytes]]:
    for cell, edit in zip(result.cells, result.edits, strict=True):
        yield cell, edit.latent, edit.image.tobytes()


def test_one_step_a_call_gives_the_bits_of_an_edit_alone(
    editor: Editor, mixed: list[Source]
) -> None:
    prompts = (TARGET, [("a red boat", 0.5), ("a house", 0.5)])
    result = editor.sweep(mixed, prompts, ("c", "x"), [(9, 4)], "linear", max_rows=0)
    assert len(result.edits) == 12 == len(result.cells)
    for cell, latent, image in cells_of(result):
        alone = editor.edits([cell])[0]
        assert torch.equal(latent, alone.latent) and alone.image.tobytes() == image


@pytest.mark.slow
def test_batches_change_nothing_but_the_last_bits(editor: Editor, mixed: list[Source]) -> None:
    result = editor.sweep(mixed, TARGET, VARIANTS, [(9, 4)], list(CURVES))
    for cell, latent, _ in list(cells_of(result))[::5]:
        assert relative_error(latent, editor.edits([cell])[0].latent) <= 1e-4


def test_progress_ends_at_the_end(editor: Editor, mixed: list[Source]) -> None:
    seen: list[tuple[int, int]] = []
    editor.sweep(
        mixed[0], TARGET, windows=[(9, 4), (9, 5)], on_step=lambda i, n, _: seen.append((i, n))
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] and len({total for _, total in seen}) == 1


# --- the bound on memory -----------------------------------------------------------------------

SD = UNetConfig(cross_attention_dim=768)
SD_VAE = VAEConfig(
    block_out_channels=(128, 256, 512, 512),
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
)


@pytest.mark.parametrize(("config", "side"), [(SD, 64), (SD, 96), (UNET_CONFIG, 8)])
def test_activations_of_a_batch_are_within_the_budget(config: UNetConfig, side: int) -> None:
    row = flops.unet(config, side, side).peak_bytes
    fit = sweep.rows_in_budget(config, (1, 4, side, side), 4)
    assert 1 <= fit <= sweep.MAX_ROWS and fit * row <= sweep.MEMORY_BUDGET


def test_pictures_decoded_at_once_are_within_the_budget(editor: Editor) -> None:
    runner = deepcopy(editor.runner)
    runner.models = replace(runner.models, vae=deepcopy(runner.models.vae))
    runner.models.vae.config, runner.factor = SD_VAE, 8
    for side in (16, 32, 64):
        one = flops.decode(SD_VAE, 8 * side, 8 * side).peak_bytes
        assert sweep.pictures_in_budget(runner, (1, 4, side, side)) * one <= sweep.MEMORY_BUDGET


@pytest.mark.parametrize("max_rows", [2, 7])
def test_a_caller_may_bound_the_rows(max_rows: int, exact: Editor, source: Source) -> None:
    rows(exact)
    exact.sweep(source, TARGET, windows=[(47, 40), (47, 41), (47, 42), (47, 43)], max_rows=max_rows)
    assert max(rows(exact)) <= max_rows


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"prompts": []}, "prompts must have at least one entry, got none"),
        ({"variants": []}, "variants must have at least one entry, got none"),
        ({"windows": []}, "windows must have at least one entry, got none"),
        ({"variants": ["eps"]}, "variant must be one of"),
        ({"schedules": "sine"}, "schedule must be one of"),
        ({"windows": [(20, 30)]}, "t_m must be at most t_max = 20, got 30"),
        ({"guidance_scales": 0.5}, "guidance_scale must be from 1"),
        ({"max_rows": -1}, "max_rows must be 0 or more, got -1"),
        ({"max_rows": 1.5}, "max_rows must be a whole number, got 1.5"),
    ],
)
def test_bad_settings_are_one_sentence(
    settings: dict, sentence: str, exact: Editor, source: Source
) -> None:
    rows(exact)
    with pytest.raises(ValueError, match=sentence):
        exact.sweep(**({"sources": source, "prompts": TARGET} | settings))
    assert rows(exact) == []
