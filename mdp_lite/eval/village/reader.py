"""A network that reads a picture of the village: each named field of its scene."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from mdp_lite.eval.village.record import COLORS, FIELDS, VillageScene
from mdp_lite.eval.village.world import SIZE
from mdp_lite.names import BadInput

# Without a friend there is no colour of it to read.
HEADS: dict[str, tuple[str, ...]] = {**FIELDS, "friend_color": (*COLORS, "none")}
SIZES = tuple(len(values) for values in HEADS.values())
WEIGHTS = Path(__file__).with_name("reader.safetensors")
# Width and stride of each convolution: 128 x 128 pixels down to 8 x 8 cells.
LAYERS = ((32, 2), (48, 2), (64, 1), (96, 2), (96, 1), (128, 2))

Reading = dict[str, str]  # field -> value


class VillageReader(nn.Module):
    """Six convolutions, then all cells together to one softmax head for each field."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *(width for width, _ in LAYERS))
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, width, 3, stride, padding=1)
            for channels, (width, stride) in zip(widths, LAYERS, strict=False)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width, _ in LAYERS)
        self.squeeze = nn.Conv2d(widths[-1], 48, 1)
        self.hidden = nn.Linear(48 * 64, 192)
        self.heads = nn.Linear(192, sum(SIZES))

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """Pictures (b, 3, 128, 128) in [-1, 1] -> the logits of each of HEADS, (b, values)."""
        x = picture
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        x = F.relu(self.hidden(F.relu(self.squeeze(x)).flatten(1)))
        return self.heads(x).split(SIZES, dim=1)


def load_village_reader(path: Path = WEIGHTS) -> VillageReader:
    """The reader that was trained together with the second bundled model. Raises BadInput."""
    if not path.is_file():
        raise BadInput(f"reader must be a safetensors file, got {path}, which is not there")
    reader = VillageReader()
    reader.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    return reader.eval().requires_grad_(False)


@torch.inference_mode()
def read(reader: VillageReader, pictures: Tensor) -> list[Reading]:
    """The field values that each of the pictures (b, 3, 128, 128) in [-1, 1] shows."""
    want = (3, SIZE, SIZE)
    if pictures.ndim != 4 or pictures.shape[1:] != want:
        got = list(pictures.shape)
        raise BadInput(f"pictures must have shape [b, 3, {SIZE}, {SIZE}], got {got}")
    chunks = [
        [logits.argmax(1).tolist() for logits in reader(chunk)] for chunk in pictures.split(64)
    ]
    return [_to_reading(indices) for chunk in chunks for indices in zip(*chunk, strict=True)]


def _to_reading(indices: tuple[int, ...]) -> Reading:
    """Indices into the values of HEADS -> the values."""
    return {name: values[i] for (name, values), i in zip(HEADS.items(), indices, strict=True)}


def truth(scene: VillageScene) -> Reading:
    """The reading of a scene's picture by a perfect reader."""
    reading = {name: getattr(scene, name) for name in HEADS}
    return reading | {"friend_color": "none"} if scene.friend == "none" else reading


def labels(scene: VillageScene) -> tuple[int, ...]:
    """The index of each of the scene's values in HEADS."""
    values = truth(scene)
    return tuple(options.index(values[name]) for name, options in HEADS.items())
