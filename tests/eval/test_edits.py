"""The suite of drawn edits and what it scores: honest cases, known distances, the anchors' rows."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from test_eval import Codes, coded, other
from torch import Tensor

from mdp_lite.eval import world
from mdp_lite.eval.cases import Case
from mdp_lite.eval.edit_scores import placed, regions, scores, seen, unlike
from mdp_lite.eval.edits import KINDS, SPLITS, changed, edits
from mdp_lite.eval.metrics import ssim, ssim_map
from mdp_lite.eval.reader import HEADS, load_reader, read, truth
from mdp_lite.eval.score import drawn
from mdp_lite.eval.world import change, sample


def some(kind: str, count: int = 6, split: str = "report") -> list[Case]:
    return list(islice(edits(kind, split), count))


def sides(cases: list[Case]) -> tuple[Tensor, Tensor]:
    """The pictures before and after."""
    return drawn(case.before for case in cases), drawn(case.after for case in cases)


# --- cases -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_changes_what_its_kind_says_between_records_that_training_never_sees(
    kind: str,
) -> None:
    fields = {"add": {"light"}, "remove": {"light"}, "style": {"time", "weather"}}
    for case in some(kind):
        assert world.held_back(case.before) and world.held_back(case.after)
        assert sample(case.seed) == case.before
        now = set(changed(case.before, case.after))
        if kind == "two":
            assert len(now) == 2 and now <= {"object", "color", "ground", "time"}
        else:
            assert now == fields.get(kind, {kind})


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_name_little_and_say_the_change(kind: str) -> None:
    for case in some(kind):
        assert case.source != case.target
        told = [f for f in world.FIELDS if f != "light" and getattr(case.before, f) in case.source]
        assert len(told) <= 4, case.source
        for name in changed(case.before, case.after):
            if name != "light":
                assert getattr(case.after, name) in case.target
    words = {"add": ("", "with the"), "remove": ("with the", "with no")}
    for kind, (before, after) in words.items():
        for case in some(kind, 2):
            assert before in case.source and after in case.target
            assert (kind == "add") == ("with" not in case.source)


def test_splits_and_kinds_share_no_record_and_come_again() -> None:
    seeds = [c.seed for split in SPLITS for kind in KINDS for c in some(kind, 3, split)]
    assert len(set(seeds)) == len(seeds)
    assert some("color") == some("color")
    with pytest.raises(ValueError, match="kind must be one of object, .*, got 'style!'"):
        some("style!")
    with pytest.raises(ValueError, match="split must be one of tune, report, got 'test'"):
        some("color", split="test")


# --- scores ------------------------------------------------------------------------------------


def test_doing_nothing_wins_nothing_and_the_truth_wins_all() -> None:
    reader = load_reader()
    for kind in KINDS:
        cases = some(kind, 8)
        before, after = (
            drawn(part) for part in zip(*((c.before, c.after) for c in cases), strict=True)
        )
        still, done = (scores(reader, cases, before, p, True) for p in (before, after))
        assert sum(still["right"]) == sum(still["both"]) == 0
        assert still["fields"] == [1.0] * 8
        assert sum(still["kept"]) == sum(done["both"]) == 8
        assert min(done["psnr"]) > 100 and min(done["ssim"]) > 0.9999


def test_an_object_that_moved_or_shrank_is_not_kept() -> None:
    case = next(c for c in edits("color", "report") if c.before.size > 0.6)
    far = next(v for v in world.FIELDS["position"] if v != case.after.position)
    small = replace(case.after, size=0.0)
    pictures = drawn([case.after, change(case.after, "position", far), small])
    same, moved, less = placed([case] * 3, pictures)
    assert same == 1 and moved < 0.2 and moved < less < 0.8


def test_of_an_object_that_was_to_move_only_the_size_is_kept() -> None:
    case = some("position", 1)[0]
    shifted = replace(case.after, dx=1 - case.after.dx)
    assert placed([case], drawn([shifted]))[0] > 0.7
    large, small = (replace(case.after, size=size) for size in (1.0, 0.0))
    # (0.75 / 1.25)^2 = 0.36 of the area itself; a companion's or the edge's pixels blur that.
    assert placed([case._replace(after=large)], drawn([small]))[0] < 0.7


def test_scenery_is_what_lies_between_before_and_after() -> None:
    before, after = torch.zeros(1, 3, 1, 4), torch.zeros(1, 3, 1, 4)
    after[..., :3] = torch.tensor([0.8, 0.4, 0.0])[:, None, None]  # the last pixel stays as it was
    half = (before + after) / 2
    beyond, beside = half.clone(), half.clone()
    beyond[..., 0] = after[..., 0] * 1.5  # 0.4 past the end in the first channel
    beside[:, 2, :, 1] = 0.31
    beside[:, 2, :, 2] = 0.29
    beside[:, 2, :, 3] = -0.31
    for picture, want in (
        (before, [0, 0, 0, 0]),
        (after, [0, 0, 0, 0]),
        (half, [0, 0, 0, 0]),
        (beyond, [1, 0, 0, 0]),
        (beside, [0, 1, 0, 1]),
    ):
        assert seen(picture, before, after)[0, 0].int().tolist() == want


def test_the_true_answer_differs_from_the_picture_inside_the_region_alone() -> None:
    for kind in ("color", "two", "add", "ground"):
        cases = some(kind, 4)
        before, after = (
            drawn(part) for part in zip(*((c.before, c.after) for c in cases), strict=True)
        )
        far = ((before - after).abs().amax(1) > 0.1) & ~regions(cases)
        assert far.float().mean() < 0.01, kind


def test_what_was_named_must_be_right_and_the_rest_kept() -> None:
    case = some("two", 1)[0]
    first, second = changed(case.before, case.after)
    half = change(case.before, first, getattr(case.after, first))
    spoilt = change(case.after, "companion", other("companion", case.after.companion))
    before = coded([case.before] * 4)
    found = scores(Codes(), [case] * 4, before, coded([case.after, half, spoilt, case.before]),
                   False)  # type: ignore[arg-type]  # fmt: skip
    assert found["right"] == [1, 0, 1, 0]
    assert found["fields"] == found["kept"] == [1, 1, 0, 1]
    assert found["both"] == [1, 0, 0, 0]
    answers = [half, case.before, change(case.before, second, getattr(case.after, second))]
    assert unlike(Codes(), [case] * 3, coded(answers)) == [False, True, False]  # type: ignore[arg-type]


def test_the_reader_is_right_of_99_in_100_drawings() -> None:
    cases = [case for kind in KINDS for case in some(kind, 12)]
    found = read(load_reader(), drawn(case.after for case in cases))
    for name in HEADS:
        right = [got[name] == truth(c.after)[name] for got, c in zip(found, cases, strict=True)]
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
