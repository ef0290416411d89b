"""The engine on a GPU: recorded graphs against eager, 16 bits against float32, what they hold."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mdp_lite import Editor
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.warm_up import warm_up

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
N, TARGET, SCHEDULES = 12, "a blue house on the grass", ("constant", "linear", "cosine", "exp")
REPLAYED = 1e-3  # of a latent, relative to its norm, in float32: kernels may differ by shape
SINGLE = 1e-4  # the same of float32 on a GPU against a CPU; TF32 would be ten times as far
HALF = 5e-2  # the same in float16 against float32 after N guided steps


def latents(editor: Editor, source: object) -> Iterator[Tensor]:
    for variant in VARIANTS:
        for schedule in SCHEDULES:
            request = Request(source, TARGET, variant, t_max=11, t_m=6, schedule=schedule)  # type: ignore[arg-type]
            yield editor.edits([request])[0].latent


def far(a: Tensor, b: Tensor) -> float:
    return float((a.cpu() - b.cpu()).norm() / b.cpu().norm())


@pytest.fixture(scope="module")
def eager() -> Editor:
    return Editor.from_pretrained("tiny", "cuda", "float32", engine="eager")


@pytest.mark.parametrize("mode", ["graph", "compile"])
def test_replay_is_eager_for_all_variants_and_schedules(eager: Editor, mode: str) -> None:
    recorded = Editor(eager.models, eager.device, engine=mode)
    source = eager.generate("a red house on the grass", 7, N)
    for a, b in zip(*(latents(one, source) for one in (recorded, eager)), strict=True):
        assert far(a, b) <= REPLAYED
    made = recorded.runner.engine.recorder.count  # type: ignore[union-attr]
    list(latents(recorded, recorded.generate("a tent", 8, N)))
    assert recorded.runner.engine.recorder.count == made + 1  # type: ignore[union-attr]


def test_the_same_graph_twice_is_the_same_picture(eager: Editor) -> None:
    recorded = Editor(eager.models, eager.device, engine="graph")
    source = recorded.generate("a red house on the grass", 7, N)
    first, again = (recorded.edit(source, TARGET).latent for _ in range(2))
    assert torch.equal(first, again)


def test_float32_is_float32(eager: Editor) -> None:
    """Without TF32, which torch has on for convolutions by default."""
    both = (eager, Editor.from_pretrained("tiny", "cpu", "float32"))
    pairs = [(one, one.generate("a red house on the grass", 7, N)) for one in both]
    here, there = (one.edit(source, TARGET).latent for one, source in pairs)
    assert far(here, there) <= SINGLE


def test_half_precision_is_near_float32(eager: Editor) -> None:
    half = Editor.from_pretrained("tiny", "cuda", "float16")
    assert half.runner.engine.mode == "graph"
    source, other = (one.generate("a red house on the grass", 7, N) for one in (half, eager))
    assert far(half.edit(source, TARGET).latent, eager.edit(other, TARGET).latent) <= HALF


def test_a_closed_engine_allocates_nothing_more(eager: Editor) -> None:
    recorded = Editor(eager.models, eager.device, engine="graph")
    warm_up(recorded, rows=(1, 2), num_inference_steps=N, only=True)
    source = recorded.generate("a red house on the grass", 7, N)
    recorded.edit(source, TARGET)
    torch.cuda.synchronize()
    before = torch.cuda.memory_reserved()
    for _ in range(3):
        recorded.edit(source, TARGET)
    assert torch.cuda.memory_reserved() == before
