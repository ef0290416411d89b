"""The real OpenAI SDK against the service: edits, generations, streams, errors, retries."""

from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from mdp_lite.editor import Editor
from mdp_lite.serve.settings import Limits
from support.openai_cases import (  # noqa: F401
    FILE,
    SHORT,
    catch_error,
    test_a_generation_and_one_that_is_edited_at_once,
    test_a_list_of_pictures_and_several_of_each,
    test_a_mask_is_where_it_is_transparent,
    test_a_size_is_the_model_s_and_the_answer_s,
    test_a_stream_of_a_generation,
    test_a_stream_of_an_edit,
    test_an_edit_is_the_library_s_own,
    test_bad_requests_name_the_field,
    test_errors_have_their_classes,
    test_every_setting_arrives,
    test_formats,
    test_models,
    test_other_inversions,
)
from support.serving import KEY, WAIT, RunningService, is_idle, run_service, wait_until


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    with run_service(editor, keys=(KEY,), limits=Limits(steps=20, images=3)) as one:
        yield one


@pytest.fixture
def client(at: RunningService) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{at.url}/v1", api_key=KEY, max_retries=0, timeout=WAIT) as one:
        yield one


def test_previews_cost_no_row(at: RunningService, client: OpenAI) -> None:
    rows = []
    for partial in (0, 3):
        before = at.service.batcher.rows
        list(client.images.edit(
            image=FILE, prompt="a", stream=True, partial_images=partial, extra_body=SHORT
        ))  # fmt: skip
        rows.append(at.service.batcher.rows - before)
    assert rows[0] == rows[1]


def test_to_close_a_stream_stops_the_work(at: RunningService, client: OpenAI) -> None:
    before = at.service.metrics.cancelled._value.get()
    fields = {"num_inference_steps": 20}
    stream = client.images.edit(
        image=FILE, prompt="a", stream=True, partial_images=3, extra_body=fields
    )
    assert next(iter(stream)).type == "image_edit.partial_image"
    stream.close()
    wait_until(lambda: is_idle(at.service))
    assert at.service.metrics.cancelled._value.get() == before + 1


def test_too_much_is_429_with_a_time_and_is_tried_again(editor: Editor) -> None:
    with (
        run_service(editor, limits=Limits(waiting_rows=10)) as at,
        OpenAI(base_url=f"{at.url}/v1", api_key="none", max_retries=2, timeout=WAIT) as client,
    ):
        at.service.work += 5 * at.service.row_work  # as if others waited
        counter = at.service.metrics.refused.labels("work")._value
        error = catch_error(lambda: client.images.edit(image=FILE, prompt="a", extra_body=SHORT))
        assert isinstance(error, openai.RateLimitError) and counter.get() == 3
        assert int(error.response.headers["retry-after"]) >= 1
        at.service.work -= 5 * at.service.row_work
        answer = client.images.edit(image=FILE, prompt="a", extra_body=SHORT)
        assert answer.data  # one alone is let in, however long
