"""An edit has the same bits alone and in any batch: 100 random ones of up to 8 unlike edits."""

from collections.abc import Iterator
from random import Random

import pytest
import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.method.execute import EditTask
from mdp_lite.method.schedule import Weights, zero_weights
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Source
from support.tables import final_latents

PROMPTS = ("a red house", "a blue boat on the grass", [("a boat", 0.3), ("a house", 0.7)], "")
SOURCES, POOL, BATCHES = 6, 40, 100
MAX_ERROR = 1e-5  # of the largest value, where a call holds several edits' rows, in fp32


@pytest.fixture(scope="module")
def editor(any_editor: Editor) -> Editor:
    """All of this file is for each family of models."""
    return any_editor


@pytest.fixture(scope="module")
def sources(editor: Editor) -> list[Source]:
    """Of unlike sizes, lengths, guidances, and kinds."""
    found = [
        editor.generate("a red house", 1, 5),
        editor.generate("a red house", 2, 7, 1.0, width=40, height=24),
        editor.generate("", 3, 4, 2.0, "a boat"),
        editor.generate("a blue house on the grass", 4, 5, 1.0),
    ]
    picture = found[0].image
    found += [
        editor.invert(picture, "a red house", "replay", 6),
        editor.invert(picture, "a house", "ddim", 5, 2.0, width=40, height=24),
    ]
    assert len(found) == SOURCES
    return found


def request(source: Source, choose: Random) -> Request:
    """Any edit of a source: a window, a strength or a table with maps; any prompt and guidance."""
    n, prompt = len(source.grid.t), choose.choice(PROMPTS)
    g = choose.choice([None, 1.0, 4.0])
    negative = choose.choice([None, "", "a boat"])
    how = choose.choice(["window", "strength", "table"])
    if how == "table":
        random = torch.Generator().manual_seed(choose.randrange(1000))
        size = source.path.x.shape[-2:]
        maps = torch.rand(n, 1, 1, *size, generator=random).double()
        maps[torch.rand(n, generator=random) < 0.3] = 1
        weights = zero_weights(n)._replace(eps=maps, c=torch.rand(n, generator=random).double())
        return Request(source, prompt, weights=weights, guidance_scale=g, negative_prompt=negative)
    asked = Request(source, prompt, choose.choice(VARIANTS), guidance_scale=g)
    if how == "strength":
        strength = choose.random()
        return Request(source, prompt, asked.variant, strength=strength, guidance_scale=g)
    t_max = choose.choice([n, n - 1, n - 0.5])
    t_m, schedule = t_max * choose.random(), choose.choice(["constant", "cosine"])
    return Request(source, prompt, asked.variant, t_max, t_m, schedule, None, None, g, negative)


@pytest.fixture(scope="module")
def pool(editor: Editor, sources: list[Source]) -> list[EditTask]:
    """Unlike edits to compose batches of."""
    choose = Random(0)
    return editor.tasks([request(choose.choice(sources), choose) for _ in range(POOL)])


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """How many threads a kernel may take."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@torch.no_grad()
def latents(editor: Editor, tasks: list[EditTask], max_rows: int = 0) -> list[Tensor]:
    return final_latents(editor.models.unet, tasks, False, max_rows)


slow = pytest.mark.slow
COUNTS = [  # threads, edits to choose from, batches
    pytest.param(1, 20, 8, id="one thread"),
    pytest.param(2, 4, 1, id="two threads", marks=slow),
    pytest.param(1, POOL, BATCHES, id="one thread, 100 batches", marks=slow),
    pytest.param(2, POOL, BATCHES, id="two threads, 100 batches", marks=slow),
]


@pytest.mark.parametrize(("threads", "count", "batches"), COUNTS, indirect=["threads"])
def test_an_edit_has_its_bits_in_any_batch(
    editor: Editor, pool: list[EditTask], threads: None, count: int, batches: int
) -> None:
    alone, choose = [latents(editor, [task])[0] for task in pool[:count]], Random(batches)
    for _ in range(batches):
        batch = choose.sample(range(count), min(count, choose.randint(2, 8)))
        together = latents(editor, [pool[i] for i in batch])
        assert all(torch.equal(alone[i], x) for i, x in zip(batch, together, strict=True))


def test_the_edits_are_unlike(pool: list[EditTask]) -> None:
    assert len({task.source.x.shape[-2:] for task in pool}) == 2
    assert len({task.plan.n for task in pool}) == 4
    assert {len(one.reads) for task in pool for one in task.plan.segments} == {0, 1, 2, 3}


@pytest.mark.representative("5")
@pytest.mark.parametrize("max_rows", [2, 5, 16])
def test_in_one_call_with_others_it_differs_by_rounding(
    editor: Editor, pool: list[EditTask], max_rows: int
) -> None:
    choose = Random(max_rows)
    for _ in range(4):
        batch = choose.sample(range(POOL), 8)
        together = latents(editor, [pool[i] for i in batch], max_rows)
        for i, x in zip(batch, together, strict=True):
            (alone,) = latents(editor, [pool[i]])
            assert (x - alone).abs().max() <= MAX_ERROR * alone.abs().max()


def test_the_editor_gives_those_bits(editor: Editor, sources: list[Source]) -> None:
    choose = Random(1)
    requests = [request(source, choose) for source in sources]
    requests.append(requests[0])
    together = editor.edits(requests)
    for asked, edit in zip(requests, together, strict=True):
        (alone,) = editor.edits([asked])
        assert torch.equal(edit.latent, alone.latent)
        assert edit.image.tobytes() == alone.image.tobytes()
        assert edit.cost == alone.cost  # what it takes alone, whatever it shares
    first, again = together[0].latent, together[-1].latent
    assert torch.equal(first, again) and first.data_ptr() != again.data_ptr()


def test_a_table_of_whole_numbers_is_a_table(editor: Editor, sources: list[Source]) -> None:
    source, n = sources[0], len(sources[0].grid.t)
    whole = Weights(*torch.zeros(4, n, dtype=torch.int64))
    whole.eps[: n // 2] = 1
    shares = Weights(*(column.double() for column in whole[:4]))
    mask = torch.full(source.path.x.shape[-2:], 0.5)
    one, other = (
        Request(source, "a boat", weights=weights, mask=mask) for weights in (whole, shares)
    )
    first, second = editor.edits([one, other])
    assert torch.equal(first.latent, second.latent)
