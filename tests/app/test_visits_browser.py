"""Visits through the page: a reload brings them back, and their end deletes all that they left."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from support.browsing import DESKTOP, BrowserPage, chromium, load_page
from support.studios import picture

__all__ = ["chromium"]  # a fixture
pytestmark = pytest.mark.browser
GRACE = 3.0  # seconds: a reload on a busy machine takes less


class ShortVisits(NamedTuple):
    """The address of a page whose visits end soon after their last page, and its studio."""

    url: str
    studio: Studio

    def list_files(self) -> list[Path]:
        """All files that visits and uploads left; gradio leaves an empty one for each upload."""
        found = list[Path]()
        for one in self.studio.folder.rglob("*"):
            with suppress(FileNotFoundError):  # it was deleted meanwhile
                found += [one] if one.is_file() and one.stat().st_size else []
        return found


@pytest.fixture(scope="module")
def short_visits(editor: Editor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShortVisits]:
    """The page of the tiny random model."""
    command = pytest.importorskip("mdp_lite.app.command")
    studio = Studio(editor, tmp_path_factory.mktemp("studio"), grace_seconds=GRACE)
    blocks = command.launch(studio, "127.0.0.1", None)
    yield ShortVisits(str(blocks.local_url), studio)
    blocks.close(verbose=False)
    studio.close()


Visit = Callable[[], BrowserPage]


@pytest.fixture
def visit(chromium: Any, short_visits: ShortVisits) -> Iterator[Visit]:
    """Opens the page as a new visitor."""
    contexts = list[Any]()

    def open_page() -> BrowserPage:
        context = chromium.new_context(viewport=DESKTOP)
        context.set_default_timeout(30_000)
        contexts.append(context)
        return load_page(context, short_visits.url)

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of a visitor."""
    path = tmp_path / "my-garden.png"
    picture(seed=time.monotonic_ns() % 2**32).save(path)
    return path


def edit(one: BrowserPage, photo: Path, prompt: str = "a blue boat") -> str:
    """Edit a picture; the address of the result."""
    one.upload(photo)
    one.edit("a red house", prompt)
    return find_result(one)


def find_result(one: BrowserPage) -> str:
    """The address of the picture on the stage."""
    image = one.page.locator("#stage [data-part=after]")
    image.wait_for()
    return image.evaluate("one => one.src")


def count_results(one: BrowserPage, count: int) -> None:
    """Wait until the strip has so many results."""
    script = f"document.querySelectorAll('#history li').length == {count}"
    one.page.wait_for_function(script)


def read_status(one: BrowserPage, url: str) -> int:
    """The status of an answer to a visitor's own request."""
    return one.page.request.get(url).status


def wait_until(is_true: Callable[[], bool]) -> None:
    """Wait for what the server does by itself."""
    end = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)


def test_a_reload_brings_the_visit_back(visit: Visit, photo: Path) -> None:
    one = visit()
    url = edit(one, photo)
    one.page.reload()
    one.page.locator("#stage .stage[data-state=done]").wait_for()
    assert find_result(one) == url and read_status(one, url) == 200
    count_results(one, 1)
    assert one.page.locator("#prompt textarea, #prompt input").first.input_value() == "a blue boat"
    one.page.locator("#picture [data-part=name]", has_text=photo.name).wait_for()
    time.sleep(1.5 * GRACE)  # the page that was reloaded left, and the visit stays
    assert read_status(one, url) == 200
    one.edit("a red house", "a green boat")  # and its source is still known
    count_results(one, 2)
    one.page.locator("#history [data-part=compare]").click()
    for tile in one.page.locator("#history li").all():
        tile.click()
    pair = one.page.locator("#stage", has_text="Result 2 and result 1")
    pair.wait_for()
    one.page.reload()  # what was shown is shown, not the last result
    pair.wait_for()
    one.check_clean()


def test_two_visitors_see_nothing_of_each_other_and_end_alone(
    visit: Visit, photo: Path, short_visits: ShortVisits
) -> None:
    one, two = visit(), visit()
    url = edit(one, photo)
    token = one.page.evaluate("sessionStorage.getItem('mdp-lite-visit')")
    assert f"/visit/{token}/" in url
    count_results(two, 0)
    assert two.page.locator("#stage .stage[data-state=empty]").is_visible()
    other = edit(two, photo)  # the same picture: one file of gradio's
    assert token not in two.page.content() and token not in other
    two.page.close()
    assert read_status(one, other) == 200  # the grace time runs
    wait_until(lambda: read_status(one, other) == 404)
    one.edit("a red house", "a green boat")  # the upload of both is still there
    count_results(one, 2)
    assert read_status(one, url) == 200
    assert any(photo.name == file.name for file in short_visits.list_files())
    one.check_clean()
    one.page.close()
    wait_until(lambda: short_visits.list_files() == [])
    assert read_status(one, url) == 404


def test_everything_is_deleted_when_asked(
    visit: Visit, photo: Path, short_visits: ShortVisits
) -> None:
    one = visit()
    url = edit(one, photo)
    archive = one.page.locator("#history [data-part=archive]").evaluate("one => one.href")
    assert read_status(one, archive) == 200
    one.page.locator("#history [data-part=clear]").click()
    one.page.locator("#history [data-part=really]").click()
    count_results(one, 0)
    one.page.locator("#stage .stage[data-state=empty]").wait_for()
    assert read_status(one, url) == read_status(one, archive) == 404
    wait_until(lambda: short_visits.list_files() == [])
    again = edit(one, photo)  # a new visit with new addresses, and the page knows its token
    assert read_status(one, again) == 200 and again.split("/visit/")[1][:32] not in url
    token = one.page.evaluate("sessionStorage.getItem('mdp-lite-visit')")
    assert f"/visit/{token}/" in again
    one.check_clean()
