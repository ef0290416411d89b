"""A small page with the component picture alone, so that its tests need no model."""

import base64
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from support.browsing import FIRST
from support.served_blocks import serve_blocks

SIDES = (96, 64)  # of the picture to paint on
URL_PREFIX = "data:image/png;base64,"


class PicturePage(NamedTuple):
    """The address of the page, the values that Python got, the files, and the example events."""

    url: str
    values: list[dict[str, Any]]
    files: list[Path]
    events: list[tuple[str, Any]]


def data_url(image: Image.Image) -> str:
    """A picture as the address of itself."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return URL_PREFIX + base64.b64encode(out.getvalue()).decode()


def picture_value(image: Image.Image, name: str, **mask: Any) -> dict[str, Any]:
    """The component's value with a picture."""
    shown = {"url": data_url(image), "width": image.width, "height": image.height, "name": name}
    rest = {"where": "everywhere", "png": None, "feather": 0} | mask
    return {"picture": shown, "mask": rest, "examples": EXAMPLES, "problem": None}


def plain_picture() -> Image.Image:
    """A picture of SIDES with a slope of colours."""
    across, down = np.meshgrid(np.linspace(40, 200, SIDES[0]), np.linspace(60, 220, SIDES[1]))
    return Image.fromarray(np.dstack([across, down, 255 - across]).astype(np.uint8))


def half_mask() -> Image.Image:
    """A mask of SIDES whose right half is white."""
    mask = Image.new("L", SIDES)
    mask.paste(255, (SIDES[0] // 2, 0, *SIDES))
    return mask


EXAMPLES = [{"id": "house", "url": data_url(Image.open(FIRST.file)), "label": "House"}]


@pytest.fixture(scope="module")
def picture_page() -> Iterator[PicturePage]:
    """The component on a page, served by this process, so that its values are seen."""
    gr = pytest.importorskip("gradio")
    from mdp_lite.app.components.picture import build_picture, empty_value
    from mdp_lite.app.style import build_theme

    page = PicturePage("", [], [], [])
    shown = [empty_value(EXAMPLES)]

    def read_file(path: str) -> Any:
        page.files.append(Path(path))
        try:
            shown.append(picture_value(Image.open(path).convert("RGB"), Path(path).name))
        except OSError:
            return shown[-1] | {"problem": "This is no picture."}, None
        return shown[-1], None

    def record(name: str) -> Any:
        def listen(event: gr.EventData) -> None:
            page.events.append((name, dict(event._data or {})))

        return listen

    def build() -> Any:
        with gr.Blocks(analytics_enabled=False) as blocks:
            picture = build_picture(shown[0])
            with gr.Column(elem_classes="hidden-file"):
                file = gr.File(elem_id="picture-file")
            plain, found = gr.Button("plain", elem_id="plain"), gr.Button("found", elem_id="found")
            gr.Textbox(label="words", elem_id="words")
            file.upload(read_file, file, [picture, file], show_progress="hidden")
            picture.change(page.values.append, picture, show_progress="hidden")
            for name in ("input", "clear", "example_select"):
                getattr(picture, name)(record(name), show_progress="hidden")
            numbers = itertools.count()  # gradio tells the page only of values that differ

            def send_plain() -> Any:
                shown.append(picture_value(plain_picture(), f"slope {next(numbers)}.png"))
                return shown[-1]

            plain.click(send_plain, None, picture)
            mask = data_url(half_mask())
            found.click(
                lambda: picture_value(plain_picture(), "slope.png", where="found", png=mask),
                None, picture,
            )  # fmt: skip
        return blocks

    hide = ".hidden-file {height: 0; overflow: hidden}"
    with serve_blocks(build, theme=build_theme(), css=hide) as url:
        yield page._replace(url=url)
