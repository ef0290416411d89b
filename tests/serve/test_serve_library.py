"""Sources by id in services that share a cache folder: found by any, made anew, gone for all."""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mdp_lite.editor import Editor
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.serve.recipes import Recipes, from_bytes, to_bytes
from mdp_lite.serve.settings import Limits
from mdp_lite.serve.work import Drawn, Inverted
from mdp_lite.store.cache import Cache
from support.inverting import picture
from support.serving import KEY, OTHER, WAIT, Served, file_of, idle, opened, served, until

FILE = file_of(picture())
SAID = {"source_prompt": "a red house", "num_inference_steps": "4"}
DRAWN = Drawn("a red house", 3, 4, None, "", (40, 24))
INVERTED = Inverted(
    picture(2, 40, 24), "a häuse \ud800", Inversion("ddim", inversion_steps=9), None, 2.5, "x",
    (32, 32), "pad",
)  # fmt: skip
Open = Callable[..., Served]


@pytest.fixture
def start(editor: Editor, tmp_path: Path) -> Iterator[Open]:
    """Services with a cache folder each, which is one and the same unless it is named."""
    with ExitStack() as stack:

        def begin(folder: str | None = "shared", **settings: Any) -> Served:
            cache = Cache(tmp_path / folder) if folder else None
            one = Editor(editor.models, editor.device, cache)
            return stack.enter_context(served(one, keys=(KEY, OTHER), **settings))

        yield begin


def ask(at: Served, method: str, path: str, key: str = KEY, **said: Any) -> httpx2.Response:
    head = {"Authorization": f"Bearer {key}"}
    return httpx2.request(method, f"{at.url}/v1/{path}", headers=head, timeout=WAIT, **said)


def make(at: Served, **said: Any) -> dict[str, Any]:
    answer = ask(at, "POST", "sources", data=SAID, files={"image": FILE}, **said)
    assert answer.status_code == 200, answer.text
    return answer.json()


def edit(at: Served, name: str) -> bytes:
    answer = ask(at, "POST", f"sources/{name}/edits", json={"prompt": "a boat"})
    assert answer.status_code == 200, answer.text
    return opened(base64.b64decode(answer.json()["data"][0]["b64_json"])).tobytes()


def rows(at: Served) -> int:
    return at.service.desk.rows


def rebuilt(at: Served) -> float:
    return at.service.metrics.rebuilt._value.get()


def gone(at: Served, name: str, key: str = KEY) -> bool:
    answer = ask(at, "GET", f"sources/{name}", key)
    assert answer.status_code in (200, 404)
    return answer.status_code == 404


def test_what_one_made_the_other_finds(start: Open) -> None:
    a, b = start(), start()
    made = make(a)
    before = rows(b)
    got = ask(b, "GET", f"sources/{made['id']}").json()
    assert got == made | {"usage": got["usage"]} and got["usage"]["total_tokens"] == 0
    assert rows(b) == before and rebuilt(b) == 1  # the cache has the path
    assert edit(b, made["id"]) == edit(a, made["id"])
    sweep = ask(b, "POST", "sweeps", json={"source": made["id"], "prompts": ["a boat"]})
    assert sweep.status_code == 200
    assert (rebuilt(a), rebuilt(b)) == (0, 1)
    until(lambda: idle(b.service))


def test_what_the_cache_has_dropped_is_made_anew(start: Open, tmp_path: Path) -> None:
    a = start()
    made, drawn = make(a), ask(a, "POST", "sources", data=SAID | {"seed": "5"}).json()
    want = [edit(a, one["id"]) for one in (made, drawn)]
    for path in (tmp_path / "shared").glob("source-*"):
        path.unlink()
    b = start()  # as after a restart, too
    before = rows(b)
    assert [edit(b, one["id"]) for one in (made, drawn)] == want
    assert rows(b) > before and rebuilt(b) == 2


def test_what_one_forgets_is_gone_for_all(start: Open) -> None:
    a, b = start(), start()
    name = make(a)["id"]
    assert ask(b, "DELETE", f"sources/{name}").status_code == 200
    assert gone(a, name) and gone(b, name) and len(a.service.store) == 0
    assert ask(a, "DELETE", f"sources/{name}").status_code == 404


def test_another_s_is_not_there(start: Open) -> None:
    a, b = start(), start()
    name = make(a)["id"]
    assert gone(a, name, OTHER) and gone(b, name, OTHER)
    assert ask(b, "DELETE", f"sources/{name}", OTHER).status_code == 404
    assert not gone(b, name)


def test_without_a_folder_an_unknown_id_is_told_clearly(start: Open) -> None:
    a, b = start(None, replicas=2), start(None, replicas=2)
    name = make(a)["id"]
    assert not gone(a, name)
    answer = ask(b, "POST", f"sources/{name}/edits", json={"prompt": "a boat"})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "source_not_found" and error["param"] == "source"
    assert "another replica has it" in error["message"] and "--cache" in error["message"]
    alone = ask(start(None), "GET", f"sources/{name}").json()["error"]
    assert "replica" not in alone["message"]


def test_a_source_that_can_t_be_kept_is_refused(start: Open, tmp_path: Path) -> None:
    a = start()
    (tmp_path / "shared").mkdir(exist_ok=True)
    (tmp_path / "shared" / "recipes").write_text("in the way")
    answer = ask(a, "POST", "sources", data=SAID, files={"image": FILE})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "source_not_kept")
    assert "retry-after" in answer.headers and len(a.service.store) == 0


def test_a_damaged_recipe_is_no_source(start: Open, tmp_path: Path) -> None:
    a, b = start(), start()
    name = make(a)["id"]
    (path,) = (tmp_path / "shared" / "recipes").glob("*/*")
    assert name not in str(path) and KEY not in str(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:20], whole[:-1], whole + b"x", b"{}\n", b"\xff\n"):
        path.write_bytes(damaged)
        assert gone(b, name)


@pytest.mark.parametrize("origin", [DRAWN, INVERTED, INVERTED._replace(size=None)])
def test_a_recipe_comes_back_as_it_was(origin: Drawn | Inverted) -> None:
    assert from_bytes(to_bytes(origin)) == origin


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def shelf(editor: Editor, folder: Path, clock: Clock, **limits: Any) -> Recipes:
    return Recipes(Cache(folder), editor.runner, Limits(**limits), clock)


def test_a_recipe_stays_while_anybody_uses_it(editor: Editor, tmp_path: Path) -> None:
    clock = Clock()
    a, b = (shelf(editor, tmp_path, clock, seconds=10) for _ in range(2))
    a.put("x", "", DRAWN)
    for one in (a, b, a):
        clock.now += 9
        assert one.get("x", "") == DRAWN
    clock.now += 11
    assert a.get("x", "") is None and not b.used("x", "")
    a.put("y", "", DRAWN)
    assert len(list(tmp_path.glob("recipes/*/*"))) == 1  # what is over is removed


def test_recipes_are_bounded_and_nobody_pushes_out_the_others(
    editor: Editor, tmp_path: Path
) -> None:
    clock = Clock()
    for bound in ({"sources": 4}, {"source_bytes": 4 * len(to_bytes(DRAWN))}):
        folder = tmp_path / next(iter(bound))
        one = shelf(editor, folder, clock, **bound)
        for name, owner in [("mine", "a"), *((str(k), "b") for k in range(8))]:
            clock.now += 1
            one.put(name, owner, DRAWN)
        assert one.used("mine", "a") and not one.used("mine", "b")
        assert [k for k in range(8) if one.used(str(k), "b")] == [5, 6, 7]


def test_another_model_s_recipes_are_not_found(
    editor: Editor, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tiny = Editor.from_pretrained("tiny", device="cpu")
    shelf(editor, tmp_path, Clock()).put("x", "", DRAWN)
    assert shelf(editor, tmp_path, Clock()).used("x", "")
    assert not shelf(tiny, tmp_path, Clock()).used("x", "")
