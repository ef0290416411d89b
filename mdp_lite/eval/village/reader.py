"""A network that reads a picture of the village: each named field of its scene."""

import itertools
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
WIDTHS = (32, 64, 96, 160)  # of the maps of 64, 32, 16 and 8 cells a side
DEPTHS = (1, 1, 1, 2)  # residual blocks on each

Reading = dict[str, str]  # field -> value


class Residual(nn.Module):
    """Two convolutions whose output is added to the input, and a norm before each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """A map (b, width, y, x) -> another of its shape."""
        h = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(F.relu(norm(h)))
        return x + h


class VillageReader(nn.Module):
    """Residual convolutions to 16 x 16 and 8 x 8 cells; each field looks at the cells it needs."""

    def __init__(self) -> None:
        super().__init__()
        wide, narrow = WIDTHS[-1], WIDTHS[-2]
        self.first = nn.Conv2d(12, WIDTHS[0], 3, padding=1)
        self.downs = nn.ModuleList(
            nn.Conv2d(one, other, 3, 2, padding=1) for one, other in itertools.pairwise(WIDTHS)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(Residual(width) for _ in range(depth)))
            for width, depth in zip(WIDTHS, DEPTHS, strict=True)
        )
        self.join, self.context = nn.Conv2d(narrow, wide, 1), nn.Linear(wide, wide)
        self.place_embedding = nn.Parameter(0.1 * torch.randn(wide, 16, 16))
        self.norm, self.mix = nn.GroupNorm(8, wide), nn.Conv2d(wide, wide, 1)
        self.look = nn.Conv2d(wide, len(HEADS), 1)
        self.heads = nn.ModuleList(nn.Linear(wide, size) for size in SIZES)

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """Pictures (b, 3, 128, 128) in [-1, 1] -> the logits of each of HEADS, (b, values)."""
        x = self.stages[0](self.first(F.pixel_unshuffle(picture, 2)))
        for down, stage in zip(self.downs, self.stages[1:], strict=True):
            fine, x = x, stage(down(x))
        whole = self.context(x.mean((2, 3)))[:, :, None, None]
        x = self.join(fine) + F.interpolate(x, scale_factor=2) + whole + self.place_embedding
        x = F.relu(self.mix(F.relu(self.norm(x))))
        cells = self.look(x).flatten(2).softmax(2)  # where each field looks
        seen = cells @ x.flatten(2).mT
        return tuple(head(seen[:, i]) for i, head in enumerate(self.heads))


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
