"""A mask painted with the mouse: what lies outside it stays the source's, to the bit."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from mdp_lite.pictures import images
from support.browsing import HOUSE, Opens, Served, Watched, chromium, opens, served

__all__ = ["chromium", "opens", "served"]  # fixtures
pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # gradio leaves sockets to the collector as it closes
]
CLEAR = re.compile("clear|remove", re.IGNORECASE)  # the button that takes a file away
NEAR = 48  # levels by which a screenshot of an enlarged picture may be off; white is further


def painting(one: Watched, case: str) -> Any:
    """The canvas of a case's page, once the picture to paint on is on it."""
    one.page.get_by_role("button", name="Where").first.click()
    one.page.locator(f"#{case}-where").get_by_label("Where I paint").check()
    canvas = one.page.locator(f"#{case}-canvas canvas").first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    return canvas


def middle(canvas: Any) -> tuple[int, ...]:
    """The colour that is seen in the middle of the canvas."""
    seen = Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")
    return tuple(int(one) for one in seen.resize((1, 1), box=_middle(seen.size)).getpixel((0, 0)))


def _middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    x, y = size[0] // 2, size[1] // 2
    return x - 2, y - 2, x + 2, y + 2


def shows(one: Watched, canvas: Any, picture: Image.Image) -> None:
    """Wait until the canvas has the picture in its middle."""
    want = picture.convert("RGB").resize((1, 1), box=_middle(picture.size)).getpixel((0, 0))
    for _ in range(120):
        seen = middle(canvas)
        if all(abs(a - b) <= NEAR for a, b in zip(seen, want, strict=True)):
            return
        one.page.wait_for_timeout(500)
    raise AssertionError(f"the canvas shows {seen}, the picture has {want} in its middle")


def stroke(one: Watched, canvas: Any) -> None:
    """From the middle to the right, with the mouse held down."""
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    one.page.mouse.move(x, y)
    one.page.mouse.down()
    one.page.mouse.move(x + 50, y, steps=10)
    one.page.mouse.up()


def kept(before: Image.Image, after: Image.Image, mask: Image.Image) -> bool:
    """Whether all that is black in the mask is equal."""
    differ = ImageChops.difference(before, after).convert("L").point([0] + [255] * 255)
    return ImageChops.multiply(differ, ImageChops.invert(mask)).getbbox() is None


def painted(one: Watched) -> Image.Image:
    """The mask that the page shows."""
    shown = one.page.locator("#mask img")
    shown.wait_for()
    return Image.open(io.BytesIO(one.page.request.get(shown.get_attribute("src")).body()))


def checked(before: Image.Image, after: Image.Image, mask: Image.Image) -> None:
    """A stroke to the right of the middle, inside which alone the edit happened."""
    left, top, right, bottom = mask.convert("L").getbbox() or (0, 0, 0, 0)
    width, height = mask.size
    assert left < width // 2 < right < width and top < height // 2 <= bottom < height
    assert right - left > bottom - top
    assert before.tobytes() != after.tobytes() and kept(before, after, mask.convert("L"))


def test_a_stroke_on_a_picture(opens: Opens, served: Served, tmp_path: Path) -> None:
    one, before = opens(), images.open_picture(HOUSE.file)
    one.give(HOUSE.file)
    canvas = painting(one, "picture")
    shows(one, canvas, before)
    stroke(one, canvas)
    one.edited(HOUSE.source_prompt, HOUSE.prompt)
    after = images.open_picture(one.downloaded(tmp_path))
    checked(before, after, painted(one))
    one.clean()


def test_a_stroke_on_a_picture_that_was_made(opens: Opens, tmp_path: Path) -> None:
    one = opens()
    one.tab("Make and edit")
    one.field("prompt-source-prompt", HOUSE.source_prompt)
    one.field("prompt-prompt", HOUSE.prompt)
    one.click("prompt-edit")
    one.says("The edit took")
    sources = one.page.locator("#slider img").evaluate_all("all => all.map(one => one.src)")
    before = Image.open(io.BytesIO(one.page.request.get(sources[0]).body()))
    canvas = painting(one, "prompt")
    shows(one, canvas, before)
    stroke(one, canvas)
    one.click("prompt-edit")
    one.says("The source was at hand")
    checked(before, images.open_picture(one.downloaded(tmp_path)), painted(one))
    one.clean()


def test_another_picture_takes_the_canvas(opens: Opens, tmp_path: Path) -> None:
    one = opens()
    one.give(HOUSE.file)
    canvas = painting(one, "picture")
    shows(one, canvas, images.open_picture(HOUSE.file))
    Image.new("RGB", (48, 64), (20, 160, 40)).save(tmp_path / "green.png")
    one.page.locator("#picture").get_by_label(CLEAR).click()
    one.page.locator("#picture input[type=file]").set_input_files(tmp_path / "green.png")
    shows(one, canvas, Image.new("RGB", (48, 64), (20, 160, 40)))
    one.clean()
