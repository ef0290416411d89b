"""The scores of an edit of the suite: the fields it changed, those it preserved, and its distances.

Pictures are (b, 3, y, x) in [-1, 1], as large as those of their world: by default the first one.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.metrics import psnr, ssim
from mdp_lite.eval.pixel_scores import score_pixels
from mdp_lite.eval.reader import Reading
from mdp_lite.eval.score import Figures, render
from mdp_lite.eval.worlds import POSTCARDS, World, list_changed_fields

MIN_DIFFERENCE = 0.3  # of 2, black to white: pixels further from the scenery show the object
MIN_OVERLAP = 0.4  # intersection over union from which an object has its place and size


def score_edits(
    reader: nn.Module, cases: Sequence[EditCase], source: Tensor, target: Tensor, answers: bool,
    world: World = POSTCARDS,
) -> Figures:  # fmt: skip
    """All measures of edits, from pictures of the sources and of the edits; one number a case.

    right: the changed fields read as wanted. fields: all others read as before. kept: the same, and
    with answers also: the object has its place and size (overlap). both: right and kept. source:
    PSNR in dB to the source's picture. answers: the true answers are known, so distances to them
    and the shares of right pixels are measured too.
    """
    scores = judge_edits(reader, cases, source, target, world)
    if answers:
        truth = render((case.target_scene for case in cases), world.draw)
        inside, overlaps = edit_regions(cases, world), object_overlap(cases, target, world)
        scores["overlap"] = overlaps
        scores |= {
            "psnr": psnr(target, truth).tolist(),
            "psnr inside": psnr(target, truth, inside).tolist(),
            "psnr outside": psnr(target, truth, ~inside).tolist(),
            "ssim": ssim(target, truth).tolist(),
            "ssim inside": ssim(target, truth, inside).tolist(),
            "ssim outside": ssim(target, truth, ~inside).tolist(),
        }
        pixels = score_pixels(target, source, truth)._asdict()
        scores |= {f"pixels {name}": share.tolist() for name, share in pixels.items()}
        pairs = zip(scores["fields"], overlaps, strict=True)
        scores["kept"] = [float(same and overlap >= MIN_OVERLAP) for same, overlap in pairs]
    else:
        scores["kept"] = list(scores["fields"])
    pairs = zip(scores["right"], scores["kept"], strict=True)
    return scores | {
        "both": [float(right and kept) for right, kept in pairs],
        "source": psnr(target, source).tolist(),
    }


def judge_edits(
    reader: nn.Module, cases: Sequence[EditCase], source: Tensor, target: Tensor,
    world: World = POSTCARDS,
) -> Figures:  # fmt: skip
    """right and fields (0 or 1 a case), by readings of the sources' pictures and of the edits."""
    ask = world.reader.ask
    readings = zip(cases, ask(reader, source), ask(reader, target), strict=True)
    verdicts = [judge_edit(case, old, new, world) for case, old, new in readings]
    right, fields = ([float(part) for part in column] for column in zip(*verdicts, strict=True))
    return {"right": right, "fields": fields}


def judge_edit(
    case: EditCase, old: Reading, new: Reading, world: World = POSTCARDS
) -> tuple[bool, bool]:
    """Whether all fields that had to change read as wanted, and all others as before."""
    fields = list_changed_fields(world, case.source_scene, case.target_scene)
    want = world.reader.truth(case.target_scene)
    right = all(new[name] == want[name] for name in fields)
    return right, all(new[name] == old[name] for name in old if name not in fields)


def lack_change(
    reader: nn.Module, cases: Sequence[EditCase], pictures: Tensor, world: World = POSTCARDS
) -> list[bool]:
    """Whether each picture still lacks all that its edit is to change."""
    wanted = [world.reader.truth(case.target_scene) for case in cases]
    return [
        all(
            reading[name] != want[name]
            for name in list_changed_fields(world, case.source_scene, case.target_scene)
        )
        for case, want, reading in zip(
            cases, wanted, world.reader.ask(reader, pictures), strict=True
        )
    ]


def edit_regions(cases: Sequence[EditCase], world: World = POSTCARDS) -> Tensor:
    """The pixels (b, y, x) that an edit may change, by its fields in either scene."""
    masks = [
        np.logical_or.reduce([
            world.mask(scene, name)
            for name in list_changed_fields(world, case.source_scene, case.target_scene)
            for scene in (case.source_scene, case.target_scene)
        ])
        for case in cases
    ]  # fmt: skip
    return torch.from_numpy(np.stack(masks))


def object_overlap(
    cases: Sequence[EditCase], pictures: Tensor, world: World = POSTCARDS
) -> list[float]:
    """Intersection over union of the object with its old or its wanted shape, whichever fits best.

    An object that was to move has no place to keep, only its size: then it is the smaller area over
    the larger one.
    """
    scenes = [[case.source_scene for case in cases], [case.target_scene for case in cases]]
    scenery = [render(some, world.draw_without_object) for some in scenes]
    whole = [render(some, world.draw) for some in scenes]
    old, want = (find_object(a, b, b) for a, b in zip(whole, scenery, strict=True))
    got = find_object(pictures, *scenery)
    overlap = torch.maximum(_intersection_over_union(old, got), _intersection_over_union(want, got))
    pairs = [(case.source_scene, case.target_scene) for case in cases]
    moved = torch.tensor(["position" in list_changed_fields(world, *pair) for pair in pairs])
    areas = torch.stack([want.sum((1, 2)), got.sum((1, 2))]).double()
    shares = areas.amin(0) / areas.amax(0)
    return torch.where(moved, shares, overlap).nan_to_num(0).tolist()


def _intersection_over_union(a: Tensor, b: Tensor) -> Tensor:
    """Of pixels (b, y, x), (b,); NaN if both are empty."""
    return (a & b).sum((1, 2)).double() / (a | b).sum((1, 2))


def find_object(pictures: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The pixels (b, y, x) that show more than the scenery of either scene, without its object.

    A mixture of the two, such as the sky of an edit that stopped halfway, still counts as scenery.
    """
    along = target - source
    length = along.square().sum(1, keepdim=True).clamp(min=1e-12)
    share = ((pictures - source) * along).sum(1, keepdim=True) / length
    return (pictures - source - share.clamp(0, 1) * along).abs().amax(1) > MIN_DIFFERENCE
