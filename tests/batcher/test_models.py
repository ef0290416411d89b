"""A batcher that calls the UNets of several models: never rows of two of them in one call."""

import torch
from torch import Tensor

from mdp_lite.batcher.batcher import Batcher, Client
from mdp_lite.batcher.calls import UNetModel
from mdp_lite.batcher.client import client_editor, make_batcher, make_unet_model
from mdp_lite.batcher.turns import Speed
from mdp_lite.editor import Editor
from support.batchers import WAIT, running, waiting


class Adding:
    """A UNet that adds a number, and records how many rows each call has."""

    def __init__(self, number: float) -> None:
        self.number, self.row_counts = number, list[int]()

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        self.row_counts.append(len(x))
        return x + self.number


def test_rows_of_two_models_are_never_one_call() -> None:
    own, other = Adding(1), Adding(2)
    batcher = Batcher(own, own, 100)
    second = UNetModel(other, other, 100, lambda x: 1.0, Speed())
    x, t, c = torch.zeros(2, 4, 3, 3), torch.tensor(5), torch.zeros(2, 5, 6)
    models = [None, second, None, second, second]
    calls = [
        lambda client, model=model: batcher.denoise(client, x, t, c, model) for model in models
    ]
    with waiting(batcher, calls) as ends:
        answers = [end.result(WAIT) for end in ends]
    assert [float(one.mean()) for one in answers] == [1, 2, 1, 2, 2]
    assert (own.row_counts, other.row_counts) == ([4], [6])


def test_the_limit_on_rows_is_each_model_s() -> None:
    own, other = Adding(1), Adding(2)
    batcher = Batcher(own, own, 0)
    second = UNetModel(other, other, 4, lambda x: 1.0, Speed())
    x, t, c = torch.zeros(2, 4, 3, 3), torch.tensor(5), torch.zeros(2, 5, 6)
    ask = lambda client: batcher.denoise(client, x, t, c, second)  # noqa: E731
    with waiting(batcher, [ask, ask, ask]) as ends:
        assert all(bool((end.result(WAIT) == 2).all()) for end in ends)
    assert sorted(other.row_counts) == [2, 4] and own.row_counts == []


def test_an_editor_beside_that_of_the_batcher_has_its_own_bits(editor: Editor) -> None:
    """Its UNet is called, with the speed and the work of its own size."""
    other = Editor(editor.models, editor.device)
    want = other.generate("a red house", 3, 2).image.tobytes()
    batcher, model = make_batcher(editor), make_unet_model(other)
    with running(batcher), batcher.client(Client()) as client:
        own = client_editor(other, batcher, client, model)
        assert own.generate("a red house", 3, 2).image.tobytes() == want
    assert model.speed.estimate(1) > 0 == batcher.speed.estimate(1)
