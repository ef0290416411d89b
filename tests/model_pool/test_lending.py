"""Lending models to threads: with a lone editor's pixels, in a bound of memory, to the end."""

import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.editor import Editor
from mdp_lite.model_pool.lending import ModelLender
from mdp_lite.model_pool.local_pool import PoolSettings, run_pool
from mdp_lite.model_pool.specs import ModelSpec
from mdp_lite.names import BadInput, Stopped
from support.served_models import Zoo, build_zoo, generate_alone


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return build_zoo(tmp_path_factory.mktemp("zoo"))


def settings(zoo: Zoo, room: float, **more: Any) -> PoolSettings:
    others = (zoo.spec("b"), zoo.spec("c"))
    return PoolSettings("a", zoo.spec("a"), others, int(room * zoo.size()), **more)


@pytest.fixture
def lender(zoo: Zoo) -> Iterator[ModelLender]:
    """Lends a, and b or c beside it."""
    with run_pool(zoo.editor("a"), settings(zoo, 2.5)) as one:
        yield one


def test_threads_get_the_models_that_they_ask_for(lender: ModelLender, zoo: Zoo) -> None:
    want = {alias: generate_alone(zoo.editor(alias)).tobytes() for alias in "abc"}

    def draw(alias: str) -> bool:
        with lender.lend(alias) as editor:
            assert sum(lender._pool.bytes.values()) <= lender.bound
            return generate_alone(editor).tobytes() == want[alias]

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(draw, "abcabcbcb"))
    assert lender.find_state("a") == "loaded" and lender.stays == zoo.size()


def test_a_model_that_makes_room_gives_its_memory_back(lender: ModelLender) -> None:
    with lender.lend("b") as editor:
        weights = weakref.ref(editor.models.unet)
    del editor
    with lender.lend("c"):
        gc.collect()
        assert weights() is None and lender.find_state("b") == "unloaded"


def test_who_waits_hears_of_it_and_may_give_up(
    lender: ModelLender, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_load, heard, load = threading.Event(), list[bool](), ModelSpec.load
    monkeypatch.setattr(ModelSpec, "load", lambda self, loras: may_load.wait(60) and load(self))

    def stop(is_reading: bool) -> None:
        heard.append(is_reading)
        if is_reading:
            raise Stopped("enough")

    with pytest.raises(Stopped, match="enough"), lender.lend("b", stop):
        pass
    assert heard[-1] is True
    may_load.set()
    with lender.lend("b", heard.append) as editor:
        assert generate_alone(editor)
    heard.clear()
    with lender.lend("b", heard.append), lender.lend("a", heard.append):
        assert heard == []  # nobody waits for loaded models


def test_a_broken_model_fails_alone(
    lender: ModelLender, zoo: Zoo, caplog: pytest.LogCaptureFixture
) -> None:
    file = zoo.folder / "b" / "unet" / "diffusion_pytorch_model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    try:
        with (
            pytest.raises(BadInput, match="'b' could not be loaded: ") as caught,
            caplog.at_level(logging.ERROR),
            lender.lend("b"),
        ):
            pass
    finally:
        file.write_bytes(data)
    assert str(zoo.folder) not in str(caught.value)
    assert "the model b could not be loaded" in caplog.text
    assert lender.find_state("b") == "failed"
    with lender.lend("c") as editor:
        assert generate_alone(editor)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "there is no memory left for the model 'b'"),
        (RuntimeError("secret/path"), "the model 'b' could not be loaded: the server's log says"),
    ],
)
def test_what_an_unforeseen_error_says_stays_in_the_log(
    error: Exception, said: str, lender: ModelLender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: ModelSpec, loras: Any) -> Editor:
        raise error

    monkeypatch.setattr(ModelSpec, "load", fail)
    with pytest.raises(BadInput, match=said) as caught, lender.lend("b"):
        pass
    assert "secret" not in str(caught.value)


def test_an_unused_model_is_unloaded_after_a_while(zoo: Zoo) -> None:
    with run_pool(zoo.editor("a"), settings(zoo, 3.5, model_seconds=0.05)) as lender:
        with lender.lend("b"):
            assert lender.find_state("b") == "loaded"
        for _ in range(600):
            if lender.find_state("b") == "unloaded":
                break
            threading.Event().wait(0.05)
        assert (lender.find_state("b"), lender.find_state("a")) == ("unloaded", "loaded")


def test_the_end_of_a_pool_leaves_no_thread_and_lends_no_more(zoo: Zoo) -> None:
    before = threading.active_count()
    with run_pool(zoo.editor("a"), settings(zoo, 2.5)) as lender:
        with lender.lend("b"):
            pass
    assert threading.active_count() == before
    with pytest.raises(Stopped, match="the server is ending"), lender.lend("b"):
        pass


def test_one_that_never_fits_is_refused_at_the_start(zoo: Zoo, tmp_path: Path) -> None:
    with (
        pytest.raises(BadInput, match="model 'b' takes .* more than the .* of --model-memory"),
        run_pool(zoo.editor("a"), settings(zoo, 1.5)),
    ):
        pass
