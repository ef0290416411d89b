"""In seconds: beside a huge request, a small one takes twice its own time and one call at most.

test_serve_turns.py holds the same in FLOPs, for every run of the tests. Here real models are timed
by a clock. Each round times the small request alone, then beside the huge one, so that both have
the machine as it is at that time; the medians of all rounds are compared, without any slack.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from mdp_lite.batcher.batcher import Batcher, Call
from mdp_lite.editor import Editor
from mdp_lite.serve.costs import work_of_generation
from mdp_lite.serve.settings import Limits
from mdp_lite.serve.work import PromptRecipe
from support.served_models import build_zoo
from support.serving import WAIT, RunningService, is_idle, run_service, send_and_leave, wait_until

pytestmark = pytest.mark.slow
ROUNDS = 9
WIDTH = 256  # of the UNet's lower level, so that a call takes milliseconds
BEGUN = 5  # calls of the huge request before the small one comes
STEPS, MAKE = 20, "/v1/images/generations"
LIMITS = Limits()


class CallClock:
    """The seconds of the batcher's UNet calls, of each share; others take next to no time."""

    def __init__(self, batcher: Batcher, row_work: int) -> None:
        self.seconds, self._compute = dict[int, list[float]](), batcher._compute
        self._row_work = row_work
        batcher._compute = self._time  # type: ignore[method-assign]

    def _time(self, batch: Sequence[Call]) -> list[Any]:
        started = time.perf_counter()
        found = self._compute(batch)
        spent = time.perf_counter() - started
        for share in {id(one.client.share) for one in batch if one.cost >= self._row_work}:
            self.seconds.setdefault(share, []).append(spent)
        return found


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    """A random model that is large enough to be timed."""
    return build_zoo(tmp_path_factory.mktemp("zoo"), WIDTH).editor("a")


def choose_huge(editor: Editor, row_work: int) -> dict[str, Any]:
    """The largest generation that the default limits allow."""
    width, height = (2 * side for side in editor.runner.size)
    recipe = PromptRecipe("a", 1, LIMITS.steps, None, "", (width, height))
    most = int(LIMITS.rows * row_work / work_of_generation(editor, recipe))
    body = {"prompt": "a", "seed": 1, "num_inference_steps": LIMITS.steps}
    return body | {"size": f"{width}x{height}", "n": min(most, LIMITS.pictures)}


@contextmanager
def huge_beside(
    at: RunningService, clock: CallClock, body: dict[str, Any]
) -> Iterator[list[float]]:
    """A huge request that has had some calls; its client leaves at the end. Its calls' seconds."""
    clock.seconds.clear()
    with send_and_leave(at, MAKE, body):
        wait_until(lambda: any(len(one) > BEGUN for one in clock.seconds.values()))
        (seconds,) = clock.seconds.values()
        yield seconds
    wait_until(lambda: is_idle(at.service))


def time_small(at: RunningService) -> float:
    body = {"prompt": "a", "seed": 1, "num_inference_steps": STEPS}
    started = time.perf_counter()
    answer = httpx2.post(at.url + MAKE, json=body, timeout=WAIT)
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - started


def test_a_small_request_beside_a_huge_one_takes_twice_its_time_and_one_call(
    editor: Editor,
) -> None:
    alone, beside, calls = list[float](), list[float](), list[float]()
    with run_service(editor) as at:
        row_work = at.service.row_work
        huge, clock = choose_huge(editor, row_work), CallClock(at.service.batcher, row_work)
        time_small(at)  # the first one prepares what later ones have
        for _ in range(ROUNDS):
            alone.append(time_small(at))
            with huge_beside(at, clock, huge) as seconds:
                beside.append(time_small(at))
                calls += seconds
                assert len(seconds) > BEGUN + 1 and at.service.tasks  # it went on meanwhile
    own, call, took = map(statistics.median, (alone, calls, beside))
    figures = f"alone {alone}\nbeside {beside}\na call of the huge one {call}"
    assert took <= 2 * own + call, figures
