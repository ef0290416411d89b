"""Every mistake of a visitor gives one plain sentence beside its cause, and nothing worse."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from mdp_lite.models.unet import UNet
from mdp_lite.pictures import images
from support.browsing import FIRST, BrowserPage, OpenPage, ServedPage, chromium, open_page, served

__all__ = ["chromium", "open_page", "served"]  # fixtures
pytestmark = pytest.mark.browser
Make = Callable[[BrowserPage, Path], None]


class Mistake(NamedTuple):
    """What a visitor does, the sentence, and the element beside which it stands."""

    make: Make
    sentence: str
    beside: str


def press(one: BrowserPage, folder: Path) -> None:
    one.click("edit")


def give(name: str, data: bytes) -> Make:
    def make(one: BrowserPage, folder: Path) -> None:
        (folder / name).write_bytes(data)
        one.give_file(folder / name)

    return make


def save(name: str, image: Image.Image, **settings: object) -> Make:
    def make(one: BrowserPage, folder: Path) -> None:
        if settings:
            images.save_png(image, folder / name, dict(settings))
        else:
            image.save(folder / name)
        one.give_file(folder / name)

    return make


def animated(one: BrowserPage, folder: Path) -> None:
    shown = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    shown[0].save(folder / "film.webp", save_all=True, append_images=shown[1:])
    one.give_file(folder / "film.webp")


def no_prompt(one: BrowserPage, folder: Path) -> None:
    one.upload(FIRST.file)
    one.click("edit")


def no_source_prompt(one: BrowserPage, folder: Path) -> None:
    one.page.get_by_label("Words: make a picture first").check()
    one.fill("prompt", "a boat")
    one.click("edit")


def set_field(name: str, value: str) -> Make:
    def make(one: BrowserPage, folder: Path) -> None:
        one.upload(FIRST.file)
        one.fill("prompt", "a boat")
        one.open_fold("Settings")
        if name in ("t-max", "t-m"):
            one.page.get_by_label("a window of steps").check()
        one.fill(name, value)
        one.open_fold("Settings")
        one.click("edit")

    return make


PICTURE, PROBLEM = "picture", "picture problem"
HALF = FIRST.file.read_bytes()[:1500]
MISTAKES = {
    "nothing": Mistake(press, "Give a picture first", PICTURE),
    "no prompt": Mistake(no_prompt, "The edit prompt must say", "prompt"),
    "no source prompt": Mistake(no_source_prompt, "The source prompt must say", "source-prompt"),
    "seed 1.5": Mistake(set_field("seed", "1.5"), "must be a whole number", "seed"),
    "steps 0": Mistake(set_field("steps", "0"), "Steps must be from 1 to 200", "steps"),
    "steps 999": Mistake(set_field("steps", "999"), "Steps must be from 1 to 200", "steps"),
    "guidance": Mistake(set_field("guidance-scale", "99"), "Guidance must be", "guidance-scale"),
    "window": Mistake(set_field("t-m", "60"), "The window must have", "t-max"),
    "no picture": Mistake(give("notes.png", b"no picture"), "'notes.png'", PROBLEM),
    "damaged": Mistake(give("half.png", HALF), "'half.png'", PROBLEM),
    "enormous": Mistake(save("bomb.png", Image.new("1", (9000, 9000))), "pixels", PROBLEM),
    "animated": Mistake(animated, "'film.webp'", PROBLEM),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_said_beside_its_cause(
    name: str, open_page: OpenPage, served: ServedPage, tmp_path: Path
) -> None:
    one, mistake = open_page(), MISTAKES[name]
    mistake.make(one, tmp_path)
    if mistake.beside == PROBLEM:
        problem = one.page.locator("#picture [data-part=problem]", has_text=mistake.sentence)
        problem.wait_for()
        text = problem.inner_text()
    else:
        one.wait_for_error(mistake.sentence, mistake.beside)
        text = one.page.locator(".mdp-error").inner_text()
    assert str(tmp_path) not in text and "Traceback" not in text
    assert one.page.locator(".toast-body").count() == 0  # nothing covers the page
    one.page.locator("body:not(.mdp-running)").wait_for()
    assert served.rows == []
    one.check_clean()


def test_strange_settings_are_left_out_and_the_picture_is_taken(
    open_page: OpenPage, served: ServedPage, tmp_path: Path
) -> None:
    one, settings = open_page(), {"prompt": "a boat", "num_inference_steps": 10**9}
    images.save_png(Image.new("RGB", (8, 8)), tmp_path / "strange.png", settings)
    one.upload(tmp_path / "strange.png")
    one.page.locator("#note", has_text="steps must be from 1 to 200").wait_for()
    one.fill("prompt", FIRST.prompt)
    one.run()
    one.check_clean()


def test_an_error_goes_when_it_is_mended(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page()
    no_prompt(one, Path())
    one.wait_for_error("The edit prompt must say", "prompt")
    one.fill("prompt", FIRST.prompt)
    one.page.locator(".mdp-error").wait_for(state="detached")
    one.run()
    one.check_clean()


def test_an_error_about_the_picture_goes_when_there_is_one(
    open_page: OpenPage, served: ServedPage
) -> None:
    one = open_page()
    one.click("edit")
    one.wait_for_error("Give a picture first", "picture")
    one.upload(FIRST.file)
    one.page.locator(".mdp-error").wait_for(state="detached")
    one.check_clean()


def test_steps_can_be_set_low_without_an_error(open_page: OpenPage, served: ServedPage) -> None:
    one = open_page()
    one.upload(FIRST.file)
    one.fill("prompt", FIRST.prompt)
    one.open_fold("Settings")
    for steps in ("40", "8", "3"):
        one.fill("steps", steps)
        one.page.locator("#forecast", has_text="UNet rows").wait_for()
    one.run()
    assert one.page.locator(".toast-body, .mdp-error").count() == 0
    one.check_clean()


def test_a_failing_run_is_one_sentence_and_the_page_goes_on(
    open_page: OpenPage, served: ServedPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = open_page()
    one.upload(FIRST.file)
    one.fill("prompt", FIRST.prompt)

    def fail(*_: object) -> None:
        raise RuntimeError("secret of the server")

    with monkeypatch.context() as patch:
        patch.setattr(UNet, "predict", fail)
        one.click("edit")
        one.wait_for_error("Something went wrong on the server", "run")
    assert "secret" not in one.page.content()
    one.run()
    one.check_clean()
