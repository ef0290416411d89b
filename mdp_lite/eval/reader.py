"""A small network that reads a synthetic picture: each named field and the companion's kind."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from mdp_lite.eval.scene import COMPANIONS, FIELDS, Scene
from mdp_lite.names import BadInput

HEADS: dict[str, tuple[str, ...]] = {**FIELDS, "companion": COMPANIONS}
SIZES = tuple(len(values) for values in HEADS.values())
SIZE = 64  # pixels along a side
WEIGHTS = Path(__file__).with_name("reader.safetensors")
LAYERS = ((32, 2), (48, 2), (64, 1), (64, 2), (64, 2))  # width and stride of each convolution

Reading = dict[str, str]  # field -> value


class Reader(nn.Module):
    """Five convolutions down to 4 x 4 cells, then one softmax head for each field."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *(width for width, _ in LAYERS))
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, width, 3, stride, padding=1)
            for channels, (width, stride) in zip(widths, LAYERS, strict=False)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width, _ in LAYERS)
        self.heads = nn.Linear(16 * widths[-1], sum(SIZES))

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """Pictures (b, 3, 64, 64) in [-1, 1] -> the logits of each of HEADS, (b, values)."""
        x = picture
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return self.heads(x.flatten(1)).split(SIZES, dim=1)


def load_reader(path: Path = WEIGHTS) -> Reader:
    """The reader that was trained together with the model tiny. Raises BadInput."""
    if not path.is_file():
        raise BadInput(f"reader must be a safetensors file, got {path}, which is not there")
    reader = Reader()
    reader.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    return reader.eval().requires_grad_(False)


@torch.inference_mode()
def read(reader: Reader, pictures: Tensor) -> list[Reading]:
    """The field values that each of the pictures (b, 3, 64, 64) in [-1, 1] shows."""
    want = (3, SIZE, SIZE)
    if pictures.ndim != 4 or pictures.shape[1:] != want:
        got = list(pictures.shape)
        raise BadInput(f"pictures must have shape [b, 3, {SIZE}, {SIZE}], got {got}")
    chunks = [
        [logits.argmax(1).tolist() for logits in reader(chunk)] for chunk in pictures.split(256)
    ]
    return [to_reading(indices) for chunk in chunks for indices in zip(*chunk, strict=True)]


def to_reading(indices: tuple[int, ...]) -> Reading:
    """Indices into the values of HEADS -> the values."""
    return {name: values[i] for (name, values), i in zip(HEADS.items(), indices, strict=True)}


def truth(scene: Scene) -> Reading:
    """The reading of a scene's picture by a perfect reader."""
    return {name: getattr(scene, name) for name in HEADS}


def labels(scene: Scene) -> tuple[int, ...]:
    """The index of each of the scene's values in HEADS."""
    return tuple(values.index(getattr(scene, name)) for name, values in HEADS.items())
