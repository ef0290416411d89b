"""The page at every width, light and dark: it fits, the flow is in sight, axe finds no fault."""

from typing import Any

import pytest

from support.browsing import (
    FIRST,
    SECOND,
    BrowserPage,
    OpenPage,
    ServedPage,
    chromium,
    open_page,
    served,
)

__all__ = ["chromium", "open_page", "served"]  # fixtures
pytestmark = pytest.mark.browser

SIZES = {
    "phone": {"width": 390, "height": 844}, "tablet": {"width": 768, "height": 1024},
    "desktop": {"width": 1440, "height": 900}, "large": {"width": 2560, "height": 1440},
}  # fmt: skip
FOLDS = ("Settings", "Explore", "Compare", "The same elsewhere")


def find_faults(one: BrowserPage) -> list[str]:
    """What axe finds: rule, gravity and the first element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(one.page).response["violations"]
    return [f"{v['impact']}: {v['id']}: {v['nodes'][0]['html'][:200]}" for v in found]


def is_in_sight(one: BrowserPage, selector: str) -> bool:
    """Whether all of an element is within the window."""
    box = one.page.locator(selector).bounding_box()
    size = one.page.viewport_size
    return box["y"] >= 0 and box["y"] + box["height"] <= size["height"] + 1


@pytest.mark.covering(1)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_state_fits_and_has_no_fault_of_accessibility(
    open_page: OpenPage, served: ServedPage, size: str, scheme: str
) -> None:
    one = open_page(viewport=SIZES[size], color_scheme=scheme)
    assert one.page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    faults = {"empty": find_faults(one)}
    one.click("edit")  # nothing was given
    one.wait_for_error("Give a picture first")
    faults["error"] = find_faults(one)
    one.upload(FIRST.file)
    faults["loaded"] = find_faults(one)
    one.edit(FIRST.source_prompt, FIRST.prompt)
    for fold in FOLDS:
        one.open_fold(fold)
    faults["done"] = find_faults(one)
    assert {state: found for state, found in faults.items() if found} == {}
    assert one.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    one.check_clean()


@pytest.mark.parametrize("size", ["desktop", "large"])
def test_all_of_the_flow_is_in_sight(open_page: OpenPage, served: ServedPage, size: str) -> None:
    one = open_page(viewport=SIZES[size])
    one.take_example(FIRST.label)
    for selector in ("#edit", "#stage [data-part=view]", "#prompt", "#strength"):
        assert is_in_sight(one, selector), selector
    one.run()
    assert one.page.evaluate("scrollY") == 0
    one.open_fold("Settings")
    one.page.mouse.wheel(0, 600)
    one.page.wait_for_function("scrollY > 300")
    assert is_in_sight(one, "#stage [data-part=view]")  # it stays while the settings scroll
    one.check_clean()


def test_a_phone_moves_to_the_result(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page(viewport=SIZES["phone"], has_touch=True)
    one.take_example(FIRST.label)
    served.slow[0] = 0.02
    one.click("edit")
    one.page.wait_for_function(
        "document.querySelector('#stage').getBoundingClientRect().top < innerHeight / 3"
    )
    one.wait_for_stage("done", "The edit took")
    assert one.page.locator("#stage").bounding_box()["y"] < 280  # and stays there
    one.fill("prompt", "")
    one.click("edit")
    one.wait_for_error("The edit prompt must say", "prompt")
    one.page.wait_for_function(IN_VIEW)  # the page moves to what is wrong
    one.check_clean()


IN_VIEW = """() => {
  const box = document.querySelector(".mdp-error").getBoundingClientRect();
  return box.top >= 0 && box.bottom <= innerHeight;
}"""


def test_the_page_reacts_at_once_and_stops_within_a_step(
    open_page: OpenPage, served: ServedPage
) -> None:
    one = open_page()
    one.take_example(FIRST.label)
    served.slow[0] = 0.05
    one.page.evaluate(WATCH)
    one.click("edit")
    one.wait_for_stage("running", "Inverting the picture")
    assert one.page.evaluate("window.reaction") <= 100  # ms from the click to another page
    calls = len(served.rows)
    one.click("stop")
    one.wait_for_stage("loaded", "Stopped")
    one.page.wait_for_timeout(300)
    final = len(served.rows)
    one.page.wait_for_timeout(300)
    assert len(served.rows) == final  # nothing runs on
    assert calls <= final < 50
    one.check_clean()


def test_a_second_visitor_is_told_how_many_come_first(
    open_page: OpenPage, served: ServedPage
) -> None:
    one, two = open_page(), open_page()
    for page in (one, two):
        page.take_example(FIRST.label)
    one.run()  # so that the speed is known
    served.slow[0] = 0.05
    one.fill("prompt", SECOND.prompt)
    one.click("edit")
    one.wait_for_stage("running")
    two.click("edit")
    told = two.wait_for_stage("queued", "One edit of another visitor comes first.")
    assert "about" in told and "left" in told
    two.click("stop")
    two.wait_for_stage("loaded", "Stopped")
    two.click("edit")
    two.wait_for_stage("queued", "One edit of another visitor comes first.")
    served.slow[0] = 0.0
    assert "The inversion took 100 UNet rows" in two.wait_for_stage("done")  # nothing is shared
    one.check_clean()
    two.check_clean()


def test_the_first_look_comes_early(open_page: OpenPage, served: ServedPage) -> None:
    """The preview of an edit whose source is there, within 0.3 of the time of a whole edit."""
    one = open_page()
    one.take_example(FIRST.label)
    served.slow[0] = 0.02  # as on a larger model, where UNet calls take the time
    one.page.evaluate(WATCH)
    one.run()
    whole = one.page.evaluate("performance.now() - window.clicked")
    one.page.evaluate(WATCH)
    one.fill("prompt", SECOND.prompt)
    one.click("edit")
    one.page.locator("#stage [data-part=preview]").wait_for()
    look = one.page.evaluate("performance.now() - window.clicked")
    one.wait_for_stage("done", "already computed")
    assert look <= 0.3 * whole, f"first look after {look:.0f} ms, an edit took {whole:.0f} ms"


# Notes the time of a click on Edit, and of the first change of the page after it.
WATCH = """() => {
  document.addEventListener("click", (event) => {
    if (!event.target.closest("#edit")) return;
    window.clicked = performance.now();
    const observer = new MutationObserver(() => {
      if (!document.body.classList.contains("mdp-running")) return;
      requestAnimationFrame(() => { window.reaction = performance.now() - window.clicked; });
      observer.disconnect();
    });
    observer.observe(document.body, {attributes: true, subtree: true});
  }, {capture: true, once: true});
}"""


def test_the_keyboard_alone_does_all_of_it(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page()
    keys = one.page.keyboard
    _tab_to(one, FIRST.label)
    keys.press("Enter")
    one.page.locator("#picture [data-part=image]").wait_for()
    one.page.wait_for_function("document.querySelector('#prompt textarea').value")
    _tab_to(one, "Edit")
    keys.press("Enter")
    one.wait_for_stage("done", "The edit took")
    _tab_to(one, "Before and after")
    before = one.page.locator("#stage [data-part=after]").get_attribute("style")
    keys.press("ArrowRight")
    assert one.page.locator("#stage [data-part=after]").get_attribute("style") != before
    _tab_to(one, "Settings")
    keys.press("Enter")
    _tab_to(one, "Steps")
    one.check_clean()


def _tab_to(one: BrowserPage, name: str) -> None:
    """Press Tab until the element with a name has the focus."""
    for _ in range(120):
        one.page.keyboard.press("Tab")
        found: Any = one.page.evaluate(FOCUSED)
        if found.strip().startswith(name):
            return
    raise AssertionError(f"Tab never reaches {name!r}")


FOCUSED = """() => {
  const one = document.activeElement;
  return one.ariaLabel || one.labels?.[0]?.innerText || one.innerText || "";
}"""
