"""The menu of models in a browser: mouse, keys, errors, offers, and the field of the hub."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.browsing import DESKTOP, PHONE, chromium
from support.model_page import NASTY, ModelPage, model_page

__all__ = ["chromium", "model_page"]  # fixtures
pytestmark = pytest.mark.browser
Show = Callable[..., Any]


@pytest.fixture
def show(chromium: Any, model_page: ModelPage) -> Iterator[Show]:
    """Opens the component with one of the values; afterwards the console must be clean."""
    model_page.events.clear()
    contexts, errors, hosts = [], list[str](), set[str]()

    def visit(name: str, **settings: Any) -> Any:
        context = chromium.new_context(**{"viewport": DESKTOP, **settings})
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
        page.goto(f"{model_page.url}?{name}")
        part(page, "about").filter(has_text="memory").wait_for()
        return page

    yield visit
    for one in contexts:
        one.close()
    assert (errors, hosts - {"127.0.0.1"}) == ([], set())


def part(page: Any, name: str) -> Any:
    return page.locator(f"#model [data-part={name}]")


def active(page: Any) -> str:
    """The option that a screen reader reads."""
    return page.evaluate(
        "document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))"
        "?.dataset.id ?? ''"
    )


def wait_for_current(page: Any, name: str) -> None:
    page.locator(f'#model li[data-id="{name}"][aria-selected=true]').wait_for(state="attached")


def test_one_model_is_a_line_without_a_menu(show: Show) -> None:
    page = show("one")
    assert part(page, "name").inner_text() == "tiny"
    want = "64x64 synthetic scenes; knows 41 words. 11.9 MB on disk, 23.5 MB in memory."
    assert part(page, "about").inner_text() == want
    assert not part(page, "open").is_visible() and not part(page, "menu").is_visible()


def test_a_click_chooses_a_model(show: Show, model_page: ModelPage) -> None:
    page = show("several")
    part(page, "open").click()
    assert part(page, "open").get_attribute("aria-expanded") == "true"
    options = page.get_by_role("option")
    assert options.count() == 3 and "loaded" in options.first.inner_text()
    options.filter(has_text="sd15").click()
    wait_for_current(page, "sd15")
    assert part(page, "current").inner_text() == "sd15"
    assert part(page, "about").inner_text().startswith("512x512 Stable Diffusion 1.x")
    assert model_page.events == [("select", "sd15")]
    assert not part(page, "menu").is_visible()
    assert part(page, "spoken").inner_text() == "The model is sd15 now"


def test_keys_alone_choose_a_model(show: Show, model_page: ModelPage) -> None:
    page = show("several")
    part(page, "open").focus()
    keys = page.keyboard
    keys.press("ArrowDown")
    assert page.get_by_role("listbox").evaluate("one => one === document.activeElement")
    seen = [active(page)]
    for key in ("ArrowDown", "End", "ArrowDown", "ArrowUp", "Home", "ArrowUp", "s", "s"):
        keys.press(key)
        seen.append(active(page))
    assert seen == [
        "tiny", "sd15", "sdxl-turbo", "sdxl-turbo", "sd15", "tiny", "tiny", "sd15", "sd15",
    ]  # fmt: skip
    keys.press("Escape")
    assert part(page, "open").evaluate("one => one === document.activeElement")
    assert model_page.events == [] and not part(page, "menu").is_visible()
    keys.press("Enter")
    keys.press("ArrowDown")
    keys.press("Enter")
    wait_for_current(page, "sd15")
    assert model_page.events == [("select", "sd15")]


def test_the_chosen_model_again_is_no_event(show: Show, model_page: ModelPage) -> None:
    page = show("several")
    part(page, "open").click()
    page.get_by_role("option").first.click()
    part(page, "open").click()
    page.locator("#below textarea, #below input").first.click()  # a click elsewhere closes it
    assert not part(page, "menu").is_visible() and model_page.events == []


def test_an_error_is_said_and_the_model_stays(show: Show) -> None:
    page = show("several")
    part(page, "open").click()
    page.get_by_role("option").filter(has_text="sdxl-turbo").click()
    part(page, "error").wait_for()
    assert "could not be loaded" in part(page, "error").inner_text()
    assert part(page, "current").inner_text() == "tiny"
    part(page, "open").click()
    page.get_by_role("option").filter(has_text="sd15").click()
    wait_for_current(page, "sd15")
    assert not part(page, "error").is_visible()


def test_an_offer_is_taken_by_one_click(show: Show, model_page: ModelPage) -> None:
    page = show("offer")
    page.get_by_role("button", name="Use sd15").click()
    wait_for_current(page, "sd15")
    assert model_page.events == [("select", "sd15")] and not part(page, "offer").is_visible()


def test_the_field_of_the_hub_is_there_only_if_it_is_allowed(
    show: Show, model_page: ModelPage
) -> None:
    page = show("several")
    part(page, "open").click()
    assert not part(page, "hub").is_visible()
    page = show("hub")
    part(page, "open").click()
    part(page, "hub-id").fill("  ")
    part(page, "hub-add").click()
    part(page, "hub-id").fill(" lab/model ")
    page.keyboard.press("Enter")
    part(page, "spoken").filter(has_text="").wait_for(state="attached")
    for _ in range(100):
        if model_page.events:
            break
        page.wait_for_timeout(50)
    assert model_page.events == [("submit", "lab/model")]


def test_names_are_text_and_the_menu_fits_a_phone(show: Show) -> None:
    page = show("nasty", viewport=PHONE, has_touch=True)
    assert NASTY in part(page, "current").inner_text() and page.locator("#model img").count() == 0
    part(page, "open").tap()
    box = part(page, "menu").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
    heights = [one.bounding_box()["height"] for one in page.get_by_role("option").all()]
    heights.append(part(page, "open").bounding_box()["height"])
    assert min(heights) >= 40
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
