"""Sources by id in services with one cache folder: found by all, made again, deleted for all."""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mdp_lite.editor import Editor
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.serve.recipes import RecipeStore, from_bytes, to_bytes
from mdp_lite.serve.settings import Limits
from mdp_lite.serve.work import PictureRecipe, PromptRecipe, Recipe
from mdp_lite.store.cache import Cache
from support.inverting import picture
from support.serving import (
    KEY,
    OTHER,
    WAIT,
    ManualClock,
    RunningService,
    file_of,
    is_idle,
    read_image,
    run_service,
    wait_until,
)

FILE = file_of(picture())
FORM = {"source_prompt": "a red house", "num_inference_steps": "4"}
BY_PROMPT = PromptRecipe("a red house", 3, 4, None, "", (40, 24))
BY_PICTURE = PictureRecipe(
    picture(2, 40, 24), "a häuse \ud800", Inversion("ddim", inversion_steps=9), None, 2.5, "x",
    (32, 32), "pad",
)  # fmt: skip
StartService = Callable[..., RunningService]


@pytest.fixture
def start(editor: Editor, tmp_path: Path) -> Iterator[StartService]:
    """Start services; they share one cache folder unless another, or None, is given."""
    with ExitStack() as stack:

        def begin(folder: str | None = "shared", **settings: Any) -> RunningService:
            cache = Cache(tmp_path / folder) if folder else None
            one = Editor(editor.models, editor.device, cache)
            return stack.enter_context(run_service(one, keys=(KEY, OTHER), **settings))

        yield begin


def ask(at: RunningService, method: str, path: str, key: str = KEY, **more: Any) -> httpx2.Response:
    head = {"Authorization": f"Bearer {key}"}
    return httpx2.request(method, f"{at.url}/v1/{path}", headers=head, timeout=WAIT, **more)


def make(at: RunningService, **more: Any) -> dict[str, Any]:
    answer = ask(at, "POST", "sources", data=FORM, files={"image": FILE}, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def edit(at: RunningService, name: str) -> bytes:
    answer = ask(at, "POST", f"sources/{name}/edits", json={"prompt": "a boat"})
    assert answer.status_code == 200, answer.text
    return read_image(base64.b64decode(answer.json()["data"][0]["b64_json"])).tobytes()


def count_rows(at: RunningService) -> int:
    return at.service.batcher.rows


def count_rebuilt(at: RunningService) -> float:
    return at.service.metrics.rebuilt._value.get()


def is_gone(at: RunningService, name: str, key: str = KEY) -> bool:
    answer = ask(at, "GET", f"sources/{name}", key)
    assert answer.status_code in (200, 404)
    return answer.status_code == 404


def test_one_service_finds_the_source_of_another(start: StartService) -> None:
    a, b = start(), start()
    made = make(a)
    before = count_rows(b)
    got = ask(b, "GET", f"sources/{made['id']}").json()
    assert made.pop("ignored") == {}  # it is about the request that made the source
    assert got == made | {"usage": got["usage"]} and got["usage"]["total_tokens"] == 0
    assert count_rows(b) == before and count_rebuilt(b) == 1  # from the cache, without the UNet
    assert edit(b, made["id"]) == edit(a, made["id"])
    sweep = ask(b, "POST", "sweeps", json={"source": made["id"], "prompts": ["a boat"]})
    assert sweep.status_code == 200
    assert (count_rebuilt(a), count_rebuilt(b)) == (0, 1)
    wait_until(lambda: is_idle(b.service))


def test_a_source_that_the_cache_has_dropped_is_made_again(
    start: StartService, tmp_path: Path
) -> None:
    a = start()
    made, generated = make(a), ask(a, "POST", "sources", data=FORM | {"seed": "5"}).json()
    want = [edit(a, one["id"]) for one in (made, generated)]
    for path in (tmp_path / "shared").glob("source-*"):
        path.unlink()
    b = start()  # as after a restart, too
    before = count_rows(b)
    assert [edit(b, one["id"]) for one in (made, generated)] == want
    assert count_rows(b) > before and count_rebuilt(b) == 2


def test_a_source_that_one_deletes_is_gone_for_all(start: StartService) -> None:
    a, b = start(), start()
    name = make(a)["id"]
    assert ask(b, "DELETE", f"sources/{name}").status_code == 200
    assert is_gone(a, name) and is_gone(b, name) and len(a.service.store) == 0
    assert ask(a, "DELETE", f"sources/{name}").status_code == 404


def test_the_source_of_another_owner_is_not_found(start: StartService) -> None:
    a, b = start(), start()
    name = make(a)["id"]
    assert is_gone(a, name, OTHER) and is_gone(b, name, OTHER)
    assert ask(b, "DELETE", f"sources/{name}", OTHER).status_code == 404
    assert not is_gone(b, name)


def test_without_a_folder_the_error_of_an_unknown_id_says_why(start: StartService) -> None:
    a, b = start(None, replicas=2), start(None, replicas=2)
    name = make(a)["id"]
    assert not is_gone(a, name)
    answer = ask(b, "POST", f"sources/{name}/edits", json={"prompt": "a boat"})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "source_not_found" and error["param"] == "source"
    assert "another replica has it" in error["message"] and "--cache" in error["message"]
    alone = ask(start(None), "GET", f"sources/{name}").json()["error"]
    assert "replica" not in alone["message"]


def test_a_source_that_can_t_be_kept_is_refused(start: StartService, tmp_path: Path) -> None:
    a = start()
    (tmp_path / "shared").mkdir(exist_ok=True)
    (tmp_path / "shared" / "recipes").write_text("in the way")
    answer = ask(a, "POST", "sources", data=FORM, files={"image": FILE})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "source_not_kept")
    assert "retry-after" in answer.headers and len(a.service.store) == 0


def test_a_damaged_recipe_is_no_source(start: StartService, tmp_path: Path) -> None:
    a, b = start(), start()
    name = make(a)["id"]
    (path,) = (tmp_path / "shared" / "recipes").glob("*/*")
    assert name not in str(path) and KEY not in str(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:20], whole[:-1], whole + b"x", b"{}\n", b"\xff\n"):
        path.write_bytes(damaged)
        assert is_gone(b, name)


@pytest.mark.parametrize("recipe", [BY_PROMPT, BY_PICTURE, BY_PICTURE._replace(size=None)])
def test_a_recipe_comes_back_as_it_was(recipe: Recipe) -> None:
    assert from_bytes(to_bytes(recipe)) == recipe


def open_recipes(editor: Editor, folder: Path, clock: ManualClock, **limits: Any) -> RecipeStore:
    return RecipeStore(Cache(folder), editor.runner, Limits(**limits), clock)


def test_a_recipe_lasts_while_anybody_uses_it(editor: Editor, tmp_path: Path) -> None:
    clock = ManualClock()
    a, b = (open_recipes(editor, tmp_path, clock, seconds=10) for _ in range(2))
    a.put("x", "", BY_PROMPT)
    for one in (a, b, a):
        clock.now += 9
        assert one.get("x", "") == BY_PROMPT
    clock.now += 11
    assert a.get("x", "") is None and not b.mark_used("x", "")
    a.put("y", "", BY_PROMPT)
    assert len(list(tmp_path.glob("recipes/*/*"))) == 1  # the expired one is removed


def test_recipes_are_bounded_and_no_owner_evicts_others(editor: Editor, tmp_path: Path) -> None:
    clock = ManualClock()
    for bound in ({"sources": 4}, {"source_bytes": 4 * len(to_bytes(BY_PROMPT))}):
        folder = tmp_path / next(iter(bound))
        one = open_recipes(editor, folder, clock, **bound)
        for name, owner in [("mine", "a"), *((str(k), "b") for k in range(8))]:
            clock.now += 1
            one.put(name, owner, BY_PROMPT)
        assert one.mark_used("mine", "a") and not one.mark_used("mine", "b")
        assert [k for k in range(8) if one.mark_used(str(k), "b")] == [5, 6, 7]


def test_another_model_s_recipes_are_not_found(
    editor: Editor, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tiny = Editor.from_pretrained("tiny", device="cpu")
    open_recipes(editor, tmp_path, ManualClock()).put("x", "", BY_PROMPT)
    assert open_recipes(editor, tmp_path, ManualClock()).mark_used("x", "")
    assert not open_recipes(tiny, tmp_path, ManualClock()).mark_used("x", "")
