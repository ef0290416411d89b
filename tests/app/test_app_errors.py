"""Every mistake of a visitor gives one plain sentence on the page, and nothing worse."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mdp_lite.models.unet import UNet
from mdp_lite.pictures import images
from support.browsing import HOUSE, BrowserPage, OpenPage, ServedPage, chromium, open_page, served

__all__ = ["chromium", "open_page", "served"]  # fixtures
pytestmark = pytest.mark.browser
Mistake = Callable[[BrowserPage, Path], None]


def nothing(one: BrowserPage, folder: Path) -> None:
    one.click("picture-edit")


def no_prompt(one: BrowserPage, folder: Path) -> None:
    one.upload(HOUSE.file)
    one.click("picture-edit")


def no_source_prompt(one: BrowserPage, folder: Path) -> None:
    one.open_tab("Make and edit")
    one.fill("prompt-prompt", "a boat")
    one.click("prompt-edit")


def no_picture(one: BrowserPage, folder: Path) -> None:
    (folder / "notes.png").write_text("no picture")
    one.page.locator("#picture input[type=file]").set_input_files(folder / "notes.png")


def damaged(one: BrowserPage, folder: Path) -> None:
    (folder / "half.png").write_bytes(HOUSE.file.read_bytes()[:1500])
    one.page.locator("#picture input[type=file]").set_input_files(folder / "half.png")


def enormous(one: BrowserPage, folder: Path) -> None:
    Image.new("1", (9000, 9000)).save(folder / "bomb.png")
    one.page.locator("#picture input[type=file]").set_input_files(folder / "bomb.png")


def animated(one: BrowserPage, folder: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "film.webp", save_all=True, append_images=frames[1:])
    one.page.locator("#picture input[type=file]").set_input_files(folder / "film.webp")


def nothing_painted(one: BrowserPage, folder: Path) -> None:
    one.upload(HOUSE.file)
    one.page.get_by_role("button", name="Where").first.click()
    one.page.locator("#picture-where").get_by_label("Where I paint").check()
    one.fill("picture-prompt", "a boat")
    one.click("picture-edit")


def restore(one: BrowserPage, path: Path) -> None:
    one.page.get_by_text("Settings of a picture made by mdp_lite").click()
    one.page.locator("#restore input[type=file]").set_input_files(path)


def no_settings(one: BrowserPage, folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "plain.png")
    restore(one, folder / "plain.png")


def strange_settings(one: BrowserPage, folder: Path) -> None:
    settings = {"num_inference_steps": 10**9}
    images.save_png(Image.new("RGB", (8, 8)), folder / "strange.png", settings)
    restore(one, folder / "strange.png")


def no_source_to_explore(one: BrowserPage, folder: Path) -> None:
    one.open_tab("Explore")
    one.click("make-sheet")


def no_source_to_compare(one: BrowserPage, folder: Path) -> None:
    one.open_tab("Compare")
    one.click("make-compare")


def no_numbers(one: BrowserPage, folder: Path) -> None:
    one.upload(HOUSE.file)
    one.edit(HOUSE.source_prompt, HOUSE.prompt)
    one.open_tab("Explore")
    one.page.get_by_text("towards").first.wait_for()
    one.fill("explore-t-max", "late")
    one.click("make-sheet")


MISTAKES: dict[str, tuple[Mistake, str]] = {
    "no picture and no prompt": (nothing, "Give a picture first"),
    "no edit prompt": (no_prompt, "The edit prompt must say"),
    "no source prompt": (no_source_prompt, "The source prompt must say"),
    "no picture": (no_picture, "something else: 'notes.png'"),
    "half a picture": (damaged, "got a damaged file"),
    "too many pixels": (enormous, "got 9000x9000: 'bomb.png'"),
    "an animation": (animated, "got 2 frames: 'film.webp'"),
    "nothing painted": (nothing_painted, "Paint where the edit may happen first"),
    "no settings": (no_settings, "Picture must hold mdp_lite settings, got none: 'plain.png'"),
    "strange settings": (strange_settings, "Steps must be from 1 to 200"),
    "no source to explore": (no_source_to_explore, "Edit a picture first"),
    "no source to compare": (no_source_to_compare, "Edit a picture first"),
    "no numbers": (no_numbers, "T_max must be numbers like 44, 47, 50"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_plain_sentence(name: str, open_page: OpenPage, tmp_path: Path) -> None:
    one, (make_mistake, sentence) = open_page(), MISTAKES[name]
    make_mistake(one, tmp_path)
    one.wait_for_error(sentence)
    body = one.page.inner_text("body")
    assert str(tmp_path.parent.parent) not in body and "Traceback" not in body
    one.check_clean()


def test_an_unexpected_error_is_one_sentence_and_the_page_goes_on(
    open_page: OpenPage, served: ServedPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, predict = open_page(), UNet.predict

    def failing(*args: object) -> None:
        raise RuntimeError("secret detail")

    one.upload(HOUSE.file)
    monkeypatch.setattr(UNet, "predict", failing)
    one.fill("picture-prompt", HOUSE.prompt)
    one.click("picture-edit")
    one.wait_for_error("Something went wrong on the server")
    assert "secret detail" not in one.page.inner_text("body")
    monkeypatch.setattr(UNet, "predict", predict)
    one.edit(HOUSE.source_prompt, HOUSE.prompt)
    one.check_clean()


def test_too_large_a_file_is_refused(open_page: OpenPage, tmp_path: Path) -> None:
    one, path = open_page(), tmp_path / "large.png"
    path.write_bytes(HOUSE.file.read_bytes() + bytes(21 * 2**20))
    one.page.locator("#picture input[type=file]").set_input_files(path)
    one.wait_for_error("20")
    assert one.outside_urls() == [] and one.page.locator("#uploaded img").count() == 0
