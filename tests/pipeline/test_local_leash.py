"""The local leash on whole edits: rows, kinds of sources and models, masks, strength, previews."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite.batcher.client import client_editor, run_batcher
from mdp_lite.editor import Editor
from mdp_lite.method.mdp import pull_weight
from mdp_lite.method.sample import edit_terms, find_x0, source_step, step
from mdp_lite.method.schedule import Weights, zero_weights
from mdp_lite.names import BadInput
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.once import once
from mdp_lite.pipeline.provenance import describe_edit
from mdp_lite.pipeline.request import Request, variant_of
from mdp_lite.pipeline.result import Source
from support.inverting import SETUPS, double, picture
from support.recording import recording_editor
from support.tables import final_latents, naive, relative_error

PROMPT, TARGET, LOCAL = "a red house", "a blue boat", "local-leash"
N = 6


def compare(editor: Editor, requests: list[Request]) -> None:
    """Their plans, run together, lead where the loop that skips nothing leads; in float64."""
    tasks, unet, v = editor.tasks(requests), editor.runner.unet, editor.runner.v_prediction
    with torch.no_grad():
        for task, x in zip(tasks, final_latents(unet, tasks, v, 16), strict=True):
            assert relative_error(x, naive(unet, task, v)) <= 1e-10


@pytest.fixture(scope="module")
def exact(editor: Editor) -> Editor:
    return double(editor)


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    return editor.generate(PROMPT, 1, N)


@pytest.mark.parametrize("how", ["edit-friendly", "replay", "generated"])
def test_an_edit_of_twelve_steps_costs_18_rows(editor: Editor, how: str) -> None:
    """A look, three steps carried, seven with the pull, a free one: nine calls of two rows."""
    made = (
        editor.generate(PROMPT, 1, 12) if how == "generated"
        else editor.invert(picture(), PROMPT, how, 12)
    )  # fmt: skip
    request = Request(made, TARGET, schedule=LOCAL)
    assert variant_of(request) == "epsilon"
    steps = editor.plan(request)
    kinds = [one.kind for one in steps.segments]
    assert kinds == ["call", "carry", *["call"] * 8]
    assert steps.unet_rows == 18 and editor.edit(made, TARGET, schedule=LOCAL).cost.unet_rows == 18


@pytest.mark.representative("replay", "edit-friendly", "null-text")
@pytest.mark.parametrize("method", METHODS)
def test_plans_of_every_inversion(exact: Editor, method: str) -> None:
    how = Inversion(method, inner_steps=1 if method == "null-text" else None)
    made = exact.invert(picture(), PROMPT, how, N, 2.0)
    some: list[dict[str, Any]] = [
        {"strength": 0.3}, {"t_max": 5.5, "t_m": 2.5}, {"guidance_scale": 1.0}
    ]  # fmt: skip
    requests = [Request(made, TARGET, "epsilon", schedule=LOCAL, **one) for one in some]
    compare(
        exact, [*requests, Request(made, [(TARGET, 0.5), ("a tent", 0.5)], "c", schedule=LOCAL)]
    )


@pytest.mark.representative("v-zero-snr", "lcm")
@pytest.mark.parametrize("setup", ["v", "v-zero-snr", "euler", "euler-ancestral", "lcm"])
def test_plans_of_every_kind_of_step(editor: Editor, setup: str) -> None:
    if setup in SETUPS:
        own = double(editor, setup)
    else:
        own = double(editor)
        own = Editor(
            replace(own.models, scheduler=replace(own.models.scheduler, sampler=setup)), own.device
        )
    made = own.generate(PROMPT, 1, N)
    variants = ("epsilon", "c", "x", "beta")
    compare(own, [Request(made, TARGET, one, schedule=LOCAL) for one in variants])


def test_every_kind_of_model_edits_by_it(every_editor: Editor) -> None:
    """SD, SDXL and inpainting UNets; once() computes the same bits."""
    made = every_editor.generate(PROMPT, 1, N)
    edit = every_editor.edit(made, TARGET, schedule=LOCAL)
    plain = every_editor.edit(made, TARGET, t_max=N, t_m=2, schedule="leash")
    assert edit.latent.isfinite().all() and not torch.equal(edit.latent, plain.latent)
    assert torch.equal(
        once(every_editor, PROMPT, TARGET, 1, None, N, schedule=LOCAL).latent, edit.latent
    )
    own = double(every_editor)
    compare(own, [Request(own.generate(PROMPT, 1, N), TARGET, schedule=LOCAL)])


def test_a_mask_holds_the_source_outside_to_the_bit(editor: Editor, source: Source) -> None:
    side = source.path.x.shape[-1]
    cells = torch.zeros(source.path.x.shape[-2:])
    cells[:, : side // 2] = 1
    edit = editor.edit(source, TARGET, schedule=LOCAL, mask=cells)
    outside, inside = edit.latent[..., side // 2 :], edit.latent[..., : side // 2]
    assert torch.equal(outside, source.path.x[-1][..., side // 2 :])
    assert (inside - source.path.x[-1][..., : side // 2]).abs().max() > 1e-3
    exact = double(editor)
    some = [cells, cells * 0.5, None]
    made = exact.generate(PROMPT, 1, N)
    compare(exact, [Request(made, TARGET, schedule=LOCAL, mask=mask) for mask in some])


@pytest.mark.representative("epsilon", "x")
@pytest.mark.parametrize("variant", ["epsilon", "c", "x", "beta"])
def test_strength_runs_from_the_source_to_the_prompt(
    editor: Editor, source: Source, variant: str
) -> None:
    def at(strength: float) -> Tensor:
        return editor.edit(source, TARGET, variant, schedule=LOCAL, strength=strength).latent

    assert torch.equal(at(0.0), source.path.x[-1])
    free = editor.edit(source, TARGET, variant, t_max=0, t_m=0).latent
    assert torch.equal(at(1.0), free)
    scale = (free - source.path.x[-1]).norm()
    for strength in (0.0, 0.25, 0.5, 0.75, 0.999):
        assert (at(strength + 1e-4) - at(strength)).norm() <= 0.05 * scale


def test_sweeps_batches_graphs_and_the_batcher_make_the_same(
    editor: Editor, source: Source
) -> None:
    other = editor.invert(picture(), PROMPT, num_inference_steps=N)
    requests = [Request(one, TARGET, schedule=LOCAL) for one in (source, other)]
    alone = [editor.edits([one])[0].latent for one in requests]
    recorded = recording_editor(editor)
    with run_batcher(editor, 8) as batcher, batcher.client() as client:
        own = client_editor(editor, batcher, client)
        several = {
            "one call a step": editor.edits(requests),
            "batched": editor.edits(requests, 8),
            "graphs": [recorded.edits([one])[0] for one in requests],
            "batcher": own.edits(requests, 8),
            "sweep": editor.sweep([source, other], TARGET, schedules=[LOCAL]).edits,
        }
    for name, edits in several.items():
        for edit, latent in zip(edits, alone, strict=True):
            error = float((edit.latent - latent).abs().max())
            assert error <= (0 if name == "one call a step" else 1e-4), name
    assert recorded.runner.engine.recorder and recorded.runner.engine.recorder.count == 2


def test_previews_show_the_weight_that_a_step_used(exact: Editor) -> None:
    """x_0 after the first step mixes both predictions by the pull's own map."""
    made = exact.generate(PROMPT, 1, N)
    path, grid, unet, v = made.path, made.grid, exact.runner.unet, exact.runner.v_prediction
    request = Request(made, TARGET, schedule=LOCAL)
    (state,) = next(exact.steps([request])).states
    terms = edit_terms(grid, state.task.guidance, path, state.task.weights, 0, state.x)
    alone = terms._replace(w=terms.w._replace(local=None))
    with torch.no_grad():
        free = step(unet, path.x[0], alone, state.task.plan.segments[0].reads, v)
    x0, x0_a = find_x0(path, grid, 0, free.x, free.eps), source_step(path, grid, 0).x0
    want = torch.lerp(x0, x0_a, pull_weight(x0, x0_a, terms.w))
    assert relative_error(state.x0, want) <= 1e-10
    assert relative_error(x0, want) > 1e-3 and relative_error(x0_a, want) > 1e-3


def test_the_settings_of_a_picture_say_it(editor: Editor, source: Source) -> None:
    edit = editor.edit(source, TARGET, schedule=LOCAL)
    settings = describe_edit("m", source, edit, {"schedule": LOCAL})
    assert settings["schedule"] == LOCAL and settings["weights"]["local"][0] == 1.0
    cells = torch.ones(source.path.x.shape[-2:])
    cells[0] = 0
    masked = editor.edit(source, TARGET, schedule=LOCAL, mask=cells)
    assert describe_edit("m", source, masked, {})["weights"]["local"][0] == 1.0


ANY = [
    {"variant": "beta", "weight": -0.5, "t_max": N, "t_m": N},
    {"variant": "epsilon", "weight": -0.3, "t_max": N, "t_m": 3, "schedule": LOCAL},
    {"variant": "x", "weight": 1.2, "strength": 0.6},
    {"variant": "c", "weight": 0.0},
]


@pytest.mark.parametrize("how", ANY)
def test_a_weight_is_any_number(exact: Editor, how: dict[str, Any]) -> None:
    made = exact.generate(PROMPT, 1, N)
    request = Request(made, TARGET, **how)
    compare(exact, [request])
    column = "eps" if how["variant"] == "epsilon" else str(how["variant"])
    table = getattr(exact.tasks([request])[0].weights, column)
    assert not how["weight"] or (table == how["weight"]).any()


@pytest.mark.parametrize("local", [None, 0.7, -0.4])
def test_a_table_holds_any_numbers_and_maps(exact: Editor, local: float | None) -> None:
    made = exact.generate(PROMPT, 1, N)
    shape = made.path.x.shape[-2:]
    of: Callable[..., Tensor] = lambda *size: 2 * torch.rand(N, *size, dtype=torch.float64) - 0.5  # noqa: E731
    maps = None if local is None else torch.full((N,), local, dtype=torch.float64)
    table = Weights(of(), of(1, 1, *shape), of(1, 4, *shape), of(), maps, maps)
    compare(exact, [Request(made, TARGET, weights=table)])


def test_tables_that_have_other_columns_share_no_step_and_no_graph(exact: Editor) -> None:
    """The kind: the same numbers in the same order, but in other columns."""
    made, zeros = exact.generate(PROMPT, 1, N), torch.zeros(N, dtype=torch.float64)
    half = zeros + 0.5
    tables = [
        Weights(zeros, zeros, zeros, half, local=half),
        Weights(zeros, zeros, half, half, tilt=zeros),
        Weights(zeros, half, zeros, half, tilt=zeros),
        Weights(zeros, zeros, zeros, half, tilt=half),
    ]
    requests = [Request(made, TARGET, weights=one) for one in tables]
    compare(exact, requests)
    recorded = recording_editor(exact)
    for request in requests:
        alone, again = (one.edits([request])[0].latent for one in (exact, recorded))
        assert relative_error(again, alone) <= 1e-10


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_a_table_may_be_of_any_dtype_and_have_gradients(exact: Editor, dtype: torch.dtype) -> None:
    """A step computes with its numbers as they are; gradients go nowhere."""
    made = exact.generate(PROMPT, 1, N)
    zeros = torch.zeros(N, dtype=torch.float64)
    maps = torch.ones(N, 1, 1, *made.path.x.shape[-2:], dtype=torch.float64)
    maps[2:, ..., 0] = 0
    rows = [Weights(zeros, maps, zeros, zeros).change(lambda w: w.to(dtype))]
    rows += [Weights(zeros.clone().requires_grad_(), maps.clone().requires_grad_(), zeros, zeros)]
    mask = torch.ones(made.path.x.shape[-2:])
    mask[0] = 0
    for where in (None, mask):
        plain = exact.edit(made, TARGET, weights=Weights(zeros, maps, zeros, zeros), mask=where)
        edits = exact.edits([Request(made, TARGET, weights=one, mask=where) for one in rows])
        for edit in edits:
            assert torch.equal(edit.latent, plain.latent)
            assert describe_edit("m", made, edit, {})["weights"]


ODD = {
    "must be finite numbers": torch.zeros(N, dtype=torch.complex64),
    f"must be a tensor of {N} rows": torch.zeros(N, device="meta"),
    f"a tensor of {N} rows, one a step": torch.zeros(N).to_sparse(),
}


@pytest.mark.parametrize("sentence", ODD)
def test_a_table_without_plain_numbers_is_refused(
    editor: Editor, source: Source, sentence: str
) -> None:
    table = zero_weights(N)._replace(beta=ODD[sentence])
    with pytest.raises(BadInput, match=r"weights\.beta .*" + sentence):
        editor.edit(source, TARGET, weights=table)
