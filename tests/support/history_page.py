"""A small page with the component history alone: its events change the results of one visit."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from mdp_lite.app.history import HistoryItem
from mdp_lite.app.sessions import Session, Sessions
from mdp_lite.pictures import images
from support.browsing import FIRST
from support.served_blocks import serve_blocks
from support.studios import REAL

PROMPTS = (
    "a blue boat on the water", "a red house, snow", "an orange tree in the center, cloudy night",
    "a green house", "a yellow boat in the center, water, clear sunset with no sun",
)  # fmt: skip


class HistoryPage(NamedTuple):
    """The address of the page, its visit, and the events that Python got."""

    url: str
    visit: Session
    events: list[tuple[str, dict[str, Any]]]


def add_result(visit: Session, prompt: str, **settings: Any) -> HistoryItem:
    """A result without a run: an example in another colour."""
    folder = visit.history.make_folder()
    files = folder / "source.png", folder / "edited.png"
    house = Image.open(FIRST.file).convert("RGB")
    turned = house.convert("HSV")
    hue = turned.getchannel("H").point(lambda v: (v + 40 * len(visit.history)) % 256)
    turned = Image.merge("HSV", (hue, *turned.split()[1:])).convert("RGB")
    for file, picture in zip(files, (house, turned), strict=True):
        images.save_png(picture, file, {"prompt": prompt})
    form = replace(REAL, prompt=prompt, **settings)
    return visit.history.add(form, *files, None, "house.png", 1.25, 70)


@pytest.fixture(scope="module")
def history_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HistoryPage]:
    """The component on a page, served by this process; it shows one visit to everybody."""
    gr = pytest.importorskip("gradio")
    from mdp_lite.app.components.history import build_history, history_value
    from mdp_lite.app.picture_route import PictureRoute

    sessions = Sessions(Path(tmp_path_factory.mktemp("visits")))
    page = HistoryPage("", sessions.get_or_create("page"), [])
    history = page.visit.history
    acts: dict[str, Callable[[dict[str, Any]], Any]] = {
        "select": lambda data: history.show(data["id"]),
        "option_select": lambda data: history.choose_pair(data["ids"]),
        "apply": lambda data: history.get(data["id"]),
        "like": lambda data: history.like(data["id"]),
        "delete": lambda data: history.remove(data["id"]),
        "undo": lambda data: history.undo(),
        "retry": lambda data: history.redo(),
        "clear": lambda data: [history.remove(one.id) for one in history],
    }

    def answer(name: str) -> Any:
        def listen(event: gr.EventData) -> Any:
            data = dict(event._data or {})
            page.events.append((name, data))
            acts[name](data)
            return history_value(page.visit)

        return listen

    def build() -> Any:
        with gr.Blocks(analytics_enabled=False) as blocks:
            with gr.Column(elem_id="column"):
                strip = build_history()
            gr.Textbox(label="words", elem_id="words")
            refresh = gr.Button("Refresh", elem_id="refresh")
            for name in acts:
                getattr(strip, name)(answer(name), None, strip, show_progress="hidden")
            events = [blocks.load, refresh.click]
            gr.on(events, lambda: history_value(page.visit), None, strip, show_progress="hidden")
        return blocks

    middleware = [(PictureRoute, (), {"sessions": sessions})]
    with serve_blocks(build, app_kwargs={"middleware": middleware}) as url:
        yield page._replace(url=url)
    sessions.close()
