"""The page in a browser, over a real server and the bundled model: from a picture to a result."""

import io
import time
from pathlib import Path

import pytest
from PIL import Image

from mdp_lite.pictures import images
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

TARGET = FIRST.prompt


def fill_in(one: BrowserPage, prompt: str = TARGET) -> BrowserPage:
    """Give a picture and write both prompts."""
    one.upload(FIRST.file)
    one.fill("source-prompt", FIRST.source_prompt)
    one.fill("prompt", prompt)
    return one


def edit(one: BrowserPage, prompt: str = TARGET) -> str:
    """Edit the example to the end; what the stage says."""
    one.upload(FIRST.file)
    return one.edit(FIRST.source_prompt, prompt)


def drag_bar(one: BrowserPage) -> None:
    """Move the bar between before and after by the mouse and by keys: the view changes."""
    frame = one.page.locator("#stage [data-part=frame]")
    box = frame.bounding_box()
    y, middle = box["y"] + box["height"] / 2, box["x"] + box["width"] / 2
    views = [frame.screenshot()]
    one.page.mouse.move(middle, y)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + 0.2 * box["width"], y, steps=8)
    one.page.mouse.up()
    views.append(frame.screenshot())
    for _ in range(20):
        one.page.keyboard.press("ArrowRight")
    views.append(frame.screenshot())
    assert len(set(views)) == 3


def test_a_picture_from_upload_to_download(
    open_page: OpenPage, served: ServedPage, tmp_path: Path
) -> None:
    one = fill_in(open_page())
    one.page.locator("#forecast", has_text="170 UNet rows").wait_for()
    served.slow[0] = 0.01
    one.click("edit")
    one.wait_for_stage("running", "Inverting the picture")
    one.page.locator("#stage progress").wait_for()
    one.page.locator("#stage [data-part=preview]").wait_for()  # a preview, before the end
    assert sum(served.rows) < 170
    one.wait_for_stage("done", "The inversion took 100 UNet rows")
    assert sum(served.rows) == 170  # 100 for the inversion, 70 for the edit, as the plan says
    drag_bar(one)
    path = one.download(tmp_path)
    settings = images.read_settings(path)
    assert (settings["prompt"], settings["source_prompt"]) == (TARGET, FIRST.source_prompt)
    url = one.page.locator("#stage [data-part=after]").evaluate("one => one.src")
    shown = one.page.request.get(url).body()
    assert Image.open(io.BytesIO(shown)).tobytes() == images.open_picture(path).tobytes()
    one.check_clean()


def test_words_make_a_picture_that_is_edited(
    open_page: OpenPage, served: ServedPage, tmp_path: Path
) -> None:
    one = open_page()
    one.page.get_by_label("Words: make a picture first").check()
    one.page.locator("#picture").wait_for(state="hidden")
    one.page.get_by_label("What to make first").fill(FIRST.source_prompt)
    one.fill("prompt", TARGET)
    one.open_fold("Settings")
    one.fill("seed", "7")
    one.click("edit")
    one.wait_for_stage("done", "The source took 100 UNet rows")
    settings = images.read_settings(one.download(tmp_path))
    assert (settings["seed"], settings["method"]) == (7, "generate")
    one.fill("prompt", SECOND.prompt)
    served.rows.clear()
    one.click("edit")
    one.wait_for_stage("done", "The source was already computed: 100 UNet rows saved")
    assert sum(served.rows) == 66  # none for the source
    one.check_clean()


def test_enter_edits_and_the_second_edit_needs_no_inversion(
    open_page: OpenPage, served: ServedPage
) -> None:
    one = fill_in(open_page())
    one.page.locator("#prompt textarea, #prompt input").first.press("Enter")
    one.wait_for_stage("done", "The edit took")
    served.rows.clear()
    one.fill("prompt", SECOND.prompt)
    one.page.locator("#prompt textarea, #prompt input").first.press("Enter")
    one.wait_for_stage("done", "The inversion was already computed: 100 UNet rows saved")
    assert sum(served.rows) == 70
    one.check_clean()


def test_the_slider_edits_again_by_mouse_and_by_keys(
    open_page: OpenPage, served: ServedPage
) -> None:
    one = open_page()
    edit(one)
    served.rows.clear()
    slider = one.page.get_by_label("How far may the edit go?")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    one.page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    one.wait_for_stage("done", "already computed")
    first = sum(served.rows)
    assert first > 0
    slider.focus()
    one.page.keyboard.press("ArrowRight")
    one.page.keyboard.press("ArrowRight")
    one.page.wait_for_function("document.body.classList.contains('mdp-running')")
    one.page.locator("body:not(.mdp-running)").wait_for()
    assert sum(served.rows) > first
    one.check_clean()


def test_a_slider_without_a_source_starts_nothing(open_page: OpenPage, served: ServedPage) -> None:
    one = fill_in(open_page())
    slider = one.page.get_by_label("How far may the edit go?")
    slider.focus()
    one.page.keyboard.press("ArrowRight")
    one.page.wait_for_timeout(900)  # longer than the pause after a key
    assert served.rows == []
    one.check_clean()


def test_stop_stops_the_calls_and_a_new_run_can_start(
    open_page: OpenPage, served: ServedPage
) -> None:
    one = fill_in(open_page())
    served.slow[0] = 0.05
    one.click("edit")
    one.wait_for_stage("running", "Inverting the picture")
    one.click("stop")
    one.wait_for_stage("loaded", "Stopped")
    calls = len(served.rows)
    time.sleep(0.5)
    assert len(served.rows) <= calls + 1 < 50
    served.slow[0] = 0.0
    assert "The edit took" in one.run()
    one.check_clean()


def test_another_picture_takes_the_old_result_from_the_stage(
    open_page: OpenPage, served: ServedPage
) -> None:
    one = open_page()
    edit(one)
    one.upload(SECOND.file)
    one.wait_for_stage("loaded")
    assert one.page.locator("#stage [data-part=frame]").is_hidden()
    assert one.page.locator("#stage [data-part=download]").is_hidden()
    one.check_clean()


def test_a_result_is_the_next_picture(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page()
    edit(one)
    one.page.locator("#stage").get_by_role("button", name="Use as next picture").click()
    one.wait_for_stage("loaded")
    assert (
        one.page.locator("#source-prompt textarea, #source-prompt input").first.input_value()
        == TARGET
    )
    one.fill("prompt", SECOND.prompt)
    one.run()
    one.check_clean()


def test_a_png_dropped_on_the_page_brings_its_settings_back(
    open_page: OpenPage, tmp_path: Path
) -> None:
    one = open_page()
    one.page.get_by_label("Words: make a picture first").check()
    one.fill("source-prompt", "a red house")
    one.fill("prompt", "a blue house")
    one.open_fold("Settings")
    one.fill("seed", "11")
    one.run()
    path = one.download(tmp_path)
    other = open_page()
    other.give_file(path)
    other.page.get_by_text("This picture was made here").wait_for()
    assert other.page.get_by_label("What to make first").input_value() == "a red house"
    other.open_fold("Settings")
    assert other.page.locator("#seed input").input_value() == "11"
    other.check_clean()
