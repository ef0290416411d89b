"""The synthetic worlds as records of functions: the recipes and the benchmark of edits use these.

A model says of which world its pictures are (checkpoint/knowledge.py): each has its own name there.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from mdp_lite.eval import edits, reader, world
from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.village import captions as village_captions
from mdp_lite.eval.village import edits as village_edits
from mdp_lite.eval.village import reader as village_reader
from mdp_lite.eval.village import world as village


class ReaderKit(NamedTuple):
    """The network that reads a world's pictures: how to make, teach and ask it, and its file.

    labels gives a scene's indices in heads, truth its values; ask reads pictures (b, 3, y, x).
    """

    build: Callable[[], nn.Module]
    load: Callable[[], nn.Module]
    heads: dict[str, tuple[str, ...]]
    labels: Callable[[Any], tuple[int, ...]]
    truth: Callable[[Any], dict[str, str]]
    ask: Callable[[Any, Tensor], list[dict[str, str]]]
    weights: Path


class World(NamedTuple):
    """A synthetic world: records by seed, their pictures, captions and words, and known edits.

    A scene is an opaque record here. draw and draw_without_object get it and, if that is not the
    world's own, the picture's size; mask gets a field between them.
    """

    words: tuple[str, ...]
    sample: Callable[[int], Any]
    sample_training: Callable[[int], Any]  # the same, or with other shares of values
    is_held_back: Callable[[Any], bool]
    draw: Callable[..., Image]
    random_caption: Callable[[Any, Random], str]
    full_caption: Callable[[Any, int], str]  # of a scene, in a form that a seed chooses
    pictures: str  # what its pictures are called
    groups: dict[str, tuple[str, ...]]  # its words by kind, as far as they have one
    size: int  # pixels along a side
    draw_without_object: Callable[..., Image]
    mask: Callable[..., NDArray[Any]]
    kinds: dict[str, str]  # of edits, and what each changes
    iterate_edits: Callable[[str, str], Iterator[EditCase]]  # of a kind, in a split
    reader: ReaderKit


def say_all(scene: world.Scene, seed: int) -> str:
    """All named fields of a scene of the first world, as phrases or as a sentence."""
    return world.caption(scene, form="comma" if seed % 2 else "sentence")


def say_all_of_village(scene: village.VillageScene, seed: int) -> str:
    """All named fields of a scene of the village, in one of its forms."""
    return village.caption(scene, form=village_captions.FORMS[seed % len(village_captions.FORMS)])


POSTCARDS = World(
    world.WORDS,
    world.sample,
    world.sample,
    world.is_held_back,
    world.draw,
    world.random_caption,
    say_all,
    world.PICTURES,
    world.GROUPS,
    reader.SIZE,
    world.draw_without_object,
    world.mask,
    edits.KINDS,
    edits.iterate_edits,
    ReaderKit(
        reader.Reader,
        reader.load_reader,
        reader.HEADS,
        reader.labels,
        reader.truth,
        reader.read,
        reader.WEIGHTS,
    ),
)

VILLAGE = World(
    village.WORDS,
    village.sample,
    village.sample_training,
    village.is_held_back,
    village.draw,
    village.random_caption,
    say_all_of_village,
    village.PICTURES,
    village.GROUPS,
    village.SIZE,
    village.draw_without_object,
    village.mask,
    village_edits.KINDS,
    village_edits.iterate_village_edits,
    ReaderKit(
        village_reader.VillageReader,
        village_reader.load_village_reader,
        village_reader.HEADS,
        village_reader.labels,
        village_reader.truth,
        village_reader.read,
        village_reader.WEIGHTS,
    ),
)


def find_world(pictures: str) -> World:
    """The world whose pictures a model says it makes; the first one for all other models."""
    return VILLAGE if pictures == VILLAGE.pictures else POSTCARDS


def list_changed_fields(one: World, source: Any, target: Any) -> tuple[str, ...]:
    """The fields of a world that read otherwise in another of its scenes."""
    before, after = one.reader.truth(source), one.reader.truth(target)
    return tuple(name for name in one.reader.heads if before[name] != after[name])
