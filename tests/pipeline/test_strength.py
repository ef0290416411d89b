"""Strength on the bundled model's edits: from the source over the default window to the target."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.editor import Editor
from mdp_lite.method.leash import add_leash, add_local_leash
from mdp_lite.method.plan import plan
from mdp_lite.method.schedule import (
    CURVES,
    Weights,
    paper_window,
    variant_table,
    window,
)
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.request import Request, build_weights
from mdp_lite.pipeline.result import Source
from mdp_lite_weights import locate
from support.tables import final_latents
from support.toy import SETUPS, grid

variants = pytest.mark.parametrize("variant", VARIANTS)
needs_model = pytest.mark.skipif(
    not (locate("tiny") / "model_index.json").is_file(), reason="no bundled checkpoint yet"
)
STRENGTHS = [i / 10 for i in range(11)]
EDITS = [  # source, target, seed; each of a generated source and of an inverted picture
    (
        "a red house on the left, grass, clear day with the sun",
        "a blue house on the left, grass, clear day with the sun",
        7,
    ),
    (
        "an orange house on the right, grass, clear day with the sun",
        "an orange house on the right, snow, clear day with the sun",
        1,
    ),
    (
        "a red house on the left, grass, clear day with the sun",
        "a red house on the left, grass, night with the moon",
        2,
    ),
    (
        "a blue house on the left, snow, clear day with the sun",
        "a blue house on the right, snow, clear day with the sun",
        3,
    ),
]
BACK = 0.015  # of the source's norm: no edit comes nearer to its source by more as strength grows


@pytest.fixture(scope="module")
def bundled() -> Editor:
    return Editor.from_pretrained("tiny", device="cpu", dtype="float32")


def sources(editor: Editor, count: int, steps: int) -> list[tuple[Source, str]]:
    """Sources with the prompt to edit them towards: generated and inverted in turn."""
    found = []
    for source, target, seed in EDITS[:count]:
        found.append((editor.generate(source, seed, steps), target))
        picture = editor.generate(source, seed + 10, steps).image
        found.append((editor.invert(picture, source, "replay", steps), target))
    return found


@torch.no_grad()
def distances(editor: Editor, variant: str, count: int, steps: int) -> Tensor:
    """How far edits (rows) of each strength (columns) are from their sources, by their norms."""
    pairs = sources(editor, count, steps)
    requests = [Request(s, c, variant, strength=w) for s, c in pairs for w in STRENGTHS]
    latents = final_latents(editor.models.unet, editor.tasks(requests), False, 32)
    ends = [request.source.path.x[-1] for request in requests]
    far = [float((x - end).norm() / end.norm()) for x, end in zip(latents, ends, strict=True)]
    return torch.tensor(far, dtype=torch.float64).reshape(len(pairs), len(STRENGTHS))


def monotone(far: Tensor, variant: str, share: float) -> None:
    """Print what leads back towards the source: up to the default nothing, then at most a share."""
    back = (far[:, :-1] - far[:, 1:]).clamp(min=0)
    for edit, i in back.gt(1e-9).nonzero().tolist():
        print(
            f"{variant}, edit {edit}: from strength {STRENGTHS[i]} to {STRENGTHS[i + 1]} nearer by "
            f"{back[edit, i]:.4f} (from {far[edit, i]:.4f})"
        )
    print(f"{variant}: {int((back > 1e-9).sum())} of {back.numel()} steps lead back")
    assert (far[:, 0] == 0).all()
    assert back[:, :5].max() <= 1e-9
    assert back.max() <= BACK
    assert (back > 1e-9).double().mean() <= share
    assert (far[:, -1] > far[:, 1]).all()


@needs_model
@pytest.mark.parametrize("variant", ["c", pytest.param("epsilon", marks=pytest.mark.slow)])
def test_a_stronger_edit_is_further_from_its_source(bundled: Editor, variant: str) -> None:
    monotone(distances(bundled, variant, 1, 10), variant, 0.2)


@needs_model
@pytest.mark.slow
@variants
def test_so_are_eight_edits(bundled: Editor, variant: str) -> None:
    monotone(distances(bundled, variant, 4, 20), variant, 0.1)


DEFAULTS = Defaults(num_inference_steps=50, guidance_scale=7.5, t_max=0.94, t_m=0.52)
schedules = pytest.mark.parametrize("schedule", CURVES)


@variants
@schedules
@pytest.mark.parametrize("n", [1, 2, 20, 50])
def test_the_ends_and_the_middle(variant: str, schedule: str, n: int) -> None:
    """0 is the source for free, 1 no source at all, 0.5 the default window to the bit."""

    def at(strength: float) -> Weights:
        return build_weights(n, DEFAULTS, variant, schedule=schedule, strength=strength)

    (only,) = plan(at(0.0), grid(SETUPS["epsilon"], n)).segments
    assert only.kind == "source"
    assert not any(column.any() for column in at(1.0) if column is not None)
    steps = (n, round(0.34 * n)) if schedule == "local-leash" else paper_window(n)
    default = variant_table(variant, window(n, *steps, schedule))
    default = add_leash(default, *steps) if schedule == "leash" else default
    default = add_local_leash(default, *steps) if schedule == "local-leash" else default
    for got, want in zip(at(0.5), default, strict=True):
        assert got is want is None or torch.equal(got, want)


@pytest.mark.covering(1)
@variants
@schedules
@given(
    strength=st.floats(0, 1), t_max=st.floats(0, 20), share=st.floats(0, 1), n=st.integers(20, 50)
)
@settings(deadline=None, derandomize=True, max_examples=40)
def test_weights_are_continuous_in_strength(
    variant: str, schedule: str, strength: float, t_max: float, share: float, n: int
) -> None:
    def at(strength: float) -> Tensor:
        defaults = Defaults(n, 7.5, 0.94, share)
        found = build_weights(n, defaults, variant, t_max, schedule=schedule, strength=strength)
        return torch.stack([torch.zeros(n) if one is None else one for one in found])

    near, step = min(1.0, strength + 1e-6), 1e-6
    assert ((at(strength) >= 0) & (at(strength) <= 1)).all()
    assert (at(strength) - at(near)).abs().max() <= 50 * n * step


@pytest.mark.representative("epsilon", "x")
@variants
def test_latents_are_continuous_in_strength(editor: Editor, variant: str) -> None:
    """A ten-thousandth of all strength is never more than a twentieth of the way."""
    source = editor.generate("a red house", 3, 6)

    def at(strength: float) -> Tensor:
        request = Request(source, "a blue boat", variant, strength=strength)
        with torch.no_grad():
            return final_latents(editor.models.unet, editor.tasks([request]), False)[0]

    scale = (at(1.0) - at(0.0)).norm()
    for strength in (0.0, 0.2, 0.25, 0.4999, 0.5, 0.6, 0.75, 0.9, 0.999):
        assert (at(strength + 1e-4) - at(strength)).norm() <= 0.05 * scale


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("t_max", [51, -1])
def test_a_window_outside_the_path_is_refused_at_every_strength(
    strength: float, t_max: float
) -> None:
    with pytest.raises(ValueError, match="t_max must be|t_m must be"):
        build_weights(50, DEFAULTS, t_max=t_max, strength=strength)
