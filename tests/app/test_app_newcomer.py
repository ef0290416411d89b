"""A newcomer uses the page by what can be read on it, and never opens the settings.

`pytest -m browser tests/app/test_app_newcomer.py -s` prints the clicks and seconds of each task.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from support.browsing import FIRST, OpenPage, ServedPage, chromium, open_page, served

__all__ = ["chromium", "open_page", "served"]  # fixtures
pytestmark = pytest.mark.browser


class Newcomer:
    """Somebody who reads and clicks; every click, drag and text that is written counts as one."""

    def __init__(self, page: Any) -> None:
        self.page, self.clicks, self.started = page, 0, time.monotonic()

    def click(self, text: str) -> None:
        """Click what has this text or name."""
        self.page.get_by_role("button", name=text).first.click()
        self.clicks += 1

    def write(self, label: str, text: str) -> None:
        """Write into the field with this label."""
        self.page.get_by_label(label).fill(text)
        self.clicks += 1

    def give(self, path: Path, button: str = "Choose a file") -> None:
        """Choose a file."""
        with self.page.expect_file_chooser() as waiting:
            self.page.get_by_role("button", name=button).click()
        waiting.value.set_files(path)
        self.clicks += 1

    def wait_for(self, text: str) -> None:
        """Wait until the page says something."""
        self.page.get_by_text(text).first.wait_for()

    def drag(self, label: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag over what has this name, from a share of its width and height to another."""
        one = self.page.get_by_label(label)
        one.scroll_into_view_if_needed()
        box = one.bounding_box()
        points = [
            (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)
        ]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        self.page.mouse.move(*points[1], steps=8)
        self.page.mouse.up()
        self.clicks += 1

    def report(self, task: str) -> int:
        """Print what a task took, and begin the next one; its clicks."""
        clicks, seconds = self.clicks, time.monotonic() - self.started
        print(f"\n{task}: {clicks} clicks, {seconds:.1f} s")
        self.clicks, self.started = 0, time.monotonic()
        return clicks


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    """A drawing of one's own: a house on grass."""
    image = Image.new("RGB", (320, 240), "#8ec5ff")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 150, 320, 240), fill="#57a639")
    draw.rectangle((110, 100, 210, 190), fill="#c8402f")
    draw.polygon([(100, 100), (220, 100), (160, 50)], fill="#7a2a1e")
    image.save(tmp_path / "my drawing.png")
    return tmp_path / "my drawing.png"


@pytest.fixture
def newcomer(open_page: OpenPage, served: ServedPage) -> Iterator[Newcomer]:
    """A newcomer in front of the page; at the end nothing was wrong on it."""
    one = open_page()
    yield Newcomer(one.page)
    one.check_clean()


def test_an_example_is_edited_in_three_clicks(newcomer: Newcomer) -> None:
    newcomer.click(FIRST.label)
    newcomer.wait_for(FIRST.file.name)
    newcomer.click("Edit")
    newcomer.wait_for("Done in")
    assert newcomer.report("edit an example") <= 3


def test_a_drawing_is_edited_masked_compared_and_restored(
    newcomer: Newcomer, drawing: Path, tmp_path: Path
) -> None:
    newcomer.give(drawing)
    newcomer.wait_for("my drawing.png")
    newcomer.write("What it should show", "a blue house on a meadow, clear day")
    newcomer.click("Edit")
    newcomer.wait_for("Done in")
    assert newcomer.report("edit a drawing of one's own") <= 4
    newcomer.click("Box")
    newcomer.drag("Paint", (0.3, 0.15), (0.7, 0.85))
    newcomer.click("Edit")
    newcomer.page.get_by_role("option", name="Result 2").first.wait_for()
    assert newcomer.report("edit inside a box") <= 4
    _compare_strengths(newcomer)
    newcomer.page.get_by_role("option", name="Result 1").first.click()
    newcomer.clicks += 1
    newcomer.page.locator("#stage [data-part=label]", has_text="Result 1").wait_for()
    assert newcomer.report("go back to the first result") <= 2
    with newcomer.page.expect_download() as waiting:
        newcomer.page.get_by_role("link", name="Download").first.click()
    waiting.value.save_as(tmp_path / "result.png")
    newcomer.page.reload()
    newcomer.give(tmp_path / "result.png", "Other picture")
    newcomer.wait_for("This picture was made here")
    assert newcomer.report("restore from a PNG") <= 4


def _compare_strengths(newcomer: Newcomer) -> None:
    newcomer.drag("How far may the edit go?", (0.5, 0.5), (0.85, 0.5))
    newcomer.page.get_by_role("option", name="Result 3").first.wait_for()
    newcomer.click("Compare two")
    for name in ("Result 2", "Result 3"):
        newcomer.page.get_by_role("option", name=name).first.click()
        newcomer.clicks += 1
    newcomer.wait_for("Result 2 and result 3")
    assert newcomer.report("compare two strengths") <= 5
