"""The words of the village in a browser: groups in order, and prompts as captions have them."""

from collections.abc import Iterator
from typing import Any

import pytest

from mdp_lite.editor import Editor
from mdp_lite.eval.village.world import GROUPS
from support.browsing import DESKTOP, chromium
from support.served_blocks import serve_blocks
from support.words_page import WordsPage, build_blocks

__all__ = ["chromium"]  # a fixture
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def village_page(chromium: Any) -> Iterator[WordsPage]:
    """The page over the words of the second bundled model."""
    pytest.importorskip("gradio")
    models = Editor.from_pretrained("small", device="cpu").models
    with serve_blocks(lambda: build_blocks(models)) as url:
        context = chromium.new_context(viewport=DESKTOP)
        context.set_default_timeout(60_000)
        page = WordsPage(context, url)
        yield page
        assert page.errors == []
        context.close()


# Words that are clicked one after the other, and the prompt that comes of them.
CLICKED = {
    ("red", "striped", "house"): "red striped house",
    ("red", "house", "striped"): "red house, striped",
    ("wooden", "boat", "lake"): "wooden boat, lake",
    ("house", "winter", "night"): "house, winter, night",
    ("house", "tree"): "tree",
    ("red", "metal", "stone", "car", "blue"): "blue stone car",
}


@pytest.mark.parametrize("words", CLICKED)
def test_clicked_words_are_in_the_order_of_captions(
    village_page: WordsPage, words: tuple[str, ...]
) -> None:
    if village_page.part("more").get_attribute("aria-expanded") == "false":
        village_page.part("more").click()
    village_page.write("")
    for word in words:
        village_page.chip(word).click()
    assert village_page.prompt().input_value() == CLICKED[words]


def test_groups_have_names_and_what_describes_comes_after(village_page: WordsPage) -> None:
    if village_page.part("more").get_attribute("aria-expanded") == "true":
        village_page.part("more").click()
    rows = village_page.page.locator("#words .group")
    names = village_page.page.locator("#words .group .name").all_text_contents()
    assert names == [*GROUPS, "other words"]
    shown = [rows.nth(i).is_visible() for i in range(rows.count())]
    assert shown == [i < 3 for i in range(len(names))]
    assert village_page.chip("red").is_visible() and village_page.chip("house").is_visible()
