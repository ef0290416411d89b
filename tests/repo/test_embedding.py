"""The services of docs/embedding.md do what the page says, and a newcomer's script works."""

import ast
import asyncio
import gc
import io
import re
import runpy
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import mdp_lite
from mdp_lite import Client, Editor, client_editor, run_batcher
from support.pages import find_blocks
from support.places import ROOT

PAGE = (ROOT / "docs" / "embedding.md").read_text("utf-8")
BLOCKS = [one for one in find_blocks(PAGE) if one.language == "python"]
THREADS, ASYNCIO = BLOCKS[:2]
SCRIPT = ROOT / "examples" / "twenty_edits.py"
WAIT = 60
WORK = ("a red house", "a blue house")


def squeeze(text: str) -> str:
    """A text on one line, without the marks of a quotation."""
    return " ".join(text.replace("\n> ", "\n").split())


def load_definitions(code: str, editor: Editor) -> SimpleNamespace:
    """The imports, functions and empty dicts of a block, without what it runs."""
    tree = ast.parse(code)
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.Assign)
    tree.body = [one for one in tree.body if isinstance(one, kinds)]
    names: dict[str, Any] = {"editor": editor}
    exec(compile(tree, "embedding.md", "exec"), names)
    return SimpleNamespace(**names)


@pytest.fixture(scope="module")
def tiny() -> Editor:
    return Editor.from_pretrained("tiny", device="cpu")


@pytest.fixture(scope="module")
def picture(tiny: Editor) -> bytes:
    """The bytes of a file, as a service gets them."""
    file = io.BytesIO()
    tiny.generate("a red house", num_inference_steps=4).image.save(file, "png")
    return file.getvalue()


@pytest.fixture
def service(tiny: Editor) -> SimpleNamespace:
    return load_definitions(THREADS.code, tiny)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as workers:
        yield workers


@pytest.mark.parametrize("block", [THREADS, ASYNCIO], ids=["threads", "asyncio"])
def test_a_service_has_at_most_40_lines(block: Any) -> None:
    assert 20 < len(block.code.splitlines()) <= 40
    for part in ("warm_up(", "Client(deadline=", "client.left()", "on_step=", "run_batcher("):
        assert part in block.code


def test_all_that_the_page_imports_is_public() -> None:
    code = "\n".join([*(one.code for one in BLOCKS), SCRIPT.read_text("utf-8")])
    found = [one for one in ast.walk(ast.parse(code)) if isinstance(one, ast.ImportFrom)]
    ours = [one for one in found if (one.module or "").startswith("mdp_lite")]
    assert {one.module for one in ours} == {"mdp_lite"}
    assert {name.name for one in ours for name in one.names} <= set(mdp_lite.__all__)


def test_the_script_uses_what_pages_name() -> None:
    tree = ast.parse(SCRIPT.read_text("utf-8"))
    names = {one.attr for one in ast.walk(tree) if isinstance(one, ast.Attribute)}
    text = PAGE + "".join(str(one.__doc__) for one in (Editor, mdp_lite.Edit, mdp_lite.Cost))
    fields = {"prompt"} | {"result", "join"}  # of Request and Edit; of Python
    assert names - fields <= set(re.findall(r"\w+", text))


def test_the_rule_for_threads_stands_once() -> None:
    """The page quotes it from the docstring; other pages refer to this one."""
    text = squeeze(str(Editor.__doc__))
    rule = text[text.index("Any number of threads") : text.index(" Errors are an MdpError")]
    assert rule in squeeze(PAGE)
    others = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    words = re.compile(r"let one thread call|worker threads for every", re.I)
    found = [path.name for path in others if words.search(squeeze(path.read_text("utf-8")))]
    assert found == ["embedding.md"]


def test_a_picture_and_its_progress(
    tiny: Editor, service: SimpleNamespace, pool: ThreadPoolExecutor, picture: bytes
) -> None:
    steps: list[tuple[int, int]] = []
    with run_batcher(tiny, 8) as batcher:
        client = Client(deadline=WAIT)
        on_step = lambda done, total, latent: steps.append((done, total))  # noqa: E731
        future = pool.submit(service.make_edit, batcher, client, picture, *WORK, on_step)
        status, image = service.answer(future)
    assert status == 200 and isinstance(image, Image.Image)
    assert steps[0] == (1, 50) and steps[-1] == (50, 50) and client.rows > 100


def test_errors_are_typed(
    tiny: Editor, service: SimpleNamespace, pool: ThreadPoolExecutor, picture: bytes
) -> None:
    def ask(seconds: float | None, picture: Any, cancel: bool = False) -> tuple[int, Any]:
        client = Client(deadline=seconds)
        if cancel:
            batcher.stop(client)
        return service.answer(pool.submit(service.make_edit, batcher, client, picture, *WORK))

    with run_batcher(tiny, 8) as batcher:
        assert ask(WAIT, b"no picture")[0] == 400
        assert ask(WAIT, io.BytesIO(picture))[1].endswith(
            "got BytesIO: give what its read() returns"
        )
        assert ask(0.05, picture)[0] == 504
        assert ask(1e-9, picture) == (504, "the deadline passed while the work waited to go on")
        assert ask(None, picture, True) == (499, mdp_lite.batcher.calls.STOPPED)
        assert batcher.clients == 0
    assert ask(WAIT, picture)[0] == 499  # closed


def test_an_edit_is_the_best_by_its_deadline(tiny: Editor, service: SimpleNamespace) -> None:
    source, future = tiny.generate("a red house", num_inference_steps=10), Future[Any]()
    slow = lambda done, total, latent: time.sleep(0.1)  # noqa: E731
    with run_batcher(tiny, 8) as batcher, batcher.client() as client:
        own = client_editor(tiny, batcher, client)
        future.set_result(own.edit(source, "a blue house", on_step=slow, deadline=0.1))
    assert service.answer(future)[0] == 206


def test_nothing_holds_a_source(tiny: Editor, service: SimpleNamespace, picture: bytes) -> None:
    source = tiny.generate("a red house", num_inference_steps=4)
    alive = weakref.ref(source)
    with run_batcher(tiny, 8) as batcher, batcher.client() as client:
        edit = client_editor(tiny, batcher, client).edit(source, "a blue house")
    del source, client
    gc.collect()
    assert alive() is None and edit.finished


def test_a_task_that_is_cancelled_stops_its_work(tiny: Editor, pool: ThreadPoolExecutor) -> None:
    page = load_definitions(ASYNCIO.code, tiny)

    async def run() -> tuple[Any, int, int]:
        with run_batcher(tiny, 8) as batcher:
            task = asyncio.create_task(page.serve(batcher, pool, "A", page.make_picture))
            while not page.progress.get("A"):
                await asyncio.sleep(0.001)
            task.cancel()
            (end,) = await asyncio.gather(task, return_exceptions=True)
            while batcher.clients:
                await asyncio.sleep(0.001)
            return end, batcher.rows, batcher.clients

    end, rows, clients = asyncio.run(asyncio.wait_for(run(), WAIT))
    assert isinstance(end, asyncio.CancelledError) and 0 < rows < 100 and clients == 0


def test_a_coroutine_has_a_deadline(tiny: Editor, pool: ThreadPoolExecutor) -> None:
    page = load_definitions(ASYNCIO.code, tiny)

    async def run() -> list[Any]:
        with run_batcher(tiny, 8) as batcher:
            work = [
                page.serve(batcher, pool, u, page.make_picture, s)
                for u, s in (("A", 0.02), ("B", WAIT))
            ]
            return await asyncio.gather(*work, return_exceptions=True)

    late, edit = asyncio.run(run())
    assert isinstance(late, mdp_lite.DeadlineExceeded) and edit.finished


def test_a_newcomers_script() -> None:
    """It loads, warms up, serves 20 edits with deadlines, cancels five and reads the costs."""
    lines = runpy.run_path(str(SCRIPT))["main"]()
    done = [re.fullmatch(r"done: (.*), (\d+) rows", line) for line in lines[:20]]
    assert [i for i, one in enumerate(done) if one is None] == [1, 5, 9, 13, 17]
    cancelled = [int(line.removeprefix("cancelled: ")[:-5]) for line in lines[1:20:4]]
    assert all(0 < rows < 20 for rows in cancelled)
    rows, calls, source = map(int, re.findall(r"\d+", lines[20]))
    assert rows == sum(int(one[2]) for one in done if one) + sum(cancelled) + source
    assert calls < rows / 4  # an edit alone has two rows a call


def test_the_script_passes_strict_type_checking(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(SCRIPT)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
