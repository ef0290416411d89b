"""Before/after sheets: every picture is there, every label fits."""

import pytest
from PIL import Image, ImageChops, ImageFont

from mdp_lite.pictures.sheets import (
    MARGIN,
    MAX_LETTERS,
    MIN_SIDE,
    Table,
    contact,
    enlarge,
    sheet,
    wrap,
)

NOISE = Image.effect_noise((64, 64), 60).convert("RGB")
RED = Image.new("RGB", (64, 64), "red")


def test_a_sheet_shows_every_picture_enlarged() -> None:
    rows = [[("one", NOISE), ("two", RED)], [("three", NOISE.transpose(Image.Transpose.ROTATE_90))]]
    page = sheet(rows)
    assert page.width == 2 * MIN_SIDE + 3 * MARGIN
    for (_, picture), left in zip(rows[0], (MARGIN, 2 * MARGIN + MIN_SIDE), strict=True):
        tops = [
            top
            for top in range(page.height - MIN_SIDE)
            if page.crop((left, top, left + MIN_SIDE, top + MIN_SIDE)).tobytes()
            == enlarge(picture).tobytes()
        ]
        assert len(tops) == 1


def test_labels_are_drawn_above_and_inside_the_column() -> None:
    label = "a red house on the left, grass, clear day with the sun"
    blank, page = (sheet([[(text, Image.new("RGB", (64, 64), "white"))]]) for text in ("", label))
    assert page.height >= blank.height
    box = ImageChops.invert(page).getbbox()
    assert box is not None
    left, top, right, bottom = box
    assert left >= MARGIN and right <= MARGIN + MIN_SIDE
    assert top >= MARGIN and bottom <= page.height - MARGIN - MIN_SIDE


@pytest.mark.parametrize("label", ["word " * 200, "x" * 500, "", "two\nlines", "赤い家", "i" * 999])
def test_a_label_of_any_length_fits_and_is_never_cut(label: str) -> None:
    font = ImageFont.load_default(15)
    lines = wrap(label, MIN_SIDE, font)
    assert len(lines) >= 1
    assert all(font.getlength(line) <= MIN_SIDE for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(label.split())


def test_only_a_label_that_no_prompt_has_is_cut() -> None:
    font = ImageFont.load_default(15)
    assert "".join(wrap("x" * MAX_LETTERS, MIN_SIDE, font)) == "x" * MAX_LETTERS
    assert "".join(wrap("x" * 10**6, MIN_SIDE, font)) == "x" * MAX_LETTERS + "..."


def test_a_long_label_moves_its_picture_down() -> None:
    short, long = (sheet([[(text, RED)]]) for text in ("word", "word " * 200))
    assert long.height > 2 * short.height
    bottom = long.height - MARGIN
    red = long.crop((MARGIN, bottom - MIN_SIDE, MARGIN + MIN_SIDE, bottom))
    assert red.tobytes() == enlarge(RED).tobytes()


def test_a_table_may_have_gaps_and_long_heads() -> None:
    heads = ["t_max 44", "t_max 47 " * 30]
    whole, gap = (
        contact([Table(("before", NOISE), heads, [("t_m 20", [RED, one]), ("t_m 26", [RED, RED])])])
        for one in (RED, None)
    )
    assert whole.size == gap.size and whole.getpixel((2, 2)) == (255, 255, 255)
    box = ImageChops.difference(whole, gap).getbbox()
    assert box is not None and (box[2] - box[0], box[3] - box[1]) == (MIN_SIDE, MIN_SIDE)
    assert gap.crop(box).getcolors() == [(MIN_SIDE**2, (255, 255, 255))]


@pytest.mark.parametrize("size", [(64, 64), (100, 30), (192, 192), (500, 300)])
def test_enlarging_is_by_whole_factors(size: tuple[int, int]) -> None:
    big = enlarge(Image.new("RGB", size))
    assert min(big.size) >= MIN_SIDE
    assert big.width % size[0] == 0 and big.width // size[0] == big.height // size[1]
    assert min(size) < MIN_SIDE or big.size == size


@pytest.mark.parametrize("rows", [[], [[]]])
def test_a_sheet_needs_pictures(rows: list) -> None:
    with pytest.raises(ValueError, match="a sheet needs at least one picture in each row, got"):
        sheet(rows)
