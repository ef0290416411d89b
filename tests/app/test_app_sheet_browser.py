"""Explore and Compare on the page: from an edit to a sheet, and from a sheet to an edit."""

import re
from pathlib import Path

import pytest

from mdp_lite.pictures import images
from support.browsing import FIRST, BrowserPage, OpenPage, ServedPage, chromium, open_page, served

__all__ = ["chromium", "open_page", "served"]  # fixtures
pytestmark = pytest.mark.browser


def wait_for(one: BrowserPage, kind: str, text: str) -> str:
    """Wait until the status of a fold contains a text; all of it."""
    status = one.page.locator(f"#{kind}-status", has_text=text)
    status.wait_for(timeout=120_000)
    return status.inner_text()


def take_few_steps(one: BrowserPage) -> None:
    """Set the page to the few steps of a draft, so that the test is quick."""
    one.open_fold("Settings")
    one.page.locator("#quality input").first.check()
    one.page.wait_for_function("document.querySelector('#steps input').value === '8'")


def explore(one: BrowserPage, t_max: str, t_m: str) -> None:
    """Make a sheet of windows to its end."""
    one.fill("explore-t-max", t_max)
    one.fill("explore-t-m", t_m)
    one.click("make-sheet")
    wait_for(one, "explore", "Done")


def test_a_sheet_starts_from_the_edit_and_an_edit_from_the_sheet(
    open_page: OpenPage, served: ServedPage, tmp_path: Path
) -> None:
    one = open_page()
    one.open_fold("Explore: many edits at once")
    one.page.locator("#explore-fold", has_text="Edit a picture first").wait_for()
    one.click("make-sheet")
    one.page.locator("#explore-status [role=alert]", has_text="Edit a picture first").wait_for()
    one.upload(FIRST.file)
    take_few_steps(one)
    one.page.get_by_label("c: the condition").click()
    one.edit(FIRST.source_prompt, FIRST.prompt)
    one.page.locator("#explore-fold", has_text="c, strength 0.5").wait_for()
    checked = one.page.locator("#explore-variants label:has(input:checked)")
    assert [text.strip() for text in checked.all_inner_texts()] == ["c"]
    explore(one, "7, 8", "3, 4")
    picture = one.page.locator("#explore-sheet .pick", has_text="c, t_max 8, t_m 3")
    assert one.page.locator("#explore-sheet .pick").count() == 4
    picture.click()
    wait_for(one, "explore", "c, t_max 8, t_m 3: its settings are on the page now")
    one.page.locator("#explore-sheet .star").first.click()
    one.page.get_by_role("button", name="Favourites (1)").wait_for()
    path = one.download(tmp_path, "#explore-sheet [data-part=download]")
    assert images.open_picture(path).width > 3 * 192
    served.rows.clear()
    text = one.run()
    again = images.read_settings(one.download(tmp_path))
    assert (again["variant"], again["t_max"], again["t_m"]) == ("c", 8, 3)
    (rows,) = re.findall(r"(\d+) rows", picture.inner_text())
    assert f"The edit took {rows} UNet rows" in text and sum(served.rows) == int(rows)
    one.page.reload()
    one.open_fold("Explore: many edits at once")
    assert one.page.locator("#explore-sheet .pick").nth(3).inner_text()  # waits: it is back
    assert one.page.get_by_role("button", name="Favourites (1)").count() == 1
    one.check_clean()


def test_methods_are_compared_and_stopped(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page()
    one.take_example(FIRST.label)
    take_few_steps(one)
    one.run()
    one.open_fold("Compare: methods side by side")
    for name in ("ddim", "fixed-point", "negative-prompt", "direct", "edit-friendly"):
        one.page.locator("#compare-inversions").get_by_label(name).uncheck()
    one.click("make-compare")
    wait_for(one, "compare", "Done: 6 edits")  # four variants, Prompt-to-Prompt, replay
    rows = one.page.locator("#compare-sheet tbody tr")
    assert [row.locator(".pick").count() for row in rows.all()] == [4, 1, 1]
    assert re.search(r"\d+ rows.*\d s.*\d dB", rows.nth(1).inner_text(), re.DOTALL)
    served.slow[0] = 0.2
    one.page.locator("#make-compare").focus()
    one.page.keyboard.press("Enter")
    one.page.get_by_role("button", name="Stop", exact=True).locator("visible=true").wait_for()
    wait_for(one, "compare", "Editing")
    one.page.keyboard.press("Enter")  # the focus is still there
    wait_for(one, "compare", "Stopped")
    assert one.page.locator("#make-compare").inner_text() == "Compare"
    assert rows.count() == 3  # the sheet before is still there
    images_shown = one.page.locator("#compare-sheet .pick img")
    assert images_shown.evaluate_all("all => all.every((one) => one.naturalWidth > 0)")
    one.check_clean()
