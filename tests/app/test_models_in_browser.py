"""Several models on the whole page, in a browser: choosing, loading, going back, two visitors."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.app.models import offer_several
from mdp_lite.app.studio import Studio
from mdp_lite.cli.model_options import ModelOptions
from mdp_lite.editor import Editor
from mdp_lite.model_pool.local_pool import PoolSettings, run_pool
from mdp_lite.model_pool.specs import ModelSpec
from mdp_lite.pictures import images
from support.browsing import DESKTOP, FIRST, BrowserPage, chromium, load_page
from support.checkpoints import write_checkpoint

__all__ = ["chromium"]  # a fixture
pytestmark = pytest.mark.browser
SLOW = 1.0  # seconds that a load takes longer, so that the page can be seen meanwhile


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of the bundled model and of small, a random one that is loaded slowly."""
    command = pytest.importorskip("mdp_lite.app.command")
    folder = tmp_path_factory.mktemp("zoo")
    write_checkpoint(folder / "small")
    editor, load = Editor.from_pretrained("tiny", device="cpu"), ModelSpec.load
    spec = ModelSpec("small", ModelOptions(name=str(folder / "small"), device="cpu"))
    settings = PoolSettings("tiny", ModelSpec("tiny", ModelOptions(device="cpu")), (spec,))
    with pytest.MonkeyPatch.context() as patch, run_pool(editor, settings) as lender:
        patch.setattr(ModelSpec, "load", lambda self, loras: time.sleep(SLOW) or load(self))
        menu = offer_several(editor, "tiny", lender)
        studio = Studio(editor, tmp_path_factory.mktemp("studio"), menu=menu)
        studio.warm_up()
        blocks = command.launch(studio, "127.0.0.1", None)
        yield str(blocks.local_url)
        blocks.close(verbose=False)
        studio.close()


@pytest.fixture
def visitors(url: str, chromium: Any) -> Iterator[list[BrowserPage]]:
    """Two visitors; neither page may have an error, or ask another machine."""
    pages = []
    for _ in range(2):
        context = chromium.new_context(viewport=DESKTOP)
        context.set_default_timeout(30_000)
        pages.append(load_page(context, url))
    yield pages
    for one in pages:
        one.check_clean()
        one.page.context.close()


def choose(visitor: BrowserPage, name: str) -> None:
    visitor.page.locator("#model [data-part=open]").click()
    visitor.page.get_by_role("option").filter(has_text=name).click()
    wait_for_model(visitor, name)


def wait_for_model(visitor: BrowserPage, name: str) -> None:
    option = visitor.page.locator(f'#model li[data-id="{name}"][aria-selected=true]')
    option.wait_for(state="attached")


def test_a_visitor_edits_by_another_model_and_goes_back(
    visitors: list[BrowserPage], tmp_path: Path
) -> None:
    one, other = visitors
    one.take_example(FIRST.label)
    one.run()
    first = one.download(tmp_path)
    prompt = one.page.locator("#prompt textarea, #prompt input").first.input_value()
    choose(one, "small")
    assert one.page.locator("#prompt textarea, #prompt input").first.input_value() == prompt
    one.click("edit")
    one.wait_for_stage("running", "Loading small: 384 kB")
    one.wait_for_stage("done", "The edit took")
    (tmp_path / "second").mkdir()
    second = one.download(tmp_path / "second")
    names = [images.read_settings(path)["model"] for path in (first, second)]
    assert names == ["tiny", "small"]
    one.page.get_by_role("option", name="Result 1").first.click()
    wait_for_model(one, "tiny")  # the model that made it
    wait_for_model(other, "tiny")  # which this visitor always had
    other.give_file(second)
    other.page.get_by_role("button", name="Use small").click()
    wait_for_model(other, "small")
