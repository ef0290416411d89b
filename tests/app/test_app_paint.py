"""A mask painted on the page: every pixel outside it stays the source's, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdp_lite.app.history import HistoryItem
from mdp_lite.pictures import images
from support.browsing import FIRST, BrowserPage, OpenPage, ServedPage, chromium, open_page, served

__all__ = ["chromium", "open_page", "served"]  # fixtures
pytestmark = pytest.mark.browser
PART = "#picture [data-part={}]"


def paint_stroke(one: BrowserPage) -> None:
    """Paint with the brush from the middle of the picture to the right."""
    one.page.get_by_role("button", name="Brush").click()
    one.page.locator(PART.format("canvas")).scroll_into_view_if_needed()
    box = one.page.locator(PART.format("canvas")).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    one.page.mouse.move(x, y)
    one.page.mouse.down()
    one.page.mouse.move(x + box["width"] / 4, y, steps=10)
    one.page.mouse.up()
    wait_for_state(one, "Only the marked part may change")


def wait_for_state(one: BrowserPage, text: str) -> None:
    """Wait until the sentence below the picture contains a text."""
    one.page.locator(PART.format("state"), has_text=text).wait_for()


def last_item(served: ServedPage, one: BrowserPage) -> HistoryItem:
    """The last result of the visit in the browser."""
    token = one.page.evaluate("() => sessionStorage.getItem('mdp-lite-visit')")
    session = served.studio.sessions.find_visit(token)
    assert session is not None
    return list(session.history)[-1]


def check_outside(item: HistoryItem) -> np.ndarray:
    """The mask (y, x); the edit changed pixels inside it, and none outside."""
    assert item.mask_file is not None
    mask = np.asarray(images.open_picture(item.mask_file).convert("L"))
    files = FIRST.file, item.edit_file
    before, after = (np.asarray(images.open_picture(one).convert("RGB")) for one in files)
    changed = (before != after).any(axis=2)
    assert changed.any() and not changed[mask == 0].any()
    return mask


def test_a_stroke_and_the_way_back_to_it(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page()
    one.upload(FIRST.file)
    paint_stroke(one)
    one.edit(FIRST.source_prompt, FIRST.prompt)
    first = last_item(served, one)
    mask = check_outside(first)
    assert mask[64, 60:97].min() == 255 and mask[:52].max() == mask[78:].max() == 0
    one.page.get_by_role("button", name="Everywhere").click()
    one.run()
    assert last_item(served, one).mask_file is None
    one.page.locator(f"#history [data-id='{first.id}']").click()
    wait_for_state(one, "Only the marked part may change")
    one.run()
    again = last_item(served, one)
    assert again.id > first.id and np.array_equal(check_outside(again), mask)
    one.check_clean()


def test_the_part_that_was_found_is_shown(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page()
    one.upload(FIRST.file)
    one.page.get_by_role("button", name="Find it for me").click()
    wait_for_state(one, "mdp_lite finds the part")
    one.edit(FIRST.source_prompt, FIRST.prompt)
    wait_for_state(one, "This part was found")
    check_outside(last_item(served, one))
    one.check_clean()


def test_another_picture_has_no_mask(open_page: OpenPage, tmp_path: Path) -> None:
    one = open_page()
    one.upload(FIRST.file)
    paint_stroke(one)
    Image.new("RGB", (48, 64), (20, 160, 40)).save(tmp_path / "green.png")
    one.upload(tmp_path / "green.png")
    wait_for_state(one, "The whole picture may change")
    one.check_clean()
