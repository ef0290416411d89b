"""The component of a sheet in a browser: pointer, keyboard, touch, sizes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.browsing import DESKTOP, PHONE, chromium
from support.sheet_pages import SheetPage, make_value, serve_sheet

__all__ = ["chromium"]  # fixture
pytestmark = pytest.mark.browser
Open = Callable[..., Any]
CELLS = [one for line in make_value()["cells"] for one in line if one]


@pytest.fixture(scope="module")
def served() -> Iterator[SheetPage]:
    pytest.importorskip("gradio")
    with serve_sheet() as page:
        yield page


@pytest.fixture
def open_sheet(served: SheetPage, chromium: Any) -> Iterator[Open]:
    """Opens the page; arguments are settings of the browser context."""
    served.events.clear()
    contexts, errors = [], []

    def visit(**settings: Any) -> Any:
        context = chromium.new_context(**{"viewport": DESKTOP, **settings})
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.goto(served.url)
        page.locator(".pick").first.wait_for()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert errors == []


def pick(page: Any, k: int) -> Any:
    """The button of a picture; the third row has a gap at its start."""
    return page.locator(f'.pick[data-id="{CELLS[k]["id"]}"]')


def large_label(page: Any) -> str:
    """The name of the large picture; "" if none is shown."""
    label = page.locator("[data-part=label]")
    return label.inner_text() if label.is_visible() else ""


def wait_for_large(page: Any, k: int) -> None:
    page.locator("[data-part=label]", has_text=CELLS[k]["label"]).wait_for()


def wait_for_event(page: Any, served: SheetPage, count: int = 1) -> list[tuple[str, Any]]:
    """The events that the server got, when there are so many."""
    for _ in range(100):
        if len(served.events) >= count:
            break
        page.wait_for_timeout(50)
    return served.events


def shows_before(page: Any) -> bool:
    return page.locator("[data-part=before]").is_visible()


def test_a_pointer_sees_it_large_holds_for_before_and_a_click_uses_it(
    open_sheet: Open, served: SheetPage
) -> None:
    page = open_sheet()
    assert page.locator("h3").inner_text() == "Windows <of> steps"  # no HTML of values
    assert page.get_by_text("Point at a picture").is_visible()
    pick(page, 4).hover()
    wait_for_large(page, 4)
    assert page.locator("[data-part=details]").inner_text() == "Towards <b>a boat</b>"
    assert not shows_before(page) and page.locator(".which").inner_text() == "After"
    page.mouse.down()
    page.locator("[data-part=before]").wait_for(state="visible")
    page.mouse.up()
    page.locator("[data-part=after]").wait_for(state="visible")
    assert served.events == []  # the end of a hold is no click
    pick(page, 4).click()
    assert wait_for_event(page, served) == [("select", {"id": CELLS[4]["id"]})]
    assert page.locator('td[aria-selected="true"] .pick').get_attribute("data-id") == CELLS[4]["id"]
    page.locator("[data-part=frame]").hover()
    page.mouse.down()
    assert shows_before(page)
    page.mouse.move(2, 2)  # let go elsewhere
    page.mouse.up()
    assert not shows_before(page)
    page.keyboard.press("Escape")
    assert large_label(page) == ""


def test_the_keyboard_does_all_of_it(open_sheet: Open, served: SheetPage) -> None:
    page = open_sheet()
    page.locator("[data-part=download]").focus()
    page.keyboard.press("Tab")

    def press(key: str) -> int:
        page.keyboard.press(key)
        focused = page.evaluate("document.activeElement.dataset.id")
        return [one["id"] for one in CELLS].index(focused)

    assert page.locator('.pick[tabindex="0"]').count() == 1  # one stop of Tab
    steps = {
        "ArrowRight": 1, "ArrowDown": 4, "ArrowLeft": 3, "End": 5, "Home": 3, "Control+End": 7,
        "Control+Home": 0, "ArrowUp": 0,
    }  # fmt: skip
    assert {key: press(key) for key in steps} == steps
    press("ArrowDown")
    assert press("ArrowDown") == 3  # below it is no edit
    wait_for_large(page, 3)
    page.keyboard.down("b")
    page.locator("[data-part=before]").wait_for(state="visible")
    page.keyboard.up("b")
    page.locator("[data-part=after]").wait_for(state="visible")
    page.keyboard.press("f")
    page.keyboard.press("Enter")
    events = wait_for_event(page, served, 2)
    cell_id = CELLS[3]["id"]
    assert sorted(events, key=str) == [
        ("like", {"id": cell_id, "liked": True}), ("select", {"id": cell_id})
    ]  # fmt: skip
    page.keyboard.press("Escape")
    assert large_label(page) == "" and press("Home") == 3
    assert press("End") == 5 and press("Home") == 3
    wait_for_large(page, 3)
    page.keyboard.press("Tab")  # into the panel
    page.keyboard.press("Escape")
    assert large_label(page) == "" and press("Home") == 3  # the focus is back at its picture


def test_favourites_are_filtered_and_undone(open_sheet: Open, served: SheetPage) -> None:
    page = open_sheet()
    for k in (1, 6):
        pick(page, k).hover()
        page.locator(f'[data-star="{CELLS[k]["id"]}"]').click()
    one = page.get_by_role("button", name="Favourites (2)")
    one.click()
    assert page.locator(".pick").count() == 2 and one.get_attribute("aria-pressed") == "true"
    assert CELLS[6]["label"] in page.locator(".pick .name").nth(1).inner_text()
    page.locator(f'[data-star="{CELLS[1]["id"]}"]').click()
    assert page.locator(".pick").count() == 1
    page.locator(f'[data-star="{CELLS[6]["id"]}"]').click()
    assert page.get_by_text("No favourites yet").is_visible()
    page.get_by_role("button", name="Favourites (0)").click()
    assert page.locator(".pick").count() == len(CELLS)
    likes = [(name, data["liked"]) for name, data in wait_for_event(page, served, 4)]
    assert likes == [("like", True)] * 2 + [("like", False)] * 2


def test_an_edit_without_settings_says_so(open_sheet: Open, served: SheetPage) -> None:
    page = open_sheet()
    pick(page, 7).click()
    wait_for_large(page, 7)
    use = page.get_by_role("button", name="This page has no settings for it")
    assert use.is_disabled()
    pick(page, 0).click()
    assert wait_for_event(page, served) == [("select", {"id": CELLS[0]["id"]})]


def test_another_sheet_replaces_it(open_sheet: Open) -> None:
    page = open_sheet()
    pick(page, 0).hover()
    wait_for_large(page, 0)
    page.locator("#another").click()
    page.locator("h3", has_text="New").wait_for()
    assert large_label(page) == "" and page.locator(".pick").count() == len(CELLS)


def test_a_finger_sees_it_large_first_and_uses_it_by_the_button(
    open_sheet: Open, served: SheetPage
) -> None:
    page = open_sheet(viewport=PHONE, has_touch=True, is_mobile=True)
    pick(page, 0).tap()
    wait_for_large(page, 0)
    box = page.locator("[data-part=panel]").bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= PHONE["height"] + 1  # all in sight
    page.wait_for_timeout(200)
    assert served.events == []
    page.get_by_role("button", name="Use these settings").tap()
    assert wait_for_event(page, served) == [("select", {"id": CELLS[0]["id"]})]
    page.get_by_role("button", name="Close the large picture").tap()
    assert large_label(page) == ""


MEASURE = """() => {
  const box = document.querySelector(".box"), cut = (one) => one.scrollWidth > one.clientWidth + 1
    || one.scrollHeight > one.clientHeight + 1;
  const lines = [...box.querySelectorAll("th, .facts")];
  return {
    page: document.documentElement.scrollWidth, wide: box.scrollWidth - box.clientWidth,
    high: box.scrollHeight - box.clientHeight, cut: lines.filter(cut).map((one) => one.innerText),
    cells: [...box.querySelectorAll(".pick")].map((one) => one.offsetWidth),
    small: [...document.querySelectorAll(".sheet button:not(.pick), .sheet a")]
      .filter((one) => one.offsetParent && Math.min(one.offsetWidth, one.offsetHeight) < 40)
      .map((one) => one.outerHTML),
  };
}"""


@pytest.mark.parametrize(("width", "height"), [(390, 844), (768, 1024), (1440, 900), (2560, 1440)])
def test_no_row_and_no_caption_is_cut(open_sheet: Open, width: int, height: int) -> None:
    phone = width < 500
    page = open_sheet(viewport={"width": width, "height": height}, has_touch=phone)
    found = page.evaluate(MEASURE)
    assert found["page"] <= width and found["cut"] == [] and found["small"] == []
    assert found["high"] <= 1  # the third row is there, without a scroll bar
    assert phone or found["wide"] <= 1  # a phone scrolls the box, not the page
    assert min(found["cells"]) >= 96 and len(set(found["cells"])) == 1
    assert width < 1000 or min(found["cells"]) > 130


def test_heads_stay_in_sight_while_the_box_scrolls(open_sheet: Open) -> None:
    page = open_sheet(viewport={"width": 390, "height": 420})
    box = page.locator(".box").bounding_box()
    page.evaluate("document.querySelector('.box').scrollTo(60, 200)")
    row, column = (page.locator(f"{part} th").last.bounding_box() for part in ("tbody", "thead"))
    assert abs(row["x"] - box["x"]) <= 2 and abs(column["y"] - box["y"]) <= 2


def test_heads_stay_in_sight_while_the_page_scrolls(open_sheet: Open) -> None:
    page = open_sheet(viewport={"width": 1440, "height": 500})
    page.evaluate("scrollTo(0, document.querySelector('.box').getBoundingClientRect().y + 200)")
    assert page.evaluate("scrollY") > 100
    page.wait_for_function(
        "Math.abs(document.querySelector('thead th').getBoundingClientRect().y) < 2"
    )
    assert pick(page, 5).bounding_box()["width"] >= 150  # a low window makes them no smaller


def test_screen_readers_get_a_grid_with_heads_and_names(open_sheet: Open) -> None:
    page = open_sheet()
    grid = page.get_by_role("grid", name="Windows <of> steps: pictures")
    assert grid.get_by_role("columnheader", name="t_max 47").count() == 1
    assert grid.get_by_role("rowheader", name="t_m 26").count() == 1
    assert grid.get_by_role("gridcell").count() >= len(CELLS)
    name = "t_max 47, t_m 20 47 rows about 0.3 s 21.5 dB"
    assert grid.get_by_role("button", name=name).count() == 1
    star = page.get_by_role("button", name="Favourite: t_max 44, t_m 20")
    assert star.get_attribute("aria-pressed") == "false"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(open_sheet: Open, scheme: str) -> None:
    page = open_sheet(color_scheme=scheme)
    pick(page, 0).hover()
    wait_for_large(page, 0)
    assert page.evaluate(CONTRAST) == []


# Texts on a plain ground with a contrast below 4.5, by WCAG's formula; a canvas reads any colour.
CONTRAST = """() => {
  const pen = Object.assign(document.createElement("canvas"), {width: 1, height: 1})
    .getContext("2d", {willReadFrequently: true});
  const read = (colour) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1); return [...pen.getImageData(0, 0, 1, 1).data]; };
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = (one) => { for (; one; one = one.parentElement) {
    const rgba = read(getComputedStyle(one).backgroundColor); if (rgba[3] > 250) return rgba; }
    return [255, 255, 255]; };
  const ratio = (one) => { const [a, b] = [light(read(getComputedStyle(one).color)),
    light(ground(one))].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); };
  return [...document.querySelectorAll(".sheet *")]
    .filter((one) => one.offsetParent && !one.closest(".primary, .which, svg"))
    .filter((one) => [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .filter((one) => ratio(one) < 4.5).map((one) => [one.innerText, ratio(one)]);
}"""
