"""The suite of synthetic edits and its scores: held-back cases, known distances, anchors."""

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite.eval import world
from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.edit_scores import (
    edit_regions,
    find_object,
    lack_change,
    object_overlap,
    score_edits,
)
from mdp_lite.eval.edits import KINDS, SPLITS, find_changes, iterate_edits
from mdp_lite.eval.metrics import ssim, ssim_map
from mdp_lite.eval.reader import HEADS, load_reader, read, truth
from mdp_lite.eval.score import render
from mdp_lite.eval.world import change, sample
from support.coded_pictures import CodeReader, encode_scenes, other_value


def some(kind: str, count: int = 6, split: str = "report") -> list[EditCase]:
    return list(islice(iterate_edits(kind, split), count))


def render_both(cases: list[EditCase]) -> tuple[Tensor, Tensor]:
    """The pictures of the source scenes and of the target scenes."""
    return render(c.source_scene for c in cases), render(c.target_scene for c in cases)


# --- cases -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_changes_what_its_kind_says_between_scenes_that_training_never_sees(
    kind: str,
) -> None:
    fields = {"add": {"light"}, "remove": {"light"}, "style": {"time", "weather"}}
    for case in some(kind):
        assert world.is_held_back(case.source_scene) and world.is_held_back(case.target_scene)
        assert sample(case.seed) == case.source_scene
        now = set(find_changes(case.source_scene, case.target_scene))
        if kind == "two":
            assert len(now) == 2 and now <= {"object", "color", "ground", "time"}
        else:
            assert now == fields.get(kind, {kind})


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_name_little_and_say_the_change(kind: str) -> None:
    for case in some(kind):
        assert case.source != case.target
        scene, fields = case.source_scene, [f for f in world.FIELDS if f != "light"]
        named = [f for f in fields if getattr(scene, f) in case.source]
        assert len(named) <= 4, case.source
        for name in find_changes(case.source_scene, case.target_scene):
            if name != "light":
                assert getattr(case.target_scene, name) in case.target
    words = {"add": ("", "with the"), "remove": ("with the", "with no")}
    for kind, (old, new) in words.items():
        for case in some(kind, 2):
            assert old in case.source and new in case.target
            assert (kind == "add") == ("with" not in case.source)


def test_splits_and_kinds_share_no_scene_and_equal_calls_are_equal() -> None:
    seeds = [c.seed for split in SPLITS for kind in KINDS for c in some(kind, 3, split)]
    assert len(set(seeds)) == len(seeds)
    assert some("color") == some("color")
    with pytest.raises(ValueError, match="kind must be one of object, .*, got 'style!'"):
        some("style!")
    with pytest.raises(ValueError, match="split must be one of tune, report, fresh, got 'test'"):
        some("color", split="test")


# --- scores ------------------------------------------------------------------------------------


def test_doing_nothing_wins_nothing_and_the_truth_wins_all() -> None:
    reader = load_reader()
    for kind in KINDS:
        cases = some(kind, 3)
        source, target = render_both(cases)
        still, done = (score_edits(reader, cases, source, p, True) for p in (source, target))
        assert sum(still["right"]) == sum(still["both"]) == 0
        assert still["fields"] == [1.0] * 3
        assert sum(still["kept"]) == sum(done["both"]) == 3
        assert min(done["psnr"]) > 100 and min(done["ssim"]) > 0.9999


def test_an_object_that_moved_or_shrank_is_not_kept() -> None:
    case = next(c for c in iterate_edits("color", "report") if c.source_scene.size > 0.6)
    far = next(v for v in world.FIELDS["position"] if v != case.target_scene.position)
    small = replace(case.target_scene, size=0.0)
    pictures = render([case.target_scene, change(case.target_scene, "position", far), small])
    same, moved, less = object_overlap([case] * 3, pictures)
    assert same == 1 and moved < 0.2 and moved < less < 0.8


def test_of_an_object_that_was_to_move_only_the_size_is_kept() -> None:
    case = some("position", 1)[0]
    shifted = replace(case.target_scene, dx=1 - case.target_scene.dx)
    assert object_overlap([case], render([shifted]))[0] > 0.7
    large, small = (replace(case.target_scene, size=size) for size in (1.0, 0.0))
    # (0.75 / 1.25)^2 = 0.36 of the area itself; a companion's or the edge's pixels blur that.
    assert object_overlap([case._replace(target_scene=large)], render([small]))[0] < 0.7


def test_mixtures_of_both_sceneries_are_scenery() -> None:
    source, target = torch.zeros(1, 3, 1, 4), torch.zeros(1, 3, 1, 4)
    target[..., :3] = torch.tensor([0.8, 0.4, 0.0])[:, None, None]  # the last pixel stays as it was
    half = (source + target) / 2
    beyond, beside = half.clone(), half.clone()
    beyond[..., 0] = target[..., 0] * 1.5  # 0.4 past the end in the first channel
    beside[:, 2, :, 1] = 0.31
    beside[:, 2, :, 2] = 0.29
    beside[:, 2, :, 3] = -0.31
    for picture, want in (
        (source, [0, 0, 0, 0]),
        (target, [0, 0, 0, 0]),
        (half, [0, 0, 0, 0]),
        (beyond, [1, 0, 0, 0]),
        (beside, [0, 1, 0, 1]),
    ):
        assert find_object(picture, source, target)[0, 0].int().tolist() == want


def test_the_true_answer_differs_from_the_picture_inside_the_region_alone() -> None:
    for kind in ("color", "two", "add", "ground"):
        cases = some(kind, 4)
        source, target = render_both(cases)
        far = ((source - target).abs().amax(1) > 0.1) & ~edit_regions(cases)
        assert far.float().mean() < 0.01, kind


def test_the_named_fields_must_be_right_and_the_others_kept() -> None:
    case = some("two", 1)[0]
    first, second = find_changes(case.source_scene, case.target_scene)
    half = change(case.source_scene, first, getattr(case.target_scene, first))
    spoilt = change(
        case.target_scene, "companion", other_value("companion", case.target_scene.companion)
    )
    source = encode_scenes([case.source_scene] * 4)
    target = encode_scenes([case.target_scene, half, spoilt, case.source_scene])
    reader: Any = CodeReader()
    found = score_edits(reader, [case] * 4, source, target, False)
    assert found["right"] == [1, 0, 1, 0]
    assert found["fields"] == found["kept"] == [1, 1, 0, 1]
    assert found["both"] == [1, 0, 0, 0]
    answers = [
        half,
        case.source_scene,
        change(case.source_scene, second, getattr(case.target_scene, second)),
    ]
    assert lack_change(reader, [case] * 3, encode_scenes(answers)) == [False, True, False]


def test_the_reader_reads_99_of_100_pictures_right() -> None:
    cases = [case for kind in KINDS for case in some(kind, 12)]
    found = read(load_reader(), render(case.target_scene for case in cases))
    for name in HEADS:
        right = [
            got[name] == truth(c.target_scene)[name] for got, c in zip(found, cases, strict=True)
        ]
        assert sum(right) >= 0.99 * len(right), name


# --- structural similarity -----------------------------------------------------------------------


def noise(seed: int, size: int = 24) -> Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_ssim_of_equal_and_of_flat_pictures() -> None:
    assert ssim(noise(0), noise(0)).item() == pytest.approx(1)
    # Without structure only light counts: (2 a b + c) / (a^2 + b^2 + c), c = (0.01 * 2)^2.
    a, b, c = 0.5, -0.25, 4e-4
    flat = ssim(torch.full((1, 3, 16, 16), a), torch.full((1, 3, 16, 16), b))
    assert flat.item() == pytest.approx((2 * a * b + c) / (a * a + b * b + c), abs=1e-9)


def test_ssim_of_a_negative() -> None:
    # Means m and -m, variances equal, covariance the negative: by hand from Eq. 13 in one window.
    x = noise(1, 11)
    u = torch.arange(11).double() - 5
    g = torch.exp(-(u**2) / (2 * 1.5**2))
    weights = (g[:, None] * g[None]) / g.sum() ** 2
    means = (x.double() * weights).sum((2, 3))
    var = (x.double() ** 2 * weights).sum((2, 3)) - means**2
    c_1, c_2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    want = (-2 * means**2 + c_1) / (2 * means**2 + c_1) * (-2 * var + c_2) / (2 * var + c_2)
    assert torch.allclose(ssim_map(x, -x)[:, :, 0, 0], want, atol=1e-9)


def test_ssim_inside_counts_the_windows_whose_centres_are_inside() -> None:
    x, y = noise(2), noise(2)
    y[..., 12:] = noise(3)[..., 12:]
    inside = torch.zeros(1, 24, 24, dtype=torch.bool)
    inside[..., :6] = True  # windows reach 5 further, so never the other half
    assert ssim(x, y, inside).item() == pytest.approx(1)
    assert ssim(x, y, ~inside).item() < 0.9
