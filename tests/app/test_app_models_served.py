"""The page's models under the service: lent from its pool, beside requests for other models."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from mdp_lite.app.models import offer_several
from mdp_lite.app.studio import Studio
from mdp_lite.names import Stopped
from mdp_lite.pictures import images
from support.served_models import Zoo, ask_for, build_zoo, generate_alone, read_picture
from support.serving import WAIT, RunningService, is_idle, run_service, wait_until
from support.studios import REAL, edit, picture


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return build_zoo(tmp_path_factory.mktemp("zoo"))


def open_studio(at: RunningService, folder: Path) -> Studio:
    """What the page under /app has."""
    service = at.service
    menu = offer_several(service.editor, service.settings.alias, service.make_lender())
    return Studio(service.editor, folder, service.borrow_editor, menu=menu)


def edit_alone(zoo: Zoo, alias: str) -> bytes:
    editor = zoo.editor(alias)
    source = editor.invert(picture(), REAL.source_prompt, REAL.method, REAL.steps)
    done = editor.edit(source, REAL.prompt, strength=REAL.strength, guidance_scale=3.0)
    return done.picture.tobytes()


def test_visitors_and_requests_share_the_pool(zoo: Zoo, tmp_path: Path) -> None:
    """There is room for a, and for b or c: a page's b and a request's c take turns."""
    with run_service(zoo.editor("a"), **zoo.settings(2.5)) as at:
        studio = open_studio(at, tmp_path)
        assert [one.alias for one in studio.models] == ["a", "b", "c"]
        assert "null-text" not in studio.methods  # it needs gradients, which no batcher gives

        def visit(alias: str) -> bytes:
            visitor = studio.sessions.get_or_create(alias)
            studio.choose(visitor, alias)
            return images.open_picture(edit(studio, visitor, REAL)[0].edit_file).tobytes()

        def ask(alias: str) -> bytes:
            url = f"{at.url}/v1/images/generations"
            answer = httpx2.post(url, json=ask_for(alias), timeout=WAIT)
            return read_picture(answer.json()).tobytes()

        with ThreadPoolExecutor(6) as threads:
            pages = [threads.submit(visit, alias) for alias in "abc"]
            requests = [threads.submit(ask, alias) for alias in "cba"]
            got = [one.result(WAIT) for one in (*pages, *requests)]
        want = [edit_alone(zoo, alias) for alias in "abc"]
        want += [generate_alone(zoo.editor(alias)).tobytes() for alias in "cba"]
        assert got == want
        assert sum(at.service.pool.bytes.values()) <= at.service.pool.bound
        wait_until(lambda: is_idle(at.service))
    with pytest.raises(Stopped), studio.menu.get("b").lend(lambda progress: None):
        pass
    studio.close()
