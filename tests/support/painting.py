"""A browser that paints on the component picture, and what the server then gets."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from support.picture_page import SIDES, PicturePage

WIDTH, HEIGHT = SIDES
# The overlay's alpha in the middle of each pixel of the mask, 0..255 as the mask itself.
READ_OVERLAY = """([width, height, opacity]) => {
  const canvas = document.querySelector("[data-part=canvas]"), zoom = canvas.width / width;
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const alpha = (x, y) => data[4 * (Math.floor((y + 0.5) * zoom) * canvas.width
    + Math.floor((x + 0.5) * zoom)) + 3] / opacity;
  return Array.from({length: height}, (_, y) => Array.from({length: width}, (_, x) => alpha(x, y)));
}"""

# Whether a picture is shown whose name contains a text; it is marked, so that it counts only once.
WAIT_FOR_NAME = """text => {
  const name = document.querySelector("[data-part=name]");
  if (!name.textContent.includes(text) || name.dataset.old === name.textContent) return false;
  name.dataset.old = name.textContent;
  return true;
}"""


class Painter(NamedTuple):
    """A page in a browser with the picture of SIDES, and what the server got."""

    page: Any
    served: PicturePage
    errors: list[str]

    def part(self, name: str) -> Any:
        """The element of a part of the component."""
        return self.page.locator(f"[data-part={name}]")

    def choose(self, tool: str) -> None:
        """Click a tool by its visible name."""
        self.page.get_by_role("button", name=tool, exact=True).click()

    def locate(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Where points of the picture are on the page."""
        box = self.part("canvas").bounding_box()
        zoom = box["width"] / WIDTH
        return [(box["x"] + x * zoom, box["y"] + y * zoom) for x, y in points]

    def move(self, *points: tuple[float, float], steps: int = 6) -> None:
        """Drag through points; they are in pixels of the picture."""
        places = self.locate(points)
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for one in places[1:]:
            self.page.mouse.move(*one, steps=steps)
        self.page.mouse.up()

    def wait_for_state(self, text: str) -> None:
        """Wait until the sentence below the picture contains a text."""
        self.part("state").filter(has_text=re.compile(text)).wait_for()

    def send(self, act: Callable[[], Any]) -> dict[str, Any]:
        """Do something that changes the mask; the mask's value that Python then gets."""
        count = len(self.served.values)
        act()
        for _ in range(200):
            if len(self.served.values) > count:
                return self.served.values[-1]["mask"]
            self.page.wait_for_timeout(25)
        raise AssertionError("Python got no other value")

    def paint(self, act: Callable[[], Any]) -> np.ndarray[Any, Any]:
        """Do something that paints; the mask (y, x) that Python reads, 0..255."""
        from mdp_lite.app.components.picture import read_mask

        assert self.send(act)["where"] == "painted"
        return np.asarray(read_mask(self.served.values[-1], SIDES)).astype(int)

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        for key in keys:
            self.page.keyboard.press(key)

    def read_overlay(self) -> np.ndarray[Any, Any]:
        """What the overlay shows (y, x), as levels of the mask."""
        return np.array(self.page.evaluate(READ_OVERLAY, [*SIDES, 0.65]))

    def wait_for_overlay(self, want: np.ndarray[Any, Any]) -> None:
        """Wait until the overlay shows a mask; its edges are smooth between pixels."""
        for _ in range(100):
            error = np.abs(self.read_overlay() - want)
            if error.mean() < 3 and np.quantile(error, 0.99) < 40:
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(f"the overlay differs by {error.mean()} levels, {error.max()} at most")

    def show_picture(self) -> None:
        """Show a new picture, nothing of which is painted."""
        self.page.locator("#plain").click()
        self.wait_for_name(".png")
        self.wait_for_state("The whole picture may change")

    def wait_for_name(self, text: str) -> None:
        """Wait until a picture with another name is shown, which contains a text."""
        self.page.wait_for_function(WAIT_FOR_NAME, arg=text)

    def wait_for_event(self, name: str) -> Any:
        """The data of the last event, once it has this name; input events do not count."""
        for _ in range(200):
            others = [one for one in self.served.events if one[0] != "input"]
            if others and others[-1][0] == name:
                return others[-1][1]
            self.page.wait_for_timeout(25)
        raise AssertionError(f"the events are {self.served.events}")

    def drag(self, kind: str, path: Path) -> None:
        """A step of dragging a file over the page: dragEnter, dragOver or drop."""
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        driver = self.page.context.new_cdp_session(self.page)
        driver.send("Input.dispatchDragEvent", {"type": kind, "x": 20, "y": 20, "data": data})

    def touch(self, *points: tuple[float, float]) -> None:
        """Drag a finger through points; they are in pixels of the picture."""
        driver = self.page.context.new_cdp_session(self.page)
        kinds = ("touchStart", *["touchMove"] * (len(points) - 1))
        for kind, (x, y) in zip(kinds, self.locate(points), strict=True):
            event = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
            driver.send("Input.dispatchTouchEvent", event)
        driver.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def open_painter(served: PicturePage, chromium: Any, **settings: Any) -> Painter:
    """The page in a new context of the browser; settings are those of the context."""
    context = chromium.new_context(**settings)
    context.set_default_timeout(20_000)
    page, errors = context.new_page(), list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(served.url)
    page.locator("#plain").wait_for()
    return Painter(page, served, errors)


@pytest.fixture(scope="module")
def visitor(picture_page: PicturePage, chromium: Any) -> Iterator[Painter]:
    """The page in a browser, opened once for all tests of a file."""
    one = open_painter(picture_page, chromium, viewport={"width": 900, "height": 1100})
    yield one
    one.page.context.close()


@pytest.fixture
def painter(visitor: Painter) -> Iterator[Painter]:
    """The same with a new picture and nothing painted."""
    visitor.show_picture()
    yield visitor
    assert visitor.errors == []
