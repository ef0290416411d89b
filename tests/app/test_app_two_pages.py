"""What a visitor does who does not wait: two pages of one visit, a reload, quick clicks."""

from pathlib import Path

import pytest

from support.browsing import (
    FIRST,
    SECOND,
    OpenPage,
    ServedPage,
    chromium,
    load_page,
    open_page,
    served,
)

__all__ = ["chromium", "open_page", "served"]  # fixtures
pytestmark = pytest.mark.browser


def test_an_edit_on_a_second_page_ends_that_of_the_first(
    open_page: OpenPage, served: ServedPage
) -> None:
    one = open_page()
    one.take_example(FIRST.label)
    token = one.page.evaluate("sessionStorage.getItem('mdp-lite-visit')")
    one.page.context.add_init_script(f"sessionStorage.setItem('mdp-lite-visit', '{token}')")
    two = load_page(one.page.context, served.url)
    two.page.locator("#picture [data-part=name]", has_text="house.png").wait_for()
    served.slow[0] = 0.05
    one.click("edit")
    one.wait_for_stage("running")
    two.click("edit")
    one.wait_for_stage("loaded", "Stopped")
    one.page.locator("body:not(.mdp-running)").wait_for()
    served.slow[0] = 0.0
    two.wait_for_stage("done", "The edit took")


def test_a_reload_says_that_the_edit_was_stopped(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page()
    one.take_example(FIRST.label)
    served.slow[0] = 0.05
    one.click("edit")
    one.wait_for_stage("running")
    one.page.reload()
    one.wait_for_stage("loaded", "If you reloaded the page, it was stopped")
    served.slow[0] = 0.0
    one.run()


def test_edit_is_heard_when_leaving_the_text_moves_the_page(
    open_page: OpenPage, served: ServedPage
) -> None:
    one = open_page()
    one.upload(FIRST.file)
    prompt = one.page.locator("#prompt textarea")
    prompt.click()
    one.page.keyboard.insert_text("unheard " * 60)
    button = one.page.locator("#edit").bounding_box()
    one.page.mouse.click(button["x"] + 20, button["y"] + 10)
    one.page.locator("body.mdp-running").wait_for()
    one.wait_for_stage("done")


def test_a_restored_result_is_the_next_picture(
    open_page: OpenPage, served: ServedPage, tmp_path: Path
) -> None:
    one = open_page()
    one.take_example(FIRST.label)
    one.run()
    path = one.download(tmp_path)
    other = open_page()
    other.give_file(path)
    other.page.locator("#stage").get_by_role("button", name="Use as next picture").click()
    other.page.locator("#picture [data-part=name]", has_text=path.name).wait_for()
    other.fill("prompt", SECOND.prompt)
    other.run()
    other.check_clean()


def test_an_error_goes_when_another_field_mends_it(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page()
    one.upload(FIRST.file)
    one.fill("prompt", FIRST.prompt)
    one.open_fold("Settings")
    one.page.get_by_label("a window of steps").check()
    one.fill("t-max", "30")
    one.fill("t-m", "49")
    one.click("edit")
    one.wait_for_error("The window must have", "t-max")
    one.fill("t-m", "10")
    one.page.locator(".mdp-error").wait_for(state="detached")
    one.run()
    one.check_clean()


def test_a_draft_and_then_more_steps_by_hand(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page()
    one.upload(FIRST.file)
    one.fill("prompt", FIRST.prompt)
    one.open_fold("Settings")
    one.page.get_by_label("draft: 8 steps").check()
    one.page.locator("#forecast", has_text="UNet rows").wait_for()
    one.page.get_by_label("a window of steps").check()
    one.fill("steps", "20")
    one.fill("t-max", "18")
    one.fill("t-m", "7")
    assert "The inversion took" in one.run()
    assert one.page.locator(".toast-body, .mdp-error").count() == 0
    one.check_clean()
