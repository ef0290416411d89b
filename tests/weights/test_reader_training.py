"""What the reader learns from: pictures mirrored and shifted, with their labels."""

import torch

from train_tiny import reader
from train_tiny.recipe import TINY
from train_tiny.small import SMALL


def test_mirrored_pictures_have_left_and_right_exchanged() -> None:
    pictures = torch.arange(4 * 3 * 2 * 3.0).reshape(4, 3, 2, 3)
    labels = torch.tensor([[5, 0], [6, 0], [7, 1], [8, 2]])
    found, told = reader.mirror(pictures, labels, place=1)
    assert torch.equal(found, torch.cat([pictures[[0, 2]].flip(3), pictures[[1, 3]]]))
    assert told.tolist() == [[5, 2], [7, 1], [6, 0], [8, 2]]
    assert labels[0, 1] == 0  # what is given stays
    for kit in (SMALL.reader, TINY.reader):
        assert kit.heads["position"] == ("left", "center", "right")


def test_shifted_pictures_are_their_middles_moved_by_a_few_pixels() -> None:
    pictures = torch.randn(16, 3, 24, 24)
    torch.manual_seed(1)
    found, far = reader.shift(pictures), reader.SHIFT
    assert found.shape == pictures.shape and not torch.equal(found, pictures)
    for one, moved in zip(pictures, found, strict=True):
        middle = moved[:, far:-far, far:-far]
        places = [(y, x) for y in range(2 * far + 1) for x in range(2 * far + 1)]
        inside = 24 - 2 * far
        same = [torch.equal(one[:, y : y + inside, x : x + inside], middle) for y, x in places]
        assert sum(same) == 1
