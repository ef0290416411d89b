"""Sheets of pictures on white: labelled pictures in lines, and tables with heads."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from mdp_lite.names import BadInput

MIN_SIDE = 192  # pixels; a picture with a shorter side is enlarged
MARGIN, LINE, TEXT = 16, 19, 15  # pixels: between pictures, per line of a label, of its font
MAX_LETTERS = 2000  # of a label: more than any prompt of the page; so no sheet fills the memory
TILE_SIDE = 256  # pixels; a picture of a contact sheet with a longer side is shrunk

Row = list[tuple[str, Image.Image]]


def sheet(rows: list[Row]) -> Image.Image:
    """Rows of (label, picture) as one RGB picture, each label above its picture."""
    if not rows or not all(rows):
        raise BadInput(f"a sheet needs at least one picture in each row, got {rows!r}")
    font = ImageFont.load_default(TEXT)
    cells = [[(label, enlarge(image)) for label, image in row] for row in rows]
    columns = max(len(row) for row in cells)
    widths = [max(r[k][1].width for r in cells if k < len(r)) for k in range(columns)]
    labels = [
        [wrap(label, width, font) for (label, _), width in zip(row, widths, strict=False)]
        for row in cells
    ]
    heads = [LINE * max(map(len, row)) + 6 for row in labels]
    tall = [max(image.height for _, image in row) for row in cells]
    height = sum(heads) + sum(tall) + MARGIN * (len(rows) + 1)
    page = Image.new("RGB", (sum(widths) + MARGIN * (columns + 1), height), "white")
    pen, top = ImageDraw.Draw(page), MARGIN
    for row, texts, head, below in zip(cells, labels, heads, tall, strict=True):
        left = MARGIN
        for (_, image), lines, width in zip(row, texts, widths, strict=False):
            pen.multiline_text((left, top), "\n".join(lines), "black", font, spacing=LINE - TEXT)
            page.paste(image, (left, top + head))
            left += width + MARGIN
        top += head + below + MARGIN
    return page


def enlarge(image: Image.Image) -> Image.Image:
    """Enlarge by the smallest whole factor for which the shorter side has MIN_SIDE pixels."""
    factor = max(1, -(-MIN_SIDE // min(image.size)))
    size = (factor * image.width, factor * image.height)
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def wrap(label: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """The whole label in lines of at most `width` pixels; a word that is wider goes on below.

    Of a label with more than MAX_LETTERS, "..." stands for the rest.
    """
    lines, label = [""], label if len(label) <= MAX_LETTERS else f"{label[:MAX_LETTERS]}..."
    for word in label.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines += split_word(word, width, font)
    return [line for line in lines if line] or [""]


def split_word(
    word: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> list[str]:
    """A word in pieces of at most `width` pixels, or of one letter."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and font.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


class Table(NamedTuple):
    """A part of a contact sheet: a labelled picture in the corner, heads, and lines of pictures.

    None instead of a picture leaves its place white.
    """

    corner: tuple[str, Image.Image]
    columns: list[str]
    rows: Sequence[tuple[str, Sequence[Image.Image | None]]]


def contact(tables: list[Table]) -> Image.Image:
    """Tables below each other; a head is above each column and at the left of each line."""
    if not tables or not all(table.columns and table.rows for table in tables):
        raise BadInput(f"a contact sheet needs at least one picture in each table, got {tables}")
    return _stack([_lay_out(_cells(table)) for table in tables])


def tile(image: Image.Image) -> Image.Image:
    """A picture for a table: enlarged if small, shrunk to TILE_SIDE pixels a side if large."""
    shown = enlarge(image)
    shown.thumbnail((TILE_SIDE, TILE_SIDE), Image.Resampling.LANCZOS)
    return shown


def _cells(table: Table) -> list[list[Image.Image]]:
    """A table as pictures, with its heads."""
    label, picture = table.corner
    corner = tile(picture)
    first = _stack([_draw_label(label, corner.width), corner])
    heads = [_draw_label(head, corner.width) for head in table.columns]
    blank = Image.new("RGB", corner.size, "white")
    rows = [
        [_draw_label(head, corner.width), *(tile(one) if one else blank for one in pictures)]
        for head, pictures in table.rows
    ]
    return [[first, *heads], *rows]


def _draw_label(text: str, width: int) -> Image.Image:
    """A label as a picture."""
    font = ImageFont.load_default(TEXT)
    lines = wrap(text, width, font)
    page = Image.new("RGB", (width, LINE * len(lines) + 6), "white")
    pen = ImageDraw.Draw(page)
    pen.multiline_text((0, 0), "\n".join(lines), "black", font, spacing=LINE - TEXT)
    return page


def _lay_out(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures in lines and columns; those of the first line are aligned at the bottom."""
    width = max(image.width for row in rows for image in row) + MARGIN
    heights = [max(image.height for image in row) + MARGIN for row in rows]
    columns = max(map(len, rows))
    page = Image.new("RGB", (width * columns + MARGIN, sum(heights) + MARGIN), "white")
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for k, image in enumerate(row):
            spare = height - MARGIN - image.height
            page.paste(image, (MARGIN + k * width, top + (spare if row is rows[0] else 0)))
        top += height
    return page


def _stack(pages: list[Image.Image]) -> Image.Image:
    """Pictures below each other, on white."""
    size = max(page.width for page in pages), sum(page.height for page in pages)
    whole, top = Image.new("RGB", size, "white"), 0
    for page in pages:
        whole.paste(page, (0, top))
        top += page.height
    return whole
