"""The component picture in a browser: what is painted, dropped or taken is what Python reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mdp_lite.pipeline.masks import paste
from support.browsing import FIRST, PHONE, chromium
from support.painting import HEIGHT, WIDTH, Painter, open_painter, painter, visitor
from support.picture_page import SIDES, PicturePage, half_mask, picture_page

__all__ = ["chromium", "painter", "picture_page", "visitor"]  # fixtures
pytestmark = pytest.mark.browser


def test_a_stroke_is_what_python_reads(painter: Painter) -> None:
    painter.choose("Brush")
    painter.wait_for_state("Paint on the picture")
    mask = painter.paint(lambda: painter.move((20, 30), (60, 30)))
    half = round(0.12 * WIDTH) / 2  # of the brush
    assert (mask[30, 16:65] == 255).all() and (mask[[26, 34], 20:60] == 255).all()
    assert mask[: int(30 - half) - 1].max() == mask[int(30 + half) + 2 :].max() == 0
    assert abs(mask.sum() / 255 - (40 * 2 * half + np.pi * half**2)) < 0.03 * mask.size
    painter.wait_for_state("Only the marked part may change: 9% of the picture")


def test_the_eraser_takes_away_until_everything_may_change(painter: Painter) -> None:
    painter.choose("Box")
    painter.paint(lambda: painter.move((20, 20), (28, 28)))
    painter.choose("Eraser")
    mask = painter.paint(lambda: painter.move((20, 24), (21, 24)))
    assert mask[24, 20] == 0 and mask[24, 27] == 255
    sent = painter.send(lambda: painter.move((20, 20), (28, 20), (28, 28), (20, 28)))
    assert sent == {"where": "everywhere", "png": None, "feather": 0}
    painter.wait_for_state("Paint on the picture")


def test_a_box_has_exact_edges(painter: Painter) -> None:
    painter.choose("Box")
    mask = painter.paint(lambda: painter.move((70.5, 50.5), (10.5, 20.5)))
    want = np.zeros((HEIGHT, WIDTH))
    want[20:51, 10:71] = 255
    assert np.array_equal(mask, want)


def test_a_box_ends_where_the_picture_ends(painter: Painter) -> None:
    painter.choose("Box")
    mask = painter.paint(lambda: painter.move((90, 60), (200, 90)))
    assert (mask[60:, 90:] == 255).all() and mask.sum() == 255 * 4 * 6


def test_a_lasso_fills_its_inside(painter: Painter) -> None:
    painter.choose("Lasso")
    mask = painter.paint(lambda: painter.move((20, 10), (80, 10), (50, 60)))
    assert mask[12, 50] == mask[50, 50] == 255 and mask[50, 22] == mask[50, 78] == 0
    assert abs(mask.sum() / 255 - 60 * 50 / 2) < 100  # a triangle's area


def test_invert_undo_and_clear(painter: Painter) -> None:
    painter.choose("Box")
    assert all(painter.part(name).is_disabled() for name in ("invert", "clear", "undo"))
    first = painter.paint(lambda: painter.move((10, 10), (30, 30)))
    turned = painter.paint(lambda: painter.choose("Invert"))
    assert np.array_equal(turned, 255 - first)
    assert np.array_equal(painter.paint(lambda: painter.choose("Undo")), first)
    assert painter.send(lambda: painter.choose("Clear"))["where"] == "everywhere"
    painter.wait_for_state("The whole picture may change")
    assert np.array_equal(painter.paint(lambda: painter.choose("Undo")), first)
    assert painter.send(lambda: painter.choose("Undo"))["where"] == "everywhere"


def test_everywhere_sets_the_painting_aside(painter: Painter) -> None:
    painter.choose("Box")
    first = painter.paint(lambda: painter.move((10, 10), (30, 30)))
    assert painter.send(lambda: painter.choose("Everywhere"))["png"] is None
    painter.wait_for_overlay(np.zeros((HEIGHT, WIDTH)))
    assert np.array_equal(painter.paint(lambda: painter.choose("Lasso")), first)


def test_feather_is_shown_as_the_edit_will_have_it(painter: Painter) -> None:
    painter.choose("Box")
    mask = painter.paint(lambda: painter.move((20, 16), (70, 48)))
    sent = painter.send(lambda: painter.part("feather").fill("6"))
    assert (sent["where"], sent["feather"]) == ("painted", 6)
    painter.page.mouse.move(0, 0)  # no cursor over the overlay
    white, black = (Image.new("L", SIDES, level) for level in (255, 0))
    want = np.asarray(paste(white, black, Image.fromarray(mask.astype(np.uint8)), 6))
    painter.wait_for_overlay(want)
    assert 0 < want[30, 22] < 255 and want[30, 45] == 255


def test_a_brush_by_keyboard(painter: Painter) -> None:
    painter.part("canvas").focus()
    painter.press("b", "ArrowLeft")
    painter.page.keyboard.down("Space")
    painter.press("ArrowRight", "ArrowRight", "ArrowRight")
    mask = painter.paint(lambda: painter.page.keyboard.up("Space"))
    # from half a brush, 6 pixels, left of the middle to 12 right of it, and 5.8 more at both ends
    row = mask[HEIGHT // 2]
    assert (row[37:64] == 255).all() and row[:36].max() == row[67:].max() == 0
    assert painter.send(lambda: painter.press("Control+z"))["where"] == "everywhere"


def test_a_box_by_keyboard_with_fine_steps(painter: Painter) -> None:
    painter.part("canvas").focus()
    painter.press("r", "Space", *["Shift+ArrowDown"] * 3, *["Shift+ArrowRight"] * 5)
    mask = painter.paint(lambda: painter.press("Space"))
    want = np.zeros((HEIGHT, WIDTH))
    want[32:35, 48:53] = 255
    assert np.array_equal(mask, want)
    assert np.array_equal(painter.paint(lambda: painter.press("i")), 255 - want)


def test_keys_choose_tools_and_sizes_but_not_in_a_text(painter: Painter) -> None:
    painter.part("canvas").focus()
    painter.press("b", "]")
    assert painter.part("size-out").inner_text() == "14 px"
    painter.press("[", "[")
    assert painter.part("size-out").inner_text() == "9 px"
    for key, name in zip("brelf", ("brush", "box", "eraser", "lasso", "find"), strict=True):
        painter.press(key)
        assert painter.page.locator(f"[data-tool={name}]").get_attribute("aria-pressed") == "true"
    painter.page.locator("#words textarea, #words input").first.fill("")
    painter.page.keyboard.type("brei")
    assert painter.page.locator("[data-tool=find]").get_attribute("aria-pressed") == "true"
    painter.part("size").evaluate(
        "one => { one.value = 12; one.dispatchEvent(new Event('input')); }"
    )


def test_escape_drops_a_shape_before_it_leaves_the_large_view(painter: Painter) -> None:
    painter.choose("Lasso")
    before = painter.part("frame").bounding_box()["width"]
    painter.choose("Larger")
    assert painter.part("frame").bounding_box()["width"] > before
    painter.part("canvas").focus()
    painter.press("Space", "ArrowRight", "ArrowDown", "Escape")
    assert painter.part("large").evaluate("one => one.open") is True
    painter.press("Escape")
    assert painter.part("large").evaluate("one => one.open") is False
    mask = painter.paint(lambda: painter.move((20, 10), (80, 10), (50, 60)))
    assert mask[40, 50] == 255


def test_find_it_for_me_shows_what_was_found(painter: Painter) -> None:
    sent = painter.send(lambda: painter.choose("Find it for me"))
    assert sent == {"where": "found", "png": None, "feather": 0}
    painter.wait_for_state("mdp_lite finds the part")
    painter.page.locator("#found").click()
    painter.wait_for_state("This part was found: 50% of the picture")
    painter.wait_for_overlay(np.asarray(half_mask()).astype(int))
    painter.choose("Eraser")
    mask = painter.paint(lambda: painter.move((80, 32), (81, 32)))
    assert mask[32, 80] == 0 and mask[10, 60] == 255 and mask[10, 40] == 0


def test_a_picture_is_chosen_and_another_one_pasted(painter: Painter) -> None:
    with painter.page.expect_file_chooser() as waiting:
        painter.choose("Other picture")
    waiting.value.set_files(FIRST.file)
    painter.wait_for_name("house.png")
    assert painter.served.files[-1].read_bytes() == FIRST.file.read_bytes()
    painter.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    painter.page.evaluate(COPY_GREEN)
    painter.press("Control+v")
    painter.wait_for_name("image.png")
    assert Image.open(painter.served.files[-1]).convert("RGB").getpixel((3, 3)) == (0, 128, 0)


# Put a green picture on the clipboard.
COPY_GREEN = """async () => {
  document.activeElement?.blur();
  const canvas = new OffscreenCanvas(40, 30), pen = canvas.getContext("2d");
  pen.fillStyle = "rgb(0 128 0)";
  pen.fillRect(0, 0, 40, 30);
  const item = new ClipboardItem({"image/png": await canvas.convertToBlob()});
  await navigator.clipboard.write([item]);
}"""


def test_a_file_is_dropped_anywhere(painter: Painter, tmp_path: Path) -> None:
    Image.new("RGB", (30, 40), (20, 30, 40)).save(tmp_path / "tall.png")
    painter.page.evaluate("() => document.dispatchEvent(new Event('dragstart'))")
    painter.drag("dragEnter", tmp_path / "tall.png")
    painter.drag("dragOver", tmp_path / "tall.png")
    assert painter.part("veil").is_hidden()  # a picture of the page itself is dragged
    painter.page.evaluate("() => document.dispatchEvent(new Event('dragend'))")
    painter.drag("dragOver", tmp_path / "tall.png")
    painter.part("veil").wait_for()  # says where to drop it
    painter.drag("drop", tmp_path / "tall.png")
    painter.wait_for_name("tall.png")
    assert painter.part("veil").is_hidden()
    assert painter.part("dimensions").inner_text() == "30 × 40 pixels"


def test_a_bad_file_is_explained_and_costs_no_painting(painter: Painter, tmp_path: Path) -> None:
    painter.choose("Box")
    painter.paint(lambda: painter.move((10, 10), (30, 30)))
    (tmp_path / "note.png").write_text("no picture")
    painter.part("file").set_input_files(tmp_path / "note.png")
    painter.part("problem").filter(has_text="This is no picture").wait_for()
    painter.wait_for_state("Only the marked part may change: 7%")
    assert painter.part("busy").is_hidden()
    painter.paint(lambda: painter.choose("Invert"))
    assert painter.part("problem").is_hidden()  # it is over once the visitor goes on
    painter.part("file").set_input_files(FIRST.file)
    painter.wait_for_name("house.png")


def test_a_file_that_is_too_large_is_not_sent(painter: Painter, tmp_path: Path) -> None:
    count = len(painter.served.files)
    (tmp_path / "large.png").write_bytes(bytes(20 * 2**20 + 1))
    painter.part("file").set_input_files(tmp_path / "large.png")
    painter.part("problem").filter(has_text="too large: at most 20 MB").wait_for()
    painter.choose("Box")  # the picture before it is still there
    painter.paint(lambda: painter.move((10, 10), (30, 30)))
    assert len(painter.served.files) == count


def test_the_camera_takes_a_picture(painter: Painter) -> None:
    painter.choose("Remove")
    painter.wait_for_event("clear")
    assert painter.served.values[-1]["picture"] is None and painter.part("card").is_hidden()
    painter.choose("Camera")
    painter.choose("Cancel")
    assert painter.part("booth").is_hidden()
    painter.choose("Camera")
    painter.choose("Take picture")  # waits until the camera runs
    painter.wait_for_name("camera.jpg")
    assert painter.page.evaluate("() => document.querySelector('video').srcObject") is None
    assert len(Image.open(painter.served.files[-1]).convert("RGB").getcolors(2**24) or ()) > 100


def test_an_example_is_clicked(painter: Painter) -> None:
    painter.choose("Remove")
    painter.choose("House")
    assert painter.wait_for_event("example_select") == {"id": "house"}


HEIGHTS = "all => all.map((one) => one.getBoundingClientRect().height)"


def test_a_finger_paints(picture_page: PicturePage, chromium: Any) -> None:
    phone = open_painter(picture_page, chromium, viewport=PHONE, has_touch=True, is_mobile=True)
    phone.show_picture()
    phone.choose("Brush")
    mask = phone.paint(lambda: phone.touch((20, 30), (40, 30), (60, 30)))
    assert (mask[30, 16:65] == 255).all() and mask[:20].max() == mask[40:].max() == 0
    heights = phone.page.locator("#picture button:visible").evaluate_all(HEIGHTS)
    assert len(heights) == 12 and min(heights) >= 40
    width = phone.page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= PHONE["width"] and phone.errors == []
    phone.page.context.close()
