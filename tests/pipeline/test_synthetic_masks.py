"""Masked edits on synthetic scenes, whose true mask and true answer are known."""

import numpy as np
import pytest
from PIL import Image

from mdp_lite import Editor
from mdp_lite.editor import Edit, Source
from mdp_lite.eval.cases import EditCase, make_cases
from mdp_lite.eval.reader import Reading, load_reader, read
from mdp_lite.eval.world import draw, mask
from mdp_lite.pictures import images

CASES = {kind: make_cases(kind, 4, short=False, first=12_000_000) for kind in ("color", "object")}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny() -> Editor:
    return Editor.from_pretrained("tiny", device="cpu")


def true_mask(case: EditCase) -> np.ndarray:
    """The pixels of the edited field, before and after."""
    return mask(case.source_scene, case.kind) | mask(case.target_scene, case.kind)


def invert(tiny: Editor, case: EditCase) -> Source:
    return tiny.invert(draw(case.source_scene), case.source, num_inference_steps=20)


def reading(image: Image.Image) -> Reading:
    return read(load_reader(), images.to_tensor(image))[0]


def keeps_outside(edit: Edit, source: Source) -> bool:
    """Whether each pixel outside the mask is the picture's."""
    differ = (np.asarray(edit.picture) != np.asarray(source.picture)).any(2)
    return not differ[np.asarray(edit.mask) == 0].any()


@pytest.mark.parametrize("kind", CASES)
def test_the_edit_happens_inside_the_true_mask(tiny: Editor, kind: str) -> None:
    right = []
    for case in CASES[kind]:
        source = invert(tiny, case)
        where = Image.fromarray(255 * true_mask(case).astype(np.uint8))
        edit = tiny.edit(source, case.target, mask=where)
        assert keeps_outside(edit, source)
        found, before = reading(edit.picture), reading(source.picture)
        others = all(found[field] == before[field] for field in found if field != kind)
        right.append(found[kind] == getattr(case.target_scene, kind) and others)
    assert sum(right) == len(right)  # measured: 8 of 8 on other scenes, 25 steps


@pytest.mark.parametrize("kind", CASES)
def test_the_automatic_mask_finds_the_object(tiny: Editor, kind: str) -> None:
    shares, right = [], []
    for case in CASES[kind]:
        source = invert(tiny, case)
        edit = tiny.edit(source, case.target, mask="auto")
        found, true = np.asarray(edit.mask) > 0, true_mask(case)
        share = (found & true).sum() / (found | true).sum()
        assert share > 2 * true.mean()  # true.mean(): what a mask of the whole picture overlaps
        shares.append(share)
        assert keeps_outside(edit, source)
        right.append(reading(edit.picture)[kind] == getattr(case.target_scene, kind))
    assert np.mean(shares) > 0.4
    assert sum(right) >= len(right) - 1


def test_the_automatic_mask_leaves_out_what_the_edit_does_not_name(tiny: Editor) -> None:
    """Another ground: the sky stays bit for bit, where no mask would have changed all of it."""
    case = make_cases("ground", 1, short=False, first=12_000_000)[0]
    source = invert(tiny, case)
    edit = tiny.edit(source, case.target, mask="auto")
    same = (np.asarray(edit.picture) == np.asarray(source.picture)).all(2)
    sky = ~true_mask(case)
    assert same[sky].mean() > 0.5 and same[~sky].mean() < 0.2
    plain = np.asarray(tiny.edit(source, case.target).picture)
    assert (plain == np.asarray(source.picture)).all(2)[sky].mean() < 0.3
