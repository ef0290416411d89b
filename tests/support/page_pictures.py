"""Pictures of the page in every state, size and scheme, to look at one by one.

`PYTHONPATH=tests python -m support.page_pictures FOLDER`. examples/ has some of them.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from mdp_lite import joins
from mdp_lite.app import command
from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from mdp_lite.models.unet import UNet
from support.browsing import CHROMIUM, FIRST, SECOND, BrowserPage, load_page

SIZES = {"phone": (390, 844), "tablet": (768, 1024), "desktop": (1440, 900), "large": (2560, 1440)}
SCHEMES = "light", "dark"
TARGET = FIRST.prompt.replace("red", "blue")


@contextmanager
def slow_calls(seconds: float) -> Iterator[None]:
    """Calls of the UNet that take longer, so that a running page can be photographed."""
    predict = UNet.predict

    def wait_and_predict(self: UNet, *arguments: Any) -> Any:
        time.sleep(seconds)
        return predict(self, *arguments)

    UNet.predict = wait_and_predict  # type: ignore[method-assign]
    try:
        yield
    finally:
        UNet.predict = predict  # type: ignore[method-assign]


def take_all(browser: Any, url: str, folder: Path) -> None:
    """Every state at every size in both schemes."""
    for name, (width, height) in SIZES.items():
        for scheme in SCHEMES:
            size = {"width": width, "height": height}
            context = browser.new_context(viewport=size, color_scheme=scheme)
            other = browser.new_context(viewport=size)
            take_states(load_page(context, url), load_page(other, url), folder / f"{name}-{scheme}")
            context.close()
            other.close()


def take_states(one: BrowserPage, other: BrowserPage, start: Path) -> None:
    """The states of one visitor's page; the other visitor makes it wait."""

    def take(state: str, whole: bool = False) -> None:
        one.page.wait_for_timeout(400)  # what moves has come to rest
        one.page.screenshot(path=f"{start}-{state}.png", full_page=whole)

    take("empty")
    one.click("edit")
    one.wait_for_error("Give a picture first")
    take("error")
    one.take_example(FIRST.label)
    take("loaded")
    other.take_example(SECOND.label)
    with slow_calls(0.04):
        other.click("edit")
        other.wait_for_stage("running")
        one.click("edit")
        one.wait_for_stage("queued", "comes first")
        take("queued")
        one.wait_for_stage("running", "Editing")
        one.page.locator("#stage [data-part=preview]").wait_for()
        take("running")
    one.wait_for_stage("done")
    take("done")
    one.edit(FIRST.source_prompt, TARGET)
    for fold in ("Settings", "Explore"):
        one.open_fold(fold)
    one.click("make-sheet")
    one.page.locator("#explore-sheet .pick img").nth(8).wait_for()
    take("whole", whole=True)
    one.page.locator("#explore-fold").screenshot(path=f"{start}-explore.png")


def main(folder: Path) -> None:
    """Serve the bundled model's page, and write all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as files, sync_playwright() as driver:
        studio = Studio(
            Editor.from_pretrained(device="cpu"), Path(files), rivals=joins.build_rivals()
        )
        studio.warm_up()
        blocks = command.launch(studio, "127.0.0.1", None)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        take_all(browser, str(blocks.local_url), folder)
        browser.close()
        blocks.close(verbose=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
