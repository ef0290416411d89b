"""The strip of results in a browser, alone on a page: mouse, keyboard, touch, screen reader."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from mdp_lite.pictures import images
from support.browsing import DESKTOP, PHONE, chromium
from support.history_page import PROMPTS, HistoryPage, add_result, history_page

__all__ = ["chromium", "history_page"]  # fixtures
pytestmark = pytest.mark.browser


class Strip:
    """The component in a browser."""

    def __init__(self, page: Any, served: HistoryPage) -> None:
        self.page, self.served, self.errors = page, served, list[str]()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.goto(served.url)
        page.locator("#history .history").wait_for()

    def part(self, name: str) -> Any:
        return self.page.locator(f"#history [data-part={name}]")

    def act(self, name: str) -> Any:
        return self.page.locator(f"#history [data-act={name}]")

    def tile(self, item_id: int) -> Any:
        return self.page.locator(f"#history li[data-id='{item_id}']")

    def wait_for_current(self, item_id: int) -> None:
        self.page.locator(f"#history li[data-id='{item_id}'][data-current=true]").wait_for()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def focused(self) -> str:
        """The label of what has the focus."""
        return self.page.evaluate("document.activeElement.getAttribute('aria-label')") or ""

    def ids(self) -> list[int]:
        """The results from left to right."""
        tiles = self.page.locator("#history li").all()
        return [int(one.get_attribute("data-id")) for one in tiles]

    def wait_for_count(self, count: int) -> None:
        self.page.wait_for_function(f"document.querySelectorAll('#history li').length == {count}")


@pytest.fixture(scope="module")
def opened(chromium: Any, history_page: HistoryPage) -> Iterator[Strip]:
    """The page on a desktop, for all tests."""
    context = chromium.new_context(viewport=DESKTOP)
    context.set_default_timeout(60_000)
    yield Strip(context.new_page(), history_page)
    context.close()


@pytest.fixture
def strip(opened: Strip) -> Iterator[Strip]:
    """The strip with five new results; the newest one is shown."""
    fill(opened.served)
    opened.page.mouse.move(5, 5)
    opened.page.locator("#refresh").click()
    opened.tile(first(opened)).wait_for()
    opened.wait_for_count(5)
    yield opened
    assert opened.errors == []


def fill(served: HistoryPage) -> None:
    """Five new results; the events of the test before are forgotten."""
    history = served.visit.history
    for one in history:
        history.remove(one.id)
    for prompt in PROMPTS:
        add_result(served.visit, prompt)
    served.events.clear()


def first(strip: Strip) -> int:
    """The id of the oldest result; the others follow it."""
    return next(iter(strip.served.visit.history)).id


def test_a_click_shows_a_result_and_undo_takes_it_back(strip: Strip) -> None:
    one = first(strip)
    assert strip.ids() == [one + k for k in (4, 3, 2, 1, 0)]
    strip.wait_for_current(one + 4)
    strip.tile(one + 1).click()
    strip.wait_for_current(one + 1)
    strip.page.mouse.move(5, 5)
    strip.part("menu").wait_for(state="hidden")
    assert PROMPTS[1] in strip.part("caption").inner_text()
    strip.part("undo").click()
    strip.wait_for_current(one + 4)
    strip.page.keyboard.press("Control+Shift+Z")
    strip.wait_for_current(one + 1)
    assert strip.part("redo").is_disabled()
    strip.page.keyboard.press("Control+Z")
    strip.wait_for_current(one + 4)
    assert [name for name, _ in strip.served.events] == ["select", "undo", "retry", "undo"]


def test_a_text_field_has_its_own_undo(strip: Strip) -> None:
    strip.tile(first(strip)).click()
    strip.wait_for_current(first(strip))
    strip.page.locator("#words textarea, #words input").first.fill("a boat")
    strip.press("Control+Z")
    strip.part("undo").focus()
    strip.press("Control+Z")
    strip.wait_for_current(first(strip) + 4)
    assert [name for name, _ in strip.served.events] == ["select", "undo"]


def test_the_menu_of_a_result_by_mouse(strip: Strip, tmp_path: Path) -> None:
    one = first(strip)
    assert strip.part("menu").is_hidden()
    strip.tile(one + 2).hover()
    assert PROMPTS[2] in strip.part("caption").inner_text()
    strip.act("like").click()
    strip.page.locator(f"#history li[data-id='{one + 2}'] [data-tile=star]").wait_for()
    with strip.page.expect_download() as waiting:
        strip.act("download").click()
    assert waiting.value.suggested_filename == (
        f"mdp_lite-{one + 2}-an-orange-tree-in-the-center-cloudy-night.png"
    )
    waiting.value.save_as(tmp_path / "result.png")
    assert images.read_settings(tmp_path / "result.png")["prompt"] == PROMPTS[2]
    strip.act("apply").click()
    strip.tile(one + 1).hover()
    strip.act("delete").click()
    strip.wait_for_count(4)
    assert strip.ids() == [one + k for k in (4, 3, 2, 0)]
    strip.page.mouse.move(5, 5)
    strip.part("menu").wait_for(state="hidden")
    assert strip.served.events == [
        ("like", {"id": one + 2}), ("apply", {"id": one + 2}), ("delete", {"id": one + 1})
    ]  # fmt: skip


def test_two_results_are_compared(strip: Strip) -> None:
    one = first(strip)
    strip.part("compare").click()
    assert "two" in strip.part("caption").inner_text()
    strip.tile(one).click()
    assert "one more" in strip.part("caption").inner_text()
    strip.tile(one + 3).click()
    strip.page.get_by_text(f"Result {one} (A) beside result {one + 3} (B)").wait_for()
    strip.tile(one + 2).hover()
    strip.act("pair").click()  # the first of two is chosen already
    strip.tile(one + 1).click()
    strip.page.get_by_text(f"Result {one + 2} (A) beside result {one + 1} (B)").wait_for()
    strip.part("compare").click()
    strip.part("compare").click()  # again: no comparison
    strip.tile(one + 1).click()
    strip.wait_for_current(one + 1)
    want = [("option_select", [one, one + 3]), ("option_select", [one + 2, one + 1])]
    assert [(name, data.get("ids")) for name, data in strip.served.events] == [
        *want, ("select", None)
    ]  # fmt: skip


def test_the_keyboard_alone_can_do_all_of_it(strip: Strip) -> None:
    one = first(strip)
    strip.part("clear").focus()
    strip.press("Tab")
    assert strip.focused().startswith(f"Result {one + 4}: ")
    strip.press("ArrowRight", "ArrowRight", "Enter")
    strip.wait_for_current(one + 2)
    assert "Shown now" in strip.focused()
    strip.press("Tab", "Enter")  # the first button of the menu
    strip.page.locator(f"#history li[data-id='{one + 2}'] [data-tile=star]").wait_for()
    strip.press("ArrowRight")
    assert strip.focused() == "Compare with another result"
    strip.press("Enter")
    assert strip.focused().startswith(f"Result {one + 2}: ")
    strip.press("End", "Enter")
    strip.page.get_by_text(f"Result {one + 2} (A) beside result {one} (B)").wait_for()
    strip.press("Home", "ArrowRight", "Delete")
    strip.wait_for_count(4)
    assert strip.focused().startswith(f"Result {one + 2}: ")
    strip.press("Tab", "Escape")
    assert strip.focused().startswith(f"Result {one + 2}: ")
    assert [name for name, _ in strip.served.events] == [
        "select", "like", "option_select", "delete"
    ]  # fmt: skip


def test_a_screen_reader_hears_what_is_shown(strip: Strip) -> None:
    one = first(strip)
    strip.tile(one).click()
    strip.page.locator("#history [role=status]", has_text=f"Result {one}: {PROMPTS[0]}").wait_for()
    chosen = strip.page.locator("#history li[aria-selected=true]")
    assert chosen.get_attribute("aria-label").startswith(f"Result {one}: {PROMPTS[0]}. epsilon")
    assert strip.page.locator("#history li[tabindex='0']").count() == 1
    bare = "one => !(one.ariaLabel || one.innerText.trim())"
    buttons = f"[...document.querySelectorAll('#history button, #history a')].filter({bare}).length"
    assert strip.page.evaluate(buttons) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(strip: Strip, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    strip.page.evaluate(f"document.body.classList.toggle('dark', {str(scheme == 'dark').lower()})")
    one, found, checked = first(strip), list[str](), 0
    strip.served.visit.history.like(one)
    for act in (
        lambda: strip.tile(one).hover(), strip.part("compare").click,
        strip.tile(one + 1).click, strip.part("clear").click,
    ):  # fmt: skip
        act()
        result = axe.run(strip.page, context="#history").response
        checked += len(result["passes"])
        found += [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in result["violations"]]
    strip.press("Escape")  # nothing is deleted, and
    strip.part("compare").click()  # nothing compared
    assert found == [] and checked > 40


def test_deleting_everything_asks_once_in_place(strip: Strip) -> None:
    strip.part("clear").click()
    assert strip.focused() == "" and strip.part("cancel").is_visible()
    strip.press("Escape")
    assert strip.part("ask").is_hidden() and strip.served.events == []
    strip.part("clear").click()
    strip.part("cancel").click()
    strip.part("clear").click()
    strip.part("really").click()
    strip.part("empty").wait_for()
    assert [name for name, _ in strip.served.events] == ["clear"]


def test_all_results_are_downloaded(strip: Strip, tmp_path: Path) -> None:
    with strip.page.expect_download() as waiting:
        strip.part("archive").click()
    assert waiting.value.suggested_filename == "mdp_lite-all.zip"
    waiting.value.save_as(tmp_path / "all.zip")
    with ZipFile(tmp_path / "all.zip") as archive:
        assert len(archive.namelist()) == 6 and archive.testzip() is None


LONG_PRESS = """(tile) => {
  const press = (name) => tile.dispatchEvent(new PointerEvent(name, {pointerType: 'touch'}));
  press('pointerdown');
  setTimeout(() => { press('pointerup'); tile.click(); }, 700);
}"""


def test_what_a_visitor_wrote_is_text(strip: Strip) -> None:
    add_result(strip.served.visit, "<img src=x onerror=document.title='bad'> {id}")
    strip.page.reload()
    strip.wait_for_count(6)
    assert "<img src=x" in strip.part("caption").inner_text()
    assert strip.page.title() != "bad"


def test_a_phone(chromium: Any, history_page: HistoryPage) -> None:
    fill(history_page)
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    strip = Strip(context.new_page(), history_page)
    strip.wait_for_count(5)
    one = first(strip)
    assert strip.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    small = """[...document.querySelectorAll('#history button, #history a, #history li')]
        .filter(e => e.offsetParent && (e.offsetWidth < 40 || e.offsetHeight < 40)).length"""
    assert strip.page.evaluate(small) == 0
    strip.tile(one + 3).tap()
    strip.wait_for_current(one + 3)
    assert strip.part("menu").is_hidden()
    strip.tile(one + 2).evaluate(LONG_PRESS)
    strip.act("like").tap()
    strip.page.locator(f"#history li[data-id='{one + 2}'] [data-tile=star]").wait_for()
    names = [(name, data["id"]) for name, data in strip.served.events]
    assert names == [("select", one + 3), ("like", one + 2)]  # a long press is no click
    assert strip.errors == []
    context.close()
