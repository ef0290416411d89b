"""Before/after sheets: labelled pictures in rows, on white."""

from PIL import Image, ImageDraw, ImageFont

LEAST = 192  # pixels along the shorter side, below which a picture is enlarged
MARGIN, LINE, TEXT = 16, 19, 15  # pixels between pictures, per line of a label, of its font
LINES = 4  # a longer label is cut

Row = list[tuple[str, Image.Image]]


def sheet(rows: list[Row]) -> Image.Image:
    """Rows of (label, picture) as one RGB picture, each label above what it names."""
    if not rows or not all(rows):
        raise ValueError(f"a sheet needs at least one picture in each row, got {rows!r}")
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
    """By the least whole factor that makes the shorter side LEAST pixels long."""
    factor = max(1, -(-LEAST // min(image.size)))
    size = (factor * image.width, factor * image.height)
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def wrap(label: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """The label in lines of at most `width` pixels, LINES of them at most, the rest as "..."."""
    lines = [""]
    for word in label.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], f"{lines[LINES - 1]} ..."]
    return [clip(line, width, font) for line in lines]


def clip(line: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """A line that is too long ends in "..."."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}...") > width:
        line = line[:-1]
    return f"{line}..."
