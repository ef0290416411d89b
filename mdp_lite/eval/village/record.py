"""The record behind a picture of the village: fourteen named fields, and unnamed details."""

import random
import zlib
from dataclasses import dataclass, replace

from mdp_lite.names import BadInput

THINGS = (
    "house", "tree", "car", "boat", "mushroom", "cat", "dog", "bird", "lamp", "windmill",
    "lighthouse", "tent", "balloon", "flower", "snowman", "castle",
)  # fmt: skip
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
FIELDS: dict[str, tuple[str, ...]] = {
    "object": THINGS,
    "color": COLORS,
    "material": ("plain", "wooden", "stone", "metal", "striped", "spotted"),
    "count": ("one", "two", "three"),
    "position": ("left", "center", "right"),
    "friend": ("none", *THINGS),
    "friend_color": COLORS,
    "ground": ("meadow", "sand", "lake", "street", "field"),
    "backdrop": ("mountains", "hills", "forest", "city", "sea"),
    "season": ("spring", "summer", "autumn", "winter"),
    "time": ("dawn", "day", "sunset", "night"),
    "weather": ("clear", "cloudy", "foggy", "rainy", "snowy"),
    "light": ("none", "shown"),
    "style": ("photo", "ink", "watercolor", "pixel", "neon"),
}
PLAIN_SHARE = {"material": 0.3, "count": 0.4, "friend": 0.25, "style": 0.45}  # of the first value
# What a caption means where it does not say: other values are named in any case.
USUAL = {
    "material": "plain", "count": "one", "position": "center", "friend": "none", "season": "summer",
    "weather": "clear", "light": "shown", "style": "photo",
}  # fmt: skip
CALM_SCENES, CALM_FIELDS = 1 / 3, 0.8  # of training: calm scenes, and their fields made usual


@dataclass(frozen=True)
class VillageScene:
    """One picture as a record; floats are in [0, 1], and all fields are independent.

    friend is a second, smaller thing that stands farther away. Its colour is a named field even
    where there is no friend; captions then leave it out.
    """

    object: str
    color: str
    material: str
    count: str
    position: str
    friend: str
    friend_color: str
    ground: str
    backdrop: str
    season: str
    time: str
    weather: str
    light: str
    style: str
    dx: float  # shift inside the position band
    size: float  # of the objects, 0.88 to 1.06 of the nominal one
    friend_x: float
    horizon: float
    ridge: float  # height of the backdrop
    phase: float  # shape of the backdrop
    sun_x: float
    sun_y: float
    turn: float  # of a windmill's sails, a boat's flag
    mirrored: bool  # which way things face
    branch_left: bool  # the corner of the branch that shows the season; the sun is opposite
    lamps: bool  # windows are lit by day too
    texture: int  # seed of clouds, stars, rain and of what lies on the ground

    def __post_init__(self) -> None:
        for field, values in FIELDS.items():
            value = getattr(self, field)
            if value not in values:
                raise BadInput(f"{field} must be one of {', '.join(values)}, got {value!r}")


def sample(seed: int) -> VillageScene:
    """The scene of a seed: every field is chosen at random, independently of all others."""
    rng = random.Random(seed)
    values = {field: _choose(rng, field, options) for field, options in FIELDS.items()}
    return VillageScene(
        **values,
        dx=rng.random(),
        size=rng.random(),
        friend_x=rng.random(),
        horizon=rng.random(),
        ridge=rng.random(),
        phase=rng.random(),
        sun_x=rng.random(),
        sun_y=rng.random(),
        turn=rng.random(),
        mirrored=rng.random() < 0.5,
        branch_left=rng.random() < 0.5,
        lamps=rng.random() < 0.5,
        texture=rng.getrandbits(31),
    )


def sample_training(seed: int) -> VillageScene:
    """The scene of a seed to train on: a third are calm, with few unusual values.

    In independent scenes hardly one is usual in all fields, so that short captions were not seen.
    """
    scene, rng = sample(seed), random.Random(f"calm {seed}")
    if rng.random() >= CALM_SCENES:
        return scene
    made = {field: value for field, value in USUAL.items() if rng.random() < CALM_FIELDS}
    return replace(scene, **made)


def _choose(rng: random.Random, field: str, options: tuple[str, ...]) -> str:
    """A value; the plainest one of some fields is more frequent than the others."""
    if field in PLAIN_SHARE and rng.random() < PLAIN_SHARE[field]:
        return options[0]
    return rng.choice(options[field in PLAIN_SHARE :])


def is_held_back(scene: VillageScene) -> bool:
    """Whether training never sees the scene's combination of named values (one in twenty)."""
    scene = replace(scene, friend_color=COLORS[0]) if scene.friend == "none" else scene
    values = " ".join(getattr(scene, field) for field in FIELDS)
    return zlib.crc32(values.encode()) % 20 == 0


def change(scene: VillageScene, field: str, value: str) -> VillageScene:
    """The same scene with another value for one named field. Raises BadInput."""
    if field not in FIELDS:
        raise BadInput(f"field must be one of {', '.join(FIELDS)}, got {field!r}")
    return replace(scene, **{field: value})
