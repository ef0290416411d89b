"""Helpers for browser tests: the page over the bundled model, served and opened in chromium."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from mdp_lite import joins
from mdp_lite.app.examples import EXAMPLES
from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from mdp_lite.models.unet import UNet
from support.unet_rows import record_rows

CHROMIUM = shutil.which("chromium")
FIRST, SECOND, _ = EXAMPLES
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class ServedPage(NamedTuple):
    """The page's address, its studio, the rows of each UNet call, and how much to slow down."""

    url: str
    studio: Studio
    rows: list[int]
    slow: list[float]  # one number: seconds that each UNet call takes longer


class BrowserPage(NamedTuple):
    """A page in a browser, the addresses that it requested, and its errors."""

    page: Any
    urls: list[str]
    errors: list[str]

    def fill(self, name: str, text: str) -> None:
        """Write a text into a field."""
        self.page.locator(f"#{name} textarea, #{name} input").first.fill(text)

    def upload(self, path: Path) -> None:
        """Give the picture to edit, and wait until it is shown."""
        self.give_file(path)
        self.page.locator("#picture [data-part=name]", has_text=path.name).wait_for()

    def give_file(self, path: Path) -> None:
        """Give a file as a drop, a paste or the button does."""
        self.page.locator("#picture-file input[type=file]").set_input_files(path)

    def take_example(self, name: str) -> None:
        """Click an example, and wait until its picture and its words are there."""
        self.page.get_by_role("button", name=name).click()
        self.page.locator("#picture [data-part=image]").wait_for()
        self.page.wait_for_function(
            "document.querySelector('#prompt textarea, #prompt input').value"
        )

    def open_fold(self, name: str) -> None:
        """Open a fold of the page, if it is closed."""
        fold = self.page.locator("button.label-wrap", has_text=re.compile(rf"^\s*{name}"))
        if "open" not in (fold.get_attribute("class") or "").split():
            fold.click()

    def click(self, name: str) -> None:
        """Click the element with this id."""
        self.page.locator(f"#{name}").click()

    def wait_for_stage(self, state: str, text: str = "", seconds: float = 60) -> str:
        """Wait until the stage is in a state and says a text; all that it says."""
        stage = self.page.locator(f"#stage .stage[data-state={state}]", has_text=text)
        stage.wait_for(timeout=1000 * seconds)
        return stage.inner_text()

    def wait_for_error(self, text: str, beside: str = "") -> None:
        """Wait until the page shows an error that contains a text, right after a field."""
        where = f"#{beside} + .mdp-error" if beside else ".mdp-error"
        self.page.locator(where, has_text=text).wait_for(timeout=30_000)

    def edit(self, source_prompt: str, prompt: str) -> str:
        """Edit the picture that was given to the end; what the stage says."""
        self.fill("source-prompt", source_prompt)
        self.fill("prompt", prompt)
        return self.run()

    def run(self) -> str:
        """Press Edit and wait for the end; what the stage says."""
        self.click("edit")
        self.page.locator("body.mdp-running").wait_for()
        self.page.locator("body:not(.mdp-running)").wait_for(timeout=60_000)
        return self.wait_for_stage("done", "The edit took")

    def download(self, folder: Path, selector: str = "#stage [data-part=download]") -> Path:
        """The file that a link downloads."""
        with self.page.expect_download() as waiting:
            self.page.locator(selector).click()
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    def check_clean(self) -> None:
        """Assert that the page requested nothing from other machines and had no error."""
        assert self.outside_urls() == [] and self.errors == []

    def outside_urls(self) -> list[str]:
        """The requests to other machines."""
        return [u for u in self.urls if urlsplit(u).hostname not in (None, "", "127.0.0.1")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    """The bundled model's page, served by this process, so that its UNet calls are counted."""
    command = pytest.importorskip("mdp_lite.app.command")
    with pytest.MonkeyPatch.context() as patch:
        rows, slow = record_rows(patch), [0.0]
        predict = UNet.predict

        def wait_and_predict(self: UNet, x: Any, t: Any, c: Any, *attend: Any) -> Any:
            time.sleep(slow[0])
            return predict(self, x, t, c, *attend)

        patch.setattr(UNet, "predict", wait_and_predict)
        editor, folder = Editor.from_pretrained(device="cpu"), tmp_path_factory.mktemp("studio")
        studio = Studio(editor, folder, rivals=joins.build_rivals())
        studio.warm_up()
        blocks = command.launch(studio, "127.0.0.1", None)
        yield ServedPage(str(blocks.local_url), studio, rows, slow)
        blocks.close(verbose=False)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's chromium; playwright's browser is not downloaded."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        camera = [f"--use-fake-{part}-for-media-stream" for part in ("device", "ui")]
        args = ["--no-sandbox", *camera]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=args)
        yield browser
        browser.close()


def load_page(context: Any, url: str) -> BrowserPage:
    """The page, fully loaded, in a context of a browser."""
    page, urls, errors = context.new_page(), list[str](), list[str]()
    page.on("request", lambda request: urls.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(url)
    page.locator("#edit").wait_for(timeout=30_000)
    page.wait_for_function("sessionStorage.getItem('mdp-lite-visit')")  # it knows its visit
    return BrowserPage(page, urls, errors)


OpenPage = Callable[..., BrowserPage]


@pytest.fixture
def open_page(served: ServedPage, chromium: Any) -> Iterator[OpenPage]:
    """Opens the page as a new visitor; arguments are settings of the browser context."""
    served.rows.clear()
    served.slow[0] = 0.0
    contexts = []

    def visit(**settings: Any) -> BrowserPage:
        context = chromium.new_context(**{"viewport": DESKTOP, **settings})
        contexts.append(context)
        context.set_default_timeout(20_000)  # a busy machine is slow, not broken
        return load_page(context, served.url)

    yield visit
    for context in contexts:
        context.close()
