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
    DESK,
    HOUSE,
    PHONE,
    Opens,
    Served,
    Watched,
    chromium,
    opens,
    served,
)

__all__ = ["chromium", "opens", "served"]  # fixtures
pytestmark = [
    pytest.mark.browser,
    # gradio's server leaves sockets to the collector as it closes
    pytest.mark.filterwarnings("default"),
]

TARGET = HOUSE.prompt


def given(one: Watched, prompt: str = TARGET) -> Watched:
    """A visitor with a picture and both prompts."""
    one.give(HOUSE.file)
    one.field("picture-source-prompt", HOUSE.source_prompt)
    one.field("picture-prompt", prompt)
    return one


def edited(one: Watched, prompt: str = TARGET) -> str:
    """An edit that is done; what the status says."""
    one.give(HOUSE.file)
    return one.edited(HOUSE.source_prompt, prompt)


def slid(one: Watched, name: str, value: str) -> None:
    """Move a slider as a hand does, and let go."""
    one.page.locator(f"#{name} input[type=range]").fill(value)
    one.page.locator(f"#{name} input[type=range]").dispatch_event("pointerup")


def dragged(one: Watched) -> None:
    """The bar between before and after follows the mouse: what is seen changes, and back again."""
    shown = one.page.locator("#slider")
    shown.scroll_into_view_if_needed()
    one.page.wait_for_timeout(1000)  # until it stands still
    box = shown.locator("img").first.bounding_box()
    y, middle, left = (
        box["y"] + box["height"] / 2,
        box["x"] + box["width"] / 2,
        box["x"] + 0.2 * box["width"],
    )
    seen = [shown.screenshot()]
    for start, end in ((middle, left), (left, middle)):
        one.page.mouse.move(start, y)
        one.page.mouse.down()
        one.page.mouse.move(end, y, steps=8)
        one.page.mouse.up()
        one.page.wait_for_timeout(500)
        seen.append(shown.screenshot())
    assert seen[0] != seen[1] != seen[2]


def test_a_picture_from_upload_to_download(opens: Opens, served: Served, tmp_path: Path) -> None:
    one = given(opens())
    plan = one.page.locator("#picture-plan", has_text="The inversion comes first: 100 UNet rows")
    plan.wait_for()
    served.slow[0] = 0.01
    one.click("picture-edit")
    one.says("Inverting the picture")
    one.page.locator("#status progress").wait_for()
    one.page.locator("#look img").wait_for()  # a preview, before the end
    assert sum(served.rows) < 166
    one.says("The inversion took 100 UNet rows")
    assert sum(served.rows) == 166  # 100 for the inversion, 66 for the edit, as the plan said
    assert one.page.locator("#slider img").count() >= 2
    sources = one.page.locator("#slider img").evaluate_all("all => all.map(one => one.src)")
    assert all(source.endswith(".png") for source in sources)
    dragged(one)
    path = one.downloaded(tmp_path)
    settings = images.read_settings(path)
    assert (settings["prompt"], settings["source_prompt"]) == (TARGET, HOUSE.source_prompt)
    shown = one.page.request.get(sources[1]).body()
    assert Image.open(io.BytesIO(shown)).tobytes() == images.open_picture(path).tobytes()
    one.clean()


def test_a_made_picture_from_prompt_to_download(
    opens: Opens, served: Served, tmp_path: Path
) -> None:
    one = opens()
    one.tab("Make and edit")
    one.field("prompt-source-prompt", HOUSE.source_prompt)
    one.field("prompt-prompt", TARGET)
    one.field("prompt-seed", "7")
    one.click("prompt-edit")
    one.says("The source took 100 UNet rows")
    settings = images.read_settings(one.downloaded(tmp_path))
    assert (settings["seed"], settings["method"]) == (7, "generate")
    one.field("prompt-prompt", BOAT.prompt)
    served.rows.clear()
    one.click("prompt-edit")
    one.says("The source was at hand: 100 UNet rows saved")
    assert sum(served.rows) == 66  # none for the source
    one.clean()


def test_the_second_edit_starts_without_inversion_and_a_slider_shows_soon(
    opens: Opens, served: Served
) -> None:
    one = given(opens())
    served.slow[0] = 0.02  # as on a larger model: the calls are what takes time
    started = time.monotonic()
    one.click("picture-edit")
    one.says("The edit took")
    first = time.monotonic() - started
    served.rows.clear()
    one.field("picture-prompt", BOAT.prompt)
    one.click("picture-edit")
    one.says("The inversion was at hand: 100 UNet rows saved")
    assert sum(served.rows) == 66
    started = time.monotonic()
    slid(one, "picture-strength", "0.6")
    one.page.locator("#look img").wait_for()
    look = time.monotonic() - started
    one.says("at hand")
    assert look <= 0.3 * first, f"first look after {look:.2f} s, first edit took {first:.2f} s"
    one.clean()


def test_stop_stops_the_calls(opens: Opens, served: Served) -> None:
    one = given(opens())
    served.slow[0] = 0.05
    one.click("picture-edit")
    one.says("Inverting the picture")
    one.click("stop")
    one.says("Stopped")
    time.sleep(0.3)
    calls = len(served.rows)
    time.sleep(1)
    assert len(served.rows) == calls < 50
    served.slow[0] = 0.0
    one.click("picture-edit")  # and it can be begun again
    one.says("The edit took")
    one.clean()


def test_a_click_on_a_sheet_loads_its_settings(opens: Opens, served: Served) -> None:
    one = opens()
    edited(one)
    one.tab("Explore")
    one.page.get_by_text("towards").wait_for()
    one.click("make-sheet")
    one.says("9 edits took")
    one.page.locator("#explore-grid button:has(img), #explore-grid .thumbnail-item").nth(3).click()
    said = one.says("its settings are on the page now")
    high, wide = re.findall(r"t_max (\d+), t_m (\d+)", said)[0]
    one.tab("Edit a picture")
    for label, value in (("t_max", high), ("t_m", wide)):
        number = one.page.get_by_label(re.compile(f"{label}:")).first
        assert float(number.input_value()) == float(value)
    served.rows.clear()
    one.click("picture-edit")
    one.says("at hand")
    one.tab("Compare")
    one.click("make-compare")
    one.says("5 edits took")
    told = one.page.locator("table", has_text="PSNR to the source")
    assert told.locator("tbody tr").count() == 5
    one.page.locator("#compare-grid button:has(img), #compare-grid .thumbnail-item").last.click()
    one.says("Prompt-to-Prompt: the page has no settings for it")
    one.clean()


def test_a_png_brings_its_settings_back(opens: Opens, tmp_path: Path) -> None:
    one = opens()
    one.tab("Make and edit")
    one.field("prompt-source-prompt", "a red house")
    one.field("prompt-prompt", "a blue house")
    one.field("prompt-seed", "11")
    one.click("prompt-edit")
    one.says("The edit took")
    path = one.downloaded(tmp_path)
    other = opens()
    other.page.get_by_text("Settings of a picture made by mdp_lite").click()
    other.page.locator("#restore input[type=file]").set_input_files(path)
    other.page.get_by_text("The settings of this picture are on the page now.").wait_for()
    assert other.page.locator("#prompt-source-prompt textarea").input_value() == "a red house"
    assert other.page.locator("#prompt-seed input").input_value() == "11"
    other.clean()


def test_two_visitors_see_nothing_of_each_other(opens: Opens, served: Served) -> None:
    one, two = opens(), opens()
    edited(one)
    assert "Nothing has run yet" in two.page.locator("#status").inner_text()
    assert two.page.locator("#picture-prompt textarea").input_value() == ""
    two.tab("Compare")
    two.click("make-compare")
    two.complains("Edit a picture first")
    served.rows.clear()
    two.tab("Edit a picture")
    edited(two)
    assert sum(served.rows) == 166  # not even the inversion is shared
    assert TARGET in one.page.locator("#picture-prompt textarea").input_value()
    files = sorted((served.studio.folder / "sessions").rglob("edited.png"))
    assert len(files) >= 2  # not even by their paths can they be had
    asked = [two.page.request.get(f"{served.url}gradio_api/file={file}") for file in files]
    assert {answer.status for answer in asked} == {403}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_it_fits_and_is_labelled(opens: Opens, size: dict[str, Any], scheme: str) -> None:
    one = opens(viewport=size, color_scheme=scheme)
    edited(one)
    wide = one.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= size["width"]
    dark = one.page.evaluate("document.body.classList.contains('dark')")
    assert dark == (scheme == "dark")
    bare = one.page.evaluate(BARE)
    assert bare == []


# Inputs and buttons that are shown and have no name for a screen reader.
BARE = """() => [...document.querySelectorAll('input, textarea, button, select')]
  .filter(e => e.offsetParent !== null && e.type !== 'hidden' && e.type !== 'file')
  .filter(e => !(e.labels?.length || e.ariaLabel || e.title || e.innerText?.trim()
                 || e.getAttribute('aria-labelledby')))
  .map(e => e.outerHTML.slice(0, 200))"""
