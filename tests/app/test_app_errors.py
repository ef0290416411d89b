"""Each way in which a visitor can be wrong: one plain sentence on the page, and nothing worse."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mdp_lite.models.unet import UNet
from mdp_lite.pictures import images
from support.browsing import HOUSE, Opens, Served, Watched, chromium, opens, served

__all__ = ["chromium", "opens", "served"]  # fixtures
pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),  # gradio leaves sockets to the collector as it closes
]
Wrong = Callable[[Watched, Path], None]


def nothing(one: Watched, folder: Path) -> None:
    one.click("picture-edit")


def no_prompt(one: Watched, folder: Path) -> None:
    one.give(HOUSE.file)
    one.click("picture-edit")


def no_source_prompt(one: Watched, folder: Path) -> None:
    one.tab("Make and edit")
    one.field("prompt-prompt", "a boat")
    one.click("prompt-edit")


def no_picture(one: Watched, folder: Path) -> None:
    (folder / "notes.png").write_text("no picture")
    one.page.locator("#picture input[type=file]").set_input_files(folder / "notes.png")


def damaged(one: Watched, folder: Path) -> None:
    (folder / "half.png").write_bytes(HOUSE.file.read_bytes()[:1500])
    one.page.locator("#picture input[type=file]").set_input_files(folder / "half.png")


def enormous(one: Watched, folder: Path) -> None:
    Image.new("1", (9000, 9000)).save(folder / "bomb.png")
    one.page.locator("#picture input[type=file]").set_input_files(folder / "bomb.png")


def moving(one: Watched, folder: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "film.webp", save_all=True, append_images=frames[1:])
    one.page.locator("#picture input[type=file]").set_input_files(folder / "film.webp")


def nothing_painted(one: Watched, folder: Path) -> None:
    one.give(HOUSE.file)
    one.page.get_by_role("button", name="Where").first.click()
    one.page.locator("#picture-where").get_by_label("Where I paint").check()
    one.field("picture-prompt", "a boat")
    one.click("picture-edit")


def restored(one: Watched, path: Path) -> None:
    one.page.get_by_text("Settings of a picture made by mdp_lite").click()
    one.page.locator("#restore input[type=file]").set_input_files(path)


def no_settings(one: Watched, folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "plain.png")
    restored(one, folder / "plain.png")


def strange_settings(one: Watched, folder: Path) -> None:
    settings = {"num_inference_steps": 10**9}
    images.save_png(Image.new("RGB", (8, 8)), folder / "strange.png", settings)
    restored(one, folder / "strange.png")


def no_source_to_explore(one: Watched, folder: Path) -> None:
    one.tab("Explore")
    one.click("make-sheet")


def no_source_to_compare(one: Watched, folder: Path) -> None:
    one.tab("Compare")
    one.click("make-compare")


def no_numbers(one: Watched, folder: Path) -> None:
    one.give(HOUSE.file)
    one.edited(HOUSE.source_prompt, HOUSE.prompt)
    one.tab("Explore")
    one.page.get_by_text("towards").first.wait_for()
    one.field("explore-t-max", "late")
    one.click("make-sheet")


WRONG: dict[str, tuple[Wrong, str]] = {
    "nothing given": (nothing, "Give a picture first"),
    "no edit prompt": (no_prompt, "The edit prompt must say"),
    "no source prompt": (no_source_prompt, "The source prompt must say"),
    "no picture": (no_picture, "something else: 'notes.png'"),
    "half a picture": (damaged, "got a damaged file"),
    "too many pixels": (enormous, "got 9000x9000: 'bomb.png'"),
    "a film": (moving, "got 2 frames: 'film.webp'"),
    "nothing painted": (nothing_painted, "Paint where the edit may happen first"),
    "no settings": (no_settings, "Picture must hold mdp_lite settings, got none: 'plain.png'"),
    "strange settings": (strange_settings, "Steps must be from 1 to 200"),
    "no source to explore": (no_source_to_explore, "Edit a picture first"),
    "no source to compare": (no_source_to_compare, "Edit a picture first"),
    "no numbers": (no_numbers, "T_max must be numbers like 44, 47, 50"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_goes_wrong_is_said_plainly(name: str, opens: Opens, tmp_path: Path) -> None:
    one, (wrong, sentence) = opens(), WRONG[name]
    wrong(one, tmp_path)
    one.complains(sentence)
    body = one.page.inner_text("body")
    assert str(tmp_path.parent.parent) not in body and "Traceback" not in body
    one.clean()


def test_what_nobody_foresaw_is_one_sentence_and_is_survived(
    opens: Opens, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, predict = opens(), UNet.predict

    def failing(*args: object) -> None:
        raise RuntimeError("secret detail")

    one.give(HOUSE.file)
    monkeypatch.setattr(UNet, "predict", failing)
    one.field("picture-prompt", HOUSE.prompt)
    one.click("picture-edit")
    one.complains("Something went wrong on the server")
    assert "secret detail" not in one.page.inner_text("body")
    monkeypatch.setattr(UNet, "predict", predict)
    one.edited(HOUSE.source_prompt, HOUSE.prompt)
    one.clean()


def test_too_large_a_file_is_refused(opens: Opens, tmp_path: Path) -> None:
    one, path = opens(), tmp_path / "large.png"
    path.write_bytes(HOUSE.file.read_bytes() + bytes(21 * 2**20))
    one.page.locator("#picture input[type=file]").set_input_files(path)
    one.complains("20")
    assert one.outside() == [] and one.page.locator("#given img").count() == 0
