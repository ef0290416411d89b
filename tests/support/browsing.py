"""What browser tests share: the page over the bundled model, served and watched in chromium."""

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

CHROMIUM = shutil.which("chromium")
HOUSE, BOAT, _ = EXAMPLES
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class Served(NamedTuple):
    """The page's address, its studio, and the rows of each UNet call since it began."""

    url: str
    studio: Studio
    rows: list[int]
    slow: list[float]  # one number: seconds that each call takes longer


class Watched(NamedTuple):
    """A page in a browser, with all that it asked for and complained of."""

    page: Any
    urls: list[str]
    errors: list[str]

    def field(self, name: str, text: str) -> None:
        """Write into a text."""
        self.page.locator(f"#{name} textarea, #{name} input").first.fill(text)

    def give(self, path: Path) -> None:
        """Upload the picture to edit."""
        self.page.locator("#picture input[type=file]").set_input_files(path)
        self.page.locator("#given img").wait_for()

    def click(self, name: str) -> None:
        """Click what has this id."""
        self.page.locator(f"#{name}").click()

    def tab(self, name: str) -> None:
        """Go to a tab."""
        self.page.get_by_role("tab", name=name).click()

    def says(self, text: str, seconds: float = 300) -> str:
        """Wait until the status says something; all that it says."""
        status = self.page.locator("#status", has_text=text)
        status.wait_for(timeout=1000 * seconds)
        return status.inner_text()

    def complains(self, text: str) -> None:
        """Wait for an error on the page that says something."""
        toast = self.page.get_by_test_id("toast-text").filter(has_text=text)
        toast.first.wait_for(timeout=120_000)

    def edited(self, source_prompt: str, prompt: str) -> str:
        """An edit of the picture that was given, to its end; what the status says."""
        self.field("picture-source-prompt", source_prompt)
        self.field("picture-prompt", prompt)
        self.click("picture-edit")
        return self.says("The edit took")

    def downloaded(self, folder: Path, name: str = "download") -> Path:
        """The file that a button gives."""
        with self.page.expect_download() as waiting:
            self.click(name)
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    def clean(self) -> None:
        """Nothing was asked of other machines, nothing was complained of."""
        assert self.outside() == [] and self.errors == []

    def outside(self) -> list[str]:
        """Requests that left this machine."""
        return [u for u in self.urls if urlsplit(u).hostname not in (None, "", "127.0.0.1")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The bundled model's page on a port of its own, in this process, so that calls are counted."""
    command = pytest.importorskip("mdp_lite.app.command")
    rows: list[int] = []
    slow, forward = [0.0], UNet.predict

    def counting(self: UNet, x: Any, t: Any, c: Any, *attend: Any) -> Any:
        rows.append(len(x))
        time.sleep(slow[0])
        return forward(self, x, t, c, *attend)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UNet, "predict", counting)
        editor, folder = Editor.from_pretrained(device="cpu"), tmp_path_factory.mktemp("studio")
        studio = Studio(editor, folder, rivals=joins.rivals())
        studio.warm()
        blocks = command.launched(studio, "127.0.0.1", None)
        yield Served(str(blocks.local_url), studio, rows, slow)
        blocks.close(verbose=False)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's browser; its own is not downloaded."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def visited(context: Any, url: str) -> Watched:
    """The page in a context of a browser, all of it there."""
    page, urls, errors = context.new_page(), list[str](), list[str]()
    page.on("request", lambda request: urls.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(url)
    page.locator("#picture-edit").wait_for(timeout=120_000)
    return Watched(page, urls, errors)


Opens = Callable[..., Watched]


@pytest.fixture
def opens(served: Served, chromium: Any) -> Iterator[Opens]:
    """Opens the page as a new visitor, with settings of a browser context."""
    served.rows.clear()
    served.slow[0] = 0.0
    contexts = []

    def visit(**settings: Any) -> Watched:
        context = chromium.new_context(**{"viewport": DESK, **settings})
        contexts.append(context)
        context.set_default_timeout(120_000)  # a busy machine is slow, not broken
        return visited(context, served.url)

    yield visit
    for context in contexts:
        context.close()
