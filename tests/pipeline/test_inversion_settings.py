"""Settings of inversions: steps up and down, what is refused, several pictures at once."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.method.sample import sample
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion, resolve_inversion
from mdp_lite.pipeline.result import Source
from support.inverting import PROMPT, SETUPS, G, N, counting, double, noise_in, picture, prediction
from support.tables import relative_error

PICTURE = picture()


@pytest.fixture(scope="module")
def editor(every_editor: Editor) -> Editor:
    """All of this file is for each kind of model."""
    return every_editor


@pytest.fixture(scope="module")
def exact(editor: Editor) -> Editor:
    return double(editor)


# --- steps up and down -------------------------------------------------------------------------


@pytest.mark.covering(1)
@pytest.mark.parametrize("method", ["ddim", "negative-prompt"])
@pytest.mark.parametrize("m", [1, 3, 60])
def test_more_or_fewer_steps_up_than_down(exact: Editor, method: str, m: int) -> None:
    source = exact.invert(PICTURE, PROMPT, Inversion(method, inversion_steps=m), N, G)
    rows = 1 if method == "negative-prompt" else 2
    assert source.cost == (m + N * rows, m + N, 0)
    assert len(source.path.x) == N + 1 and len(source.grid.t) == N
    to = exact.runner.guidance(PROMPT, PROMPT if rows == 1 else "", G)
    with torch.no_grad():
        *_, end = sample(exact.runner.unet, source.grid, source.path.x[0], to)
    assert torch.equal(end.x, source.path.x[-1])


def test_a_single_step_up_goes_all_the_way(exact: Editor) -> None:
    source = exact.invert(PICTURE, PROMPT, Inversion("ddim", inversion_steps=1), N, G)
    x, on = exact.runner.encode(PICTURE), source.grid
    out = prediction(exact, x, on.t[0], PROMPT, "", 1.0)
    x0, eps = noise_in(out, x, on.b[-1], False)
    want = on.a[0].sqrt() * x0 + (1 - on.a[0]).sqrt() * eps
    assert (source.path.x[0] - want).abs().max() <= 1e-10


@pytest.mark.parametrize("setup", SETUPS)
def test_as_many_steps_up_as_down_is_the_sampling_grid(editor: Editor, setup: str) -> None:
    one = double(editor, setup)
    same, plain = (
        one.invert(PICTURE, PROMPT, Inversion("ddim", inversion_steps=m), 10) for m in (10, None)
    )
    assert torch.equal(same.path.x, plain.path.x)


def test_steps_up_go_evenly_to_where_sampling_starts(
    exact: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every timestep of a UNet call, in order, although the two grids share none."""
    times: list[int] = []
    unet = exact.runner.unet
    watched = lambda x, t, c: times.append(int(t)) or unet(x, t, c)  # noqa: E731
    monkeypatch.setattr(exact.runner, "unet", watched)
    exact.invert(PICTURE, PROMPT, Inversion("ddim", inversion_steps=13), 5)
    up, down = times[:13], times[13:]
    assert up == sorted(up) and down == [801, 601, 401, 201, 1]
    assert (up[0], up[-1]) == (1, 801)
    assert all(abs(b - a - 800 / 12) <= 1 for a, b in zip(up, up[1:], strict=False))


# --- seeds and guidance ------------------------------------------------------------------------


def test_edit_friendly_noise_is_of_its_seed(exact: Editor) -> None:
    how = [Inversion("edit-friendly", seed=seed) for seed in (3, 3, 4, 0)]
    one, again, other, first = (exact.invert(PICTURE, PROMPT, each, N) for each in how)
    assert all(map(torch.equal, tensors(one), tensors(again)))
    assert (one.path.x[0] - other.path.x[0]).abs().max() > 0.1
    plain = exact.invert(PICTURE, PROMPT, "edit-friendly", N)
    assert all(map(torch.equal, tensors(first), tensors(plain)))


@pytest.mark.covering(1)
@pytest.mark.parametrize("method", METHODS)
def test_guidance_if_none_is_given(exact: Editor, method: str) -> None:
    """Edit-friendly inverts at 3.5 and edits at the model's; replay and fixed-point at 1."""
    model = exact.models.defaults.guidance_scale
    plain = exact.invert(PICTURE, PROMPT, method, 3)
    want = {"replay": 1.0, "fixed-point": 1.0, "edit-friendly": 3.5}
    assert plain.guidance_scale == want.get(method, model)
    given = exact.invert(PICTURE, PROMPT, method, 3, 5.0)
    assert given.guidance_scale == 5.0
    repeats = method not in ("replay", "fixed-point", "edit-friendly")
    assert exact.edit(given, "a blue boat").guidance_scale == (5.0 if repeats else model)


# --- what is refused ---------------------------------------------------------------------------

SETTINGS = {
    "inversion_steps": 5,
    "iterations": 2,
    "inner_steps": 3,
    "early_stop": 1e-3,
    "tuned_steps": (1,),
    "seed": 4,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_its_methods_alone(method: str, name: str) -> None:
    how = Inversion(method, **{name: SETTINGS[name]})
    if name in METHODS[method].settings:
        assert getattr(resolve_inversion(how, N), name) == SETTINGS[name]
    else:
        with pytest.raises(ValueError, match=f"{name} is not a setting of {method}, got "):
            resolve_inversion(how, N)


def test_defaults_are_the_papers() -> None:
    assert resolve_inversion("replay", N) == Inversion("replay")
    assert resolve_inversion("ddim", N) == Inversion("ddim")
    assert resolve_inversion("fixed-point", N).iterations == 5
    assert resolve_inversion("edit-friendly", N).seed == 0
    tuned = resolve_inversion("null-text", N)
    assert (tuned.inner_steps, tuned.early_stop, tuned.tuned_steps) == (10, 1e-5, None)
    assert resolve_inversion(Inversion("null-text", tuned_steps=(5, 1, 1)), N).tuned_steps == (1, 5)
    assert (
        resolve_inversion(Inversion("null-text", inner_steps=0, early_stop=0), N).early_stop == 0.0
    )


STEPS = "inversion_steps must be a whole number from 1 to 1000"
TIMES = "iterations must be a whole number from 1 to 1000"
INNER = "inner_steps must be a whole number from 0 to 1000"
LOSS = "early_stop must be a loss of 0 or more"
STEP = "a step of tuned_steps must be a whole number from 0 to 7"
LIST = "tuned_steps must be a list of steps"
SEED = "seed must be a whole number from 0 to "
BAD = [
    *(("ddim", "inversion_steps", bad, STEPS) for bad in (0, -1, 1001, 2.0, "5", True)),
    *(("negative-prompt", "inversion_steps", bad, STEPS) for bad in (0, [5])),
    *(("fixed-point", "iterations", bad, TIMES) for bad in (0, -3, 1.5, False, 10**6)),
    *(("null-text", "inner_steps", bad, INNER) for bad in (-1, 2.5, "10", True)),
    *(("null-text", "early_stop", bad, LOSS) for bad in (-1.5, float("nan"), float("inf"), "0")),
    *(("null-text", "tuned_steps", bad, LIST) for bad in (3, "plan", 1.0)),
    *(("null-text", "tuned_steps", bad, STEP) for bad in ((8,), (-1,), (0.5,), (True,), ("1",))),
    *(("edit-friendly", "seed", bad, SEED) for bad in (-1, 2**63, 1.0, "7")),
]


@pytest.mark.parametrize(("method", "name", "bad", "sentence"), BAD)
def test_bad_settings_are_one_sentence(
    exact: Editor, method: str, name: str, bad: Any, sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}.*, got ") as error:
        exact.invert(PICTURE, PROMPT, Inversion(method, **{name: bad}), N)
    assert "\n" not in str(error.value)


LISTED = Inversion(["ddim"])  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["nti", "", None, 3, Inversion("Replay"), LISTED])
def test_methods_are_these(exact: Editor, bad: Any) -> None:
    with pytest.raises(ValueError, match="method must be one of replay, ddim, .* or an Inversion"):
        exact.invert(PICTURE, PROMPT, bad, N)


def test_null_text_ends_where_its_learning_rate_does(exact: Editor) -> None:
    with pytest.raises(ValueError, match=r"null-text must have at most 100 steps.*, got 101"):
        exact.invert(PICTURE, PROMPT, "null-text", 101)


def test_negative_prompt_has_one_already(exact: Editor) -> None:
    with pytest.raises(ValueError, match="negative-prompt takes the source prompt .* got .*'fog'"):
        exact.invert(PICTURE, PROMPT, "negative-prompt", N, negative_prompt="fog")


# --- several pictures --------------------------------------------------------------------------

PICTURES = [picture(1), picture(2, 64, 48), picture(3, 20, 40)]
PROMPTS = [PROMPT, "a blue boat at night", ""]


def tensors(source: Source) -> list[Tensor]:
    return [one for one in source.path if one is not None]


BATCHED = [method for method in METHODS if method != "null-text"]  # see test_null_text.py


@pytest.mark.covering(1)
@pytest.mark.parametrize("g", [1.0, G])
@pytest.mark.parametrize("method", BATCHED)
def test_pictures_together_are_as_alone(editor: Editor, method: str, g: float) -> None:
    """In float32, on one thread: where every call is guided, to the bit."""
    together = editor.inverts(PICTURES, PROMPTS, method, 4, g, fit="pad")
    for one, image, prompt in zip(together, PICTURES, PROMPTS, strict=True):
        alone = editor.invert(image, prompt, method, 4, g, fit="pad")
        for a, b in zip(tensors(one), tensors(alone), strict=True):
            assert a.shape == b.shape and relative_error(a, b) <= 1e-5
            if g > 1 and prompt and method in ("replay", "fixed-point", "edit-friendly"):
                assert torch.equal(a, b)
        assert (one.prompt, one.fit, one.inversion) == (alone.prompt, alone.fit, alone.inversion)
        assert one.picture.tobytes() == alone.picture.tobytes()


def test_one_picture_is_invert_to_the_bit(editor: Editor) -> None:
    for method in ("replay", "negative-prompt", "edit-friendly"):
        (one,) = editor.inverts([PICTURE], [PROMPT], method, N)
        alone = editor.invert(PICTURE, PROMPT, method, N)
        assert all(map(torch.equal, tensors(one), tensors(alone)))
        assert one.image.tobytes() == alone.image.tobytes() and one.cost == alone.cost


def test_they_hold_no_memory_in_common(editor: Editor) -> None:
    first, second = editor.inverts(PICTURES[:1] * 2, [PROMPT] * 2, "replay", N)
    before = second.path.x.clone()
    first.path.x.zero_()
    assert torch.equal(second.path.x, before)


@pytest.mark.parametrize("prompts", [[], ["a"], ["a"] * 4])
def test_every_picture_has_its_prompt(exact: Editor, prompts: list[str]) -> None:
    want = f"prompts must be as many as the images, at least one, got {len(prompts)}"
    with pytest.raises(ValueError, match=want):
        exact.inverts(PICTURES, prompts)


def test_pictures_and_prompts_are_lists(exact: Editor) -> None:
    with pytest.raises(ValueError, match="prompts must be a list, got 'abc'"):
        exact.inverts(PICTURES, "abc")
    with pytest.raises(ValueError, match="images must be a list"):
        exact.inverts(PICTURE, ["a"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one, got 0"):
        exact.inverts([], [])
    with pytest.raises(ValueError, match="picture must be .*, got no such file: 'b.png'"):
        exact.inverts([PICTURE, "b.png"], ["a", "b"])  # type: ignore[list-item]


def test_a_cache_makes_only_those_that_are_missing(checkpoint: Path, tmp_path: Path) -> None:
    cached = Editor.from_pretrained(checkpoint, device="cpu", cache=tmp_path)
    cached, unet = counting(cached)
    first = cached.inverts(PICTURES[:2], PROMPTS[:2], "negative-prompt", N)
    assert unet.counts() == (2 * 2 * N, 2 * N, 0)
    again = cached.inverts(PICTURES[:2], PROMPTS[:2], "negative-prompt", N)
    assert unet.counts() == (0, 0, 0) and [one.cost for one in again] == [(0, 0, 0)] * 2
    mixed = cached.inverts(
        [PICTURES[2], PICTURES[1], PICTURES[0]], [PROMPTS[2], PROMPTS[1], "a boat"],
        "negative-prompt", N,
    )  # fmt: skip
    assert unet.counts() == (2 * 2 * N, 2 * N, 0)
    assert [one.cost.unet_rows for one in mixed] == [2 * N, 0, 2 * N]
    for a, b in ((first[0], again[0]), (first[1], again[1]), (first[1], mixed[1])):
        assert all(map(torch.equal, tensors(a), tensors(b)))
    assert [one.prompt for one in mixed] == [PROMPTS[2], PROMPTS[1], "a boat"]
    cached.inverts(PICTURES[:1], PROMPTS[:1], Inversion("negative-prompt", inversion_steps=2), N)
    assert unet.counts() == (N + 2, N + 2, 0)  # another setting is another source
