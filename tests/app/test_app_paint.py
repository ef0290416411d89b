"""A mask painted with the mouse: every pixel outside it stays the source's, bit for bit."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from mdp_lite.pictures import images
from support.browsing import HOUSE, BrowserPage, OpenPage, ServedPage, chromium, open_page, served

__all__ = ["chromium", "open_page", "served"]  # fixtures
pytestmark = pytest.mark.browser
CLEAR = re.compile("clear|remove", re.IGNORECASE)  # the button that removes a file
NEAR = 48  # levels by which a screenshot of an enlarged picture may be off; white is further


def open_canvas(one: BrowserPage, case: str) -> Any:
    """The canvas of a case's tab, once it is visible."""
    one.page.get_by_role("button", name="Where").first.click()
    one.page.locator(f"#{case}-where").get_by_label("Where I paint").check()
    canvas = one.page.locator(f"#{case}-canvas canvas").first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    return canvas


def middle_colour(canvas: Any) -> tuple[int, ...]:
    """The colour in the middle of the canvas, from a screenshot."""
    image = Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")
    return tuple(int(one) for one in image.resize((1, 1), box=_middle(image.size)).getpixel((0, 0)))


def _middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    x, y = size[0] // 2, size[1] // 2
    return x - 2, y - 2, x + 2, y + 2


def wait_for_picture(one: BrowserPage, canvas: Any, picture: Image.Image) -> None:
    """Wait until the canvas has the picture in its middle."""
    want = picture.convert("RGB").resize((1, 1), box=_middle(picture.size)).getpixel((0, 0))
    for _ in range(120):
        colour = middle_colour(canvas)
        if all(abs(a - b) <= NEAR for a, b in zip(colour, want, strict=True)):
            return
        one.page.wait_for_timeout(500)
    raise AssertionError(f"the canvas shows {colour}, the picture has {want} in its middle")


def paint_stroke(one: BrowserPage, canvas: Any) -> None:
    """Paint from the middle to the right."""
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    one.page.mouse.move(x, y)
    one.page.mouse.down()
    one.page.mouse.move(x + 50, y, steps=10)
    one.page.mouse.up()


def equal_outside(before: Image.Image, after: Image.Image, mask: Image.Image) -> bool:
    """Whether the pixels that are black in the mask are equal."""
    differ = ImageChops.difference(before, after).convert("L").point([0] + [255] * 255)
    return ImageChops.multiply(differ, ImageChops.invert(mask)).getbbox() is None


def shown_mask(one: BrowserPage) -> Image.Image:
    """The mask that the page shows."""
    image = one.page.locator("#mask img")
    image.wait_for()
    return Image.open(io.BytesIO(one.page.request.get(image.get_attribute("src")).body()))


def check_stroke(before: Image.Image, after: Image.Image, mask: Image.Image) -> None:
    """The mask is a stroke to the right of the middle, and only pixels inside it changed."""
    left, top, right, bottom = mask.convert("L").getbbox() or (0, 0, 0, 0)
    width, height = mask.size
    assert left < width // 2 < right < width and top < height // 2 <= bottom < height
    assert right - left > bottom - top
    assert before.tobytes() != after.tobytes() and equal_outside(before, after, mask.convert("L"))


def test_a_stroke_on_a_picture(open_page: OpenPage, served: ServedPage, tmp_path: Path) -> None:
    one, before = open_page(), images.open_picture(HOUSE.file)
    one.upload(HOUSE.file)
    canvas = open_canvas(one, "picture")
    wait_for_picture(one, canvas, before)
    paint_stroke(one, canvas)
    one.edit(HOUSE.source_prompt, HOUSE.prompt)
    after = images.open_picture(one.download(tmp_path))
    check_stroke(before, after, shown_mask(one))
    one.check_clean()


def test_a_stroke_on_a_generated_picture(open_page: OpenPage, tmp_path: Path) -> None:
    one = open_page()
    one.open_tab("Make and edit")
    one.fill("prompt-source-prompt", HOUSE.source_prompt)
    one.fill("prompt-prompt", HOUSE.prompt)
    one.click("prompt-edit")
    one.wait_for_status("The edit took")
    sources = one.page.locator("#slider img").evaluate_all("all => all.map(one => one.src)")
    before = Image.open(io.BytesIO(one.page.request.get(sources[0]).body()))
    canvas = open_canvas(one, "prompt")
    wait_for_picture(one, canvas, before)
    paint_stroke(one, canvas)
    one.click("prompt-edit")
    one.wait_for_status("The source was already computed")
    check_stroke(before, images.open_picture(one.download(tmp_path)), shown_mask(one))
    one.check_clean()


def test_another_picture_replaces_that_on_the_canvas(open_page: OpenPage, tmp_path: Path) -> None:
    one = open_page()
    one.upload(HOUSE.file)
    canvas = open_canvas(one, "picture")
    wait_for_picture(one, canvas, images.open_picture(HOUSE.file))
    Image.new("RGB", (48, 64), (20, 160, 40)).save(tmp_path / "green.png")
    one.page.locator("#picture").get_by_label(CLEAR).click()
    one.page.locator("#picture input[type=file]").set_input_files(tmp_path / "green.png")
    wait_for_picture(one, canvas, Image.new("RGB", (48, 64), (20, 160, 40)))
    one.check_clean()
