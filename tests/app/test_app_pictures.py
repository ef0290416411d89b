"""The addresses of a visit's pictures: who gets which file, and who gets 404."""

import asyncio
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from mdp_lite.app.guard import Message
from mdp_lite.app.picture_route import PictureRoute, strip_mount
from mdp_lite.app.sessions import Session, Sessions
from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from support.studios import REAL, edit, picture, studio

__all__ = ["studio"]  # a fixture

SECRET = b"not for visitors"


@pytest.fixture
def visit(tmp_path: Path) -> Session:
    """A visit with one picture, and files that are not for visitors."""
    session = Sessions(tmp_path / "sessions").get_or_create("page")
    images.save_png(picture(), session.make_folder("explore") / "1.png", None)
    (session.folder / "notes.txt").write_bytes(SECRET)
    (tmp_path / "secret.png").write_bytes(SECRET)
    (session.folder / "link.png").symlink_to(tmp_path / "secret.png")
    (session.folder / "folder").symlink_to(tmp_path)
    (session.folder / "folder.png").mkdir()
    return session


class Answer(NamedTuple):
    """An answer of the route; status 0: another application's."""

    status: int
    headers: dict[str, str]
    content: bytes


Ask = Callable[..., Answer]


@pytest.fixture
def ask(visit: Session, tmp_path: Path) -> Ask:
    """Sends a path as a server gives it to an application: decoded, and never normalized."""
    sessions = Sessions(tmp_path)
    sessions._visits[visit.token] = visit

    def send_path(path: str, method: str = "GET", query: bytes = b"") -> Answer:
        messages = list[Message]()

        async def other(scope: Message, receive: Any, send: Any) -> None:
            await send({"status": 0, "headers": []})

        async def send(message: Message) -> None:
            messages.append(message)

        scope = {"type": "http", "method": method, "path": path, "query_string": query}
        asyncio.run(PictureRoute(other, sessions)(scope, None, send))  # type: ignore[arg-type]
        headers = {key.decode(): value.decode() for key, value in messages[0]["headers"]}
        body = b"".join(one.get("body", b"") for one in messages[1:])
        return Answer(messages[0]["status"], headers, body)

    return send_path


def test_a_picture_is_served_whole_and_never_stored(ask: Ask, visit: Session) -> None:
    file = visit.folder / "explore-1" / "1.png"
    answer = ask("/" + visit.url_of(file))
    assert answer.status == 200 and answer.content == file.read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(file.stat().st_size)
    assert answer.headers["cache-control"] == "private, no-store"
    assert "content-disposition" not in answer.headers
    head = ask("/" + visit.url_of(file), "HEAD")
    assert head.status == 200 and head.content == b""
    assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize(
    "path",
    [
        "", "explore-1", "explore-1/2.png", "notes.txt", "explore-1/1.PNG", "link.png",
        "folder/secret.png", "folder.png", "../../secret.png", "..%2f..%2fsecret.png",
        "explore-1/../../../secret.png", "explore-1/./1.png", "explore-1//1.png",
        "explore-1%2f..%2fexplore-1/1.png", "%2e%2e/%2e%2e/secret.png", "..%5c..%5csecret.png",
        "C:secret.png", "1%00.png", "x" * 5000 + ".png", "\udcff.png",
        "..\\..\\secret.png", "1\0.png", "explore-1/1.png/", "/explore-1/1.png", " ", ".png",
    ],
)  # fmt: skip
def test_nothing_else_is_served(ask: Ask, visit: Session, path: str) -> None:
    answer = ask(f"/visit/{visit.token}/{path}")
    assert answer.status == 404 and SECRET not in answer.content


def test_an_absolute_path_is_not_served(ask: Ask, visit: Session, tmp_path: Path) -> None:
    for path in (tmp_path / "secret.png", visit.folder / "explore-1" / "1.png"):
        assert ask(f"/visit/{visit.token}/{path}").status == 404


@pytest.mark.parametrize("token", ["", "!", "..", "\0"])
def test_a_wrong_token_is_404(ask: Ask, visit: Session, token: str) -> None:
    for end in ("explore-1/1.png", "all.zip"):
        right = ask(f"/visit/{visit.token}/{end}")
        assert right.status == 200
        wrong = ask(f"/visit/{visit.token[:-1]}{token}/{end}")
        assert wrong.status == 404


def test_other_paths_and_methods(ask: Ask, visit: Session) -> None:
    assert ask("/").status == ask("/visits/x").status == ask("/visit").status == 0
    answer = ask(f"/visit/{visit.token}/explore-1/1.png", "POST")
    assert answer.status == 405 and answer.headers["allow"] == "GET, HEAD"


def test_a_download_has_a_good_name(ask: Ask, studio: Studio, visit: Session) -> None:
    for prompt in ("a blue boat", "ein grünes Haus"):
        folder = visit.history.make_folder()
        images.save_png(picture(), folder / "edited.png", {"prompt": prompt})
        form = replace(REAL, prompt=prompt)
        visit.history.add(form, folder / "edited.png", folder / "edited.png", None, None, 1, 1)
    names = []
    for item in visit.history:
        answer = ask("/" + visit.url_of(item.edit_file), query=b"download=1")
        names.append(unquote(answer.headers["content-disposition"].split("''")[1]))
    assert names == ["mdp_lite-1-a-blue-boat.png", "mdp_lite-2-ein-grünes-haus.png"]
    thumb_file = next(iter(visit.history)).thumb_file
    thumb = ask("/" + visit.url_of(thumb_file), query=b"a=2&download=1")
    assert "mdp_lite-results-1-thumb.png" in thumb.headers["content-disposition"]


def test_all_results_come_as_one_zip(ask: Ask, studio: Studio, visit: Session) -> None:
    result, _ = edit(studio, visit, REAL)
    answer = ask("/" + visit.archive_url)
    assert answer.headers["content-type"] == "application/zip"
    assert "mdp_lite-all.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        name = "mdp_lite-1-a-blue-boat.png"
        assert archive.namelist() == [name, "settings.json"]
        assert archive.read(name) == result.edit_file.read_bytes()
    assert ask("/" + visit.archive_url, "HEAD").content == b""


@pytest.mark.parametrize(
    "path, root, want",
    [
        ("/app/visit/x", "/app", "/visit/x"), ("/visit/x", "", "/visit/x"),
        ("/visit/x", "/proxy", "/visit/x"),  # a proxy that takes its prefix off
        ("/application/visit/x", "/app", "/application/visit/x"),
    ],
)  # fmt: skip
def test_the_path_of_a_mount_is_no_part_of_the_address(path: str, root: str, want: str) -> None:
    assert strip_mount({"path": path, "root_path": root}) == want


@pytest.mark.parametrize("mount", ["", "/app"], ids=["alone", "mounted"])
@pytest.mark.browser  # a real application, though no browser
def test_the_page_serves_them_until_the_visit_ends(
    mount: str, editor: Editor, tmp_path: Path
) -> None:
    page = pytest.importorskip("mdp_lite.app.page")
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    studio = Studio(editor, tmp_path)
    visit = studio.sessions.get_or_create("page")
    edit(studio, visit, REAL)
    (item,) = visit.history
    with TestClient(page.mount_page(FastAPI(), studio, mount or "/")) as client:
        url = f"{mount}/{visit.url_of(item.edit_file)}"
        answer = client.get(url)
        assert answer.status_code == 200 and answer.content == item.edit_file.read_bytes()
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert client.get(f"{mount}/").status_code == 200
        studio.sessions.drop("page")
        assert client.get(url).status_code == 404
