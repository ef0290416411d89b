"""A small page with two prompts and the component of words, in a browser."""

from collections.abc import Iterator
from typing import Any

import pytest

from mdp_lite.checkpoint.models import Models
from mdp_lite.editor import Editor
from support.browsing import DESKTOP
from support.served_blocks import serve_blocks

SOURCE, TARGET = "What it shows now", "What it should show"


class WordsPage:
    """The page as a visitor has it."""

    def __init__(self, context: Any, url: str) -> None:
        self.page, self.errors = context.new_page(), list[str]()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.goto(url)
        self.page.locator("#prompt .mdp-unknown").wait_for(state="attached")

    def chip(self, word: str) -> Any:
        return self.page.locator("#words").get_by_role("button", name=word, exact=True)

    def part(self, name: str) -> Any:
        return self.page.locator(f"#words [data-part={name}]")

    def prompt(self, name: str = "prompt") -> Any:
        return self.page.locator(f"#{name} textarea")

    def write(self, text: str, name: str = "prompt", caret: int | None = None) -> None:
        """Write a text into a prompt, and move the caret there; by default it is at the end."""
        self.prompt(name).fill(text)
        caret = len(text) if caret is None else caret
        self.prompt(name).evaluate("(area, i) => area.setSelectionRange(i, i)", caret)
        self.prompt(name).press("Shift")  # the page reads the caret after a key

    def said(self, name: str = "prompt") -> str:
        """The line below a prompt."""
        return self.page.locator(f"#{name} .mdp-unknown").inner_text()

    def wait_for_line(self, text: str, name: str = "prompt") -> None:
        self.page.locator(f"#{name} .mdp-unknown", has_text=text).wait_for()

    def underlined(self, name: str = "prompt") -> list[str]:
        return self.page.locator(f"#{name} .mdp-underline").all_inner_texts()


def build_blocks(models: Models) -> Any:
    """Two prompts, the component, and buttons with which Python changes all of it."""
    import gradio as gr

    from mdp_lite.app.components.words import build_words, describe_words

    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.Textbox(label=SOURCE, elem_id="source-prompt", lines=1, max_lines=3)
        prompt = gr.Textbox(label=TARGET, elem_id="prompt", lines=1, max_lines=3)
        words = build_words(models)
        heard = gr.Textbox(label="what Python read", elem_id="read")
        for name, text in (("good", "a red house"), ("bad", "a zebra")):
            gr.Button(name, elem_id=name).click(lambda text=text: text, None, prompt)
        gr.Button("other", elem_id="other").click(
            lambda: describe_words(models) | {"known": None}, None, words
        )
        prompt.change(lambda text: text, prompt, heard, show_progress="hidden")
    return blocks


@pytest.fixture(scope="module")
def words_url() -> Iterator[str]:
    """The address of the page, over the bundled model's words."""
    pytest.importorskip("gradio")
    models = Editor.from_pretrained("tiny", device="cpu").models
    with serve_blocks(lambda: build_blocks(models)) as url:
        yield url


@pytest.fixture(scope="module")
def opened_page(words_url: str, chromium: Any) -> Iterator[WordsPage]:
    """The page, opened once for all tests; it must end without an error in the console."""
    context = chromium.new_context(viewport=DESKTOP)
    context.set_default_timeout(60_000)  # a busy machine is slow, not broken
    page = WordsPage(context, words_url)
    yield page
    assert page.errors == []
    context.close()


@pytest.fixture
def words_page(opened_page: WordsPage) -> WordsPage:
    """The page with empty prompts, and with the first words alone."""
    for name in ("source-prompt", "prompt"):  # the last one gets the words
        opened_page.prompt(name).fill("")
        opened_page.prompt(name).focus()
    if opened_page.part("more").get_attribute("aria-expanded") == "true":
        opened_page.part("more").click()
    return opened_page
