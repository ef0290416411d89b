"""The words that a model knows, in a browser: chips that write, and marks on unknown words."""

import random
from typing import Any

import pytest

from mdp_lite.app.components.build import FOLDER, read_asset
from mdp_lite.checkpoint.vocabulary import find_unknown
from mdp_lite.editor import Editor
from mdp_lite.eval import world
from support.browsing import chromium
from support.words_page import SOURCE, TARGET, WordsPage, opened_page, words_page, words_url

__all__ = ["chromium", "opened_page", "words_page", "words_url"]  # fixtures
pytestmark = pytest.mark.browser

LEARNED = ("<my-cat*>", "<my-cat", "Zürich")
STRANGE = (
    "A RED House!", "a (red:1.2) house, [house]", "a red-house / house_red", "2 houses, 3 trees",
    "a house's door; 'red' and the tents'", "cafe\u0301 caf\u00e9 CAF\u00c9 house",
    "ein rotes Haus", "红房子 \U0001f3e0 house", "\u201cred\u201d \u2014 house\u2026", "", "   ",
    ",,,", "''' \u2019\u2019 '", "a <My-Cat*> house <my-cat> zürich Z\u00dcRICH zu\u0308rich",
    "İSTANBUL ΣΟΦΟΣ STRASSE straße", "a\thouse\nred  tree\u00a0boat", "naïve façade",
    "e\u0301\u0301", "\u200dhouse \u200bred", "x2 4x4 ½ ² ⅷ", "هذا بيت", "בית אדום",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 at night", "C++ & R$ 5% #red @house",
)  # fmt: skip


def list_sentences() -> list[str]:
    """200 sentences: strange ones, captions, and captions with other words and marks in them."""
    rng = random.Random(7)
    found = list(STRANGE)
    others = ["zebra", "HOUSES", "red's", "skyscraper", "Trees", "(blue)", "moon!", "<my-cat*>"]
    while len(found) < 200:
        words = world.random_caption(world.sample(rng.randrange(10**6)), rng).split()
        for _ in range(rng.randrange(3)):
            words.insert(rng.randrange(len(words) + 1), rng.choice(others))
        found.append(rng.choice([" ", " ", ", ", "-", "/"]).join(words))
    return found


@pytest.mark.parametrize("learned", [(), LEARNED], ids=["plain", "learned"])
def test_the_browser_finds_the_words_that_python_finds(chromium: Any, learned: tuple[str]) -> None:
    vocabulary = Editor.from_pretrained(device="cpu").models.knowledge.words
    sentences, page = list_sentences(), chromium.new_page()
    script = read_asset("words_text", "js")
    found = page.evaluate(
        f"([texts, words, learned]) => {{ {script}; const known = new Set(words);"
        "return texts.map((text) => nameUnknown(text, known, learned)); }",
        [sentences, sorted(vocabulary), list(learned)],
    )
    page.close()
    assert found == [find_unknown(text, vocabulary, learned) for text in sentences]
    assert sum(map(bool, found)) > 50 and sum(not one for one in found) > 20


# A text, the caret in it (None: at its end), the word that is clicked, and what comes of it.
CLICKS: tuple[tuple[str, int | None, str, str], ...] = (
    ("", 0, "house", "house"),
    ("a red house", None, "blue", "a blue house"),
    ("a red house", None, "orange", "an orange house"),
    ("An orange house", None, "red", "A red house"),
    ("a red house, a blue tree", 3, "green", "a green house, a blue tree"),
    ("a red house, a blue tree", None, "green", "a red house, a green tree"),
    ("a RED house", None, "blue", "a blue house"),
    ("a red", None, "house", "a red house"),
    ("a red ", None, "house", "a red house"),
    ("a house", None, "night", "a house, night"),
    ("a house ", None, "night", "a house, night"),
    ("a house,", None, "night", "a house, night"),
    ("a house, foggy", None, "night", "a house, foggy night"),
    ("a  house", 2, "red", "a red house"),
    ("house", 0, "red", "red house"),
    ("a red house", None, "red", "a house"),
    ("grass, night", None, "grass", "night"),
    ("a house, grass, night", None, "grass", "a house, night"),
    ("a zebra", None, "on", "a zebra on"),
    ("(a zebra)", 1, "the", "(the a zebra)"),
)  # fmt: skip


def test_a_chip_writes_a_word(words_page: WordsPage) -> None:
    words_page.part("more").click()
    for text, caret, word, want in CLICKS:
        words_page.write(text, caret=caret)
        words_page.chip(word).click()
        assert (text, word, words_page.prompt().input_value()) == (text, word, want)
    words_page.page.wait_for_function(  # gradio has read it, and sent it to Python
        "want => document.querySelector('#read textarea').value === want", arg=want
    )


def test_the_prompt_that_was_used_last_gets_the_word(words_page: WordsPage) -> None:
    assert TARGET in words_page.part("target").inner_text()
    words_page.chip("tree").click()
    assert words_page.prompt().input_value() == "tree"
    words_page.prompt("source-prompt").focus()
    words_page.part("target").filter(has_text=SOURCE).wait_for()
    assert words_page.chip("tree").get_attribute("aria-pressed") == "false"
    words_page.chip("boat").click()
    assert words_page.prompt("source-prompt").input_value() == "boat"
    assert words_page.chip("boat").get_attribute("aria-pressed") == "true"
    assert words_page.prompt().input_value() == "tree"
    words_page.part("heard").filter(has_text=f"boat was added to “{SOURCE}”").wait_for(
        state="attached"
    )


def test_the_keyboard_alone_writes_words(words_page: WordsPage) -> None:
    words_page.prompt().focus()
    press = words_page.page.keyboard.press
    for key in ("Tab", "Home", "ArrowRight", "Enter", "End", "Space"):  # tree, then right
        press(key)
    assert words_page.prompt().input_value() == "tree, right"
    press("Home")
    press("Enter")
    assert words_page.prompt().input_value() == "house, right"
    press("Tab")  # all chips are one stop
    press("Enter")
    assert words_page.part("more").get_attribute("aria-expanded") == "true"
    assert words_page.chip("moon").is_visible()
    press("Enter")
    assert not words_page.chip("moon").is_visible()


def test_unknown_words_are_named_and_underlined_as_one_types(words_page: WordsPage) -> None:
    line = words_page.page.locator("#prompt .mdp-unknown")
    assert line.get_attribute("role") == "status" and words_page.said() == ""
    words_page.prompt().press_sequentially("a stone ho")
    words_page.wait_for_line("“stone”")
    assert words_page.underlined()[0] == "stone"
    words_page.prompt().press_sequentially("use, Zebras!")
    words_page.wait_for_line("“stone”, “zebras”")
    assert words_page.underlined() == ["stone", "Zebras"]
    assert words_page.said("source-prompt") == ""
    words_page.prompt().fill("a red house")
    words_page.page.wait_for_function("!document.querySelector('#prompt .mdp-unknown').textContent")
    assert words_page.underlined() == []


def test_underlines_lie_under_their_words(words_page: WordsPage) -> None:
    """The overlay has the textarea's letters, so that its text breaks where the prompt breaks."""
    words_page.prompt().fill("a skyscraper " * 30 + "\nand a red zebra")
    words_page.wait_for_line("“zebra”")
    sizes = words_page.page.evaluate(
        """() => { const area = document.querySelector('#prompt textarea');
        const lines = area.parentElement.querySelector('.mdp-underlines');
        const [one, other] = [area, lines].map((e) => e.getBoundingClientRect());
        return [one.left + area.clientLeft - other.left, one.top + area.clientTop - other.top,
                area.clientWidth - lines.clientWidth, area.scrollHeight - lines.scrollHeight,
                area.scrollTop - lines.scrollTop]; }"""
    )
    assert [abs(one) < 1.5 for one in sizes] == [True] * 5, sizes


def test_what_python_writes_is_marked_too(words_page: WordsPage) -> None:
    words_page.page.get_by_role("button", name="bad").click()
    words_page.wait_for_line("“zebra”")
    words_page.page.get_by_role("button", name="good").click()
    words_page.page.wait_for_function("!document.querySelector('#prompt .mdp-unknown').textContent")
    assert words_page.chip("house").get_attribute("aria-pressed") == "true"


def test_a_model_without_a_list_shows_nothing(words_page: WordsPage) -> None:
    words_page.write("a zebra")
    words_page.wait_for_line("“zebra”")
    words_page.page.get_by_role("button", name="other").click()
    words_page.part("root").wait_for(state="hidden")
    assert words_page.page.locator(".mdp-unknown, .mdp-underlines").count() == 0
    words_page.prompt().fill("a unicorn")
    words_page.page.wait_for_timeout(700)  # longer than any pause of the component
    assert words_page.page.locator(".mdp-unknown, .mdp-underlines").count() == 0


def test_scripts_are_short_and_put_no_html_in() -> None:
    for file in FOLDER.glob("words*.js"):
        text = file.read_text("utf-8")
        assert text.count("\n") <= 300 and "innerHTML" not in text
