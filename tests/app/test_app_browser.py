"""The app in a browser, over a real server and the bundled model."""

import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdp_lite.pictures import images
from support.browsing import (
    BOAT,
    DESKTOP,
    HOUSE,
    PHONE,
    BrowserPage,
    OpenPage,
    ServedPage,
    chromium,
    open_page,
    served,
)

__all__ = ["chromium", "open_page", "served"]  # fixtures
pytestmark = pytest.mark.browser

TARGET = HOUSE.prompt


def fill_in(one: BrowserPage, prompt: str = TARGET) -> BrowserPage:
    """Upload a picture and write both prompts."""
    one.upload(HOUSE.file)
    one.fill("picture-source-prompt", HOUSE.source_prompt)
    one.fill("picture-prompt", prompt)
    return one


def edit(one: BrowserPage, prompt: str = TARGET) -> str:
    """Edit the example to the end; the text of the status."""
    one.upload(HOUSE.file)
    return one.edit(HOUSE.source_prompt, prompt)


def move_slider(one: BrowserPage, name: str, value: str) -> None:
    """Move a slider and let it go."""
    one.page.locator(f"#{name} input[type=range]").fill(value)
    one.page.locator(f"#{name} input[type=range]").dispatch_event("pointerup")


def drag_bar(one: BrowserPage) -> None:
    """Drag the bar between before and after to the left and back: the view changes each time."""
    slider = one.page.locator("#slider")
    slider.scroll_into_view_if_needed()
    one.page.wait_for_timeout(1000)  # until it stands still
    box = slider.locator("img").first.bounding_box()
    y, middle, left = (
        box["y"] + box["height"] / 2,
        box["x"] + box["width"] / 2,
        box["x"] + 0.2 * box["width"],
    )
    views = [slider.screenshot()]
    for start, end in ((middle, left), (left, middle)):
        one.page.mouse.move(start, y)
        one.page.mouse.down()
        one.page.mouse.move(end, y, steps=8)
        one.page.mouse.up()
        one.page.wait_for_timeout(500)
        views.append(slider.screenshot())
    assert views[0] != views[1] != views[2]


def test_a_picture_from_upload_to_download(
    open_page: OpenPage, served: ServedPage, tmp_path: Path
) -> None:
    one = fill_in(open_page())
    plan = one.page.locator("#picture-plan", has_text="The inversion comes first: 100 UNet rows")
    plan.wait_for()
    served.slow[0] = 0.01
    one.click("picture-edit")
    one.wait_for_status("Inverting the picture")
    one.page.locator("#status progress").wait_for()
    one.page.locator("#preview img").wait_for()  # a preview, before the end
    assert sum(served.rows) < 170
    one.wait_for_status("The inversion took 100 UNet rows")
    assert sum(served.rows) == 170  # 100 for the inversion, 70 for the edit, as the plan says
    assert one.page.locator("#slider img").count() >= 2
    sources = one.page.locator("#slider img").evaluate_all("all => all.map(one => one.src)")
    assert all(source.endswith(".png") for source in sources)
    drag_bar(one)
    path = one.download(tmp_path)
    settings = images.read_settings(path)
    assert (settings["prompt"], settings["source_prompt"]) == (TARGET, HOUSE.source_prompt)
    shown = one.page.request.get(sources[1]).body()
    assert Image.open(io.BytesIO(shown)).tobytes() == images.open_picture(path).tobytes()
    one.check_clean()


def test_a_generated_picture_from_prompt_to_download(
    open_page: OpenPage, served: ServedPage, tmp_path: Path
) -> None:
    one = open_page()
    one.open_tab("Make and edit")
    one.fill("prompt-source-prompt", HOUSE.source_prompt)
    one.fill("prompt-prompt", TARGET)
    one.fill("prompt-seed", "7")
    one.click("prompt-edit")
    one.wait_for_status("The source took 100 UNet rows")
    settings = images.read_settings(one.download(tmp_path))
    assert (settings["seed"], settings["method"]) == (7, "generate")
    one.fill("prompt-prompt", BOAT.prompt)
    served.rows.clear()
    one.click("prompt-edit")
    one.wait_for_status("The source was already computed: 100 UNet rows saved")
    assert sum(served.rows) == 66  # none for the source
    one.check_clean()


def test_the_second_edit_needs_no_inversion_and_a_slider_is_quick(
    open_page: OpenPage, served: ServedPage
) -> None:
    one = fill_in(open_page())
    served.slow[0] = 0.02  # as on a larger model, where UNet calls take the time
    started = time.monotonic()
    one.click("picture-edit")
    one.wait_for_status("The edit took")
    first = time.monotonic() - started
    served.rows.clear()
    one.fill("picture-prompt", BOAT.prompt)
    one.click("picture-edit")
    one.wait_for_status("The inversion was already computed: 100 UNet rows saved")
    assert sum(served.rows) == 70
    started = time.monotonic()
    move_slider(one, "picture-strength", "0.6")
    one.page.locator("#preview img").wait_for()
    preview = time.monotonic() - started
    one.wait_for_status("already computed")
    assert preview <= 0.3 * first, (
        f"first preview after {preview:.2f} s, first edit took {first:.2f} s"
    )
    one.check_clean()


def test_stop_stops_the_calls(open_page: OpenPage, served: ServedPage) -> None:
    one = fill_in(open_page())
    served.slow[0] = 0.05
    one.click("picture-edit")
    one.wait_for_status("Inverting the picture")
    one.click("stop")
    one.wait_for_status("Stopped")
    time.sleep(0.3)
    calls = len(served.rows)
    time.sleep(1)
    assert len(served.rows) == calls < 50
    served.slow[0] = 0.0
    one.click("picture-edit")  # a new run can start
    one.wait_for_status("The edit took")
    one.check_clean()


def test_a_click_on_a_sheet_loads_its_settings(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page()
    edit(one)
    one.open_tab("Explore")
    one.page.get_by_text("towards").wait_for()
    one.click("make-sheet")
    one.wait_for_status("9 edits took")
    one.page.locator("#explore-grid button:has(img), #explore-grid .thumbnail-item").nth(3).click()
    status = one.wait_for_status("its settings are on the page now")
    high, wide = re.findall(r"t_max (\d+), t_m (\d+)", status)[0]
    one.open_tab("Edit a picture")
    for label, value in (("t_max", high), ("t_m", wide)):
        number = one.page.get_by_label(re.compile(f"{label}:")).first
        assert float(number.input_value()) == float(value)
    served.rows.clear()
    one.click("picture-edit")
    one.wait_for_status("already computed")
    one.open_tab("Compare")
    one.click("make-compare")
    one.wait_for_status("5 edits took")
    table = one.page.locator("table", has_text="PSNR to the source")
    assert table.locator("tbody tr").count() == 5
    one.page.locator("#compare-grid button:has(img), #compare-grid .thumbnail-item").last.click()
    one.wait_for_status("Prompt-to-Prompt: the page has no settings for it")
    one.check_clean()


def test_a_png_brings_its_settings_back(open_page: OpenPage, tmp_path: Path) -> None:
    one = open_page()
    one.open_tab("Make and edit")
    one.fill("prompt-source-prompt", "a red house")
    one.fill("prompt-prompt", "a blue house")
    one.fill("prompt-seed", "11")
    one.click("prompt-edit")
    one.wait_for_status("The edit took")
    path = one.download(tmp_path)
    other = open_page()
    other.page.get_by_text("Settings of a picture made by mdp_lite").click()
    other.page.locator("#restore input[type=file]").set_input_files(path)
    other.page.get_by_text("The settings of this picture are on the page now.").wait_for()
    assert other.page.locator("#prompt-source-prompt textarea").input_value() == "a red house"
    assert other.page.locator("#prompt-seed input").input_value() == "11"
    other.check_clean()


def test_two_visitors_see_nothing_of_each_other(open_page: OpenPage, served: ServedPage) -> None:
    one, two = open_page(), open_page()
    edit(one)
    assert "Nothing has run yet" in two.page.locator("#status").inner_text()
    assert two.page.locator("#picture-prompt textarea").input_value() == ""
    two.open_tab("Compare")
    two.click("make-compare")
    two.wait_for_error("Edit a picture first")
    served.rows.clear()
    two.open_tab("Edit a picture")
    edit(two)
    assert sum(served.rows) == 170  # not even the inversion is shared
    assert TARGET in one.page.locator("#picture-prompt textarea").input_value()
    files = sorted((served.studio.folder / "sessions").rglob("edited.png"))
    assert len(files) >= 2  # and they can't be fetched by their paths
    answers = [two.page.request.get(f"{served.url}gradio_api/file={file}") for file in files]
    assert {answer.status for answer in answers} == {403}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_fits_and_is_labelled(open_page: OpenPage, size: dict[str, Any], scheme: str) -> None:
    one = open_page(viewport=size, color_scheme=scheme)
    edit(one)
    wide = one.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= size["width"]
    dark = one.page.evaluate("document.body.classList.contains('dark')")
    assert dark == (scheme == "dark")
    bare = one.page.evaluate(BARE)
    assert bare == []


# Visible inputs and buttons without a name for a screen reader.
BARE = """() => [...document.querySelectorAll('input, textarea, button, select')]
  .filter(e => e.offsetParent !== null && e.type !== 'hidden' && e.type !== 'file')
  .filter(e => !(e.labels?.length || e.ariaLabel || e.title || e.innerText?.trim()
                 || e.getAttribute('aria-labelledby')))
  .map(e => e.outerHTML.slice(0, 200))"""
