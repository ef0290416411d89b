"""The record behind a synthetic picture: seven named fields, and details that no caption names."""

import random
import zlib
from dataclasses import dataclass, replace

from mdp_lite.names import BadInput

FIELDS: dict[str, tuple[str, ...]] = {
    "object": ("house", "tree", "car", "boat", "mushroom", "tent"),
    "color": ("red", "blue", "green", "yellow", "purple", "orange"),
    "position": ("left", "center", "right"),
    "ground": ("grass", "snow", "sand", "water"),
    "time": ("day", "sunset", "night"),
    "weather": ("clear", "cloudy", "foggy"),
    "light": ("none", "shown"),
}
COMPANIONS = ("none", "bush", "rock", "fence", "flag")


@dataclass(frozen=True)
class Scene:
    """One picture as a record; floats are in [0, 1], and all fields are independent."""

    object: str
    color: str
    position: str
    ground: str
    time: str
    weather: str
    light: str
    companion: str  # the second object, which no caption names
    companion_x: float
    companion_tint: float
    dx: float  # place inside the position band
    size: float  # object size, 0.75 to 1.25 of the nominal one
    horizon: float
    ridge_far: float
    ridge_near: float
    ridge_phase: float
    sun_x: float
    sun_y: float
    mirrored: bool  # which way a car or boat faces, which side a door is on
    lamps: bool  # lit windows
    texture: int  # seed of clouds, stars and ground strokes

    def __post_init__(self) -> None:
        for field, values in (*FIELDS.items(), ("companion", COMPANIONS)):
            value = getattr(self, field)
            if value not in values:
                raise BadInput(f"{field} must be one of {', '.join(values)}, got {value!r}")


def sample(seed: int) -> Scene:
    """The scene of a seed: every field is chosen at random, independently of all others."""
    rng = random.Random(seed)
    values = {field: rng.choice(options) for field, options in FIELDS.items()}
    return Scene(
        **values,
        companion=rng.choice(COMPANIONS),
        companion_x=rng.random(),
        companion_tint=rng.random(),
        dx=rng.random(),
        size=rng.random(),
        horizon=rng.random(),
        ridge_far=rng.random(),
        ridge_near=rng.random(),
        ridge_phase=rng.random(),
        sun_x=rng.random(),
        sun_y=rng.random(),
        mirrored=rng.random() < 0.5,
        lamps=rng.random() < 0.5,
        texture=rng.getrandbits(31),
    )


def is_held_back(scene: Scene) -> bool:
    """Whether training never sees the scene's combination of named values (one in twenty)."""
    values = " ".join(getattr(scene, field) for field in FIELDS)
    return zlib.crc32(values.encode()) % 20 == 0


def change(scene: Scene, field: str, value: str) -> Scene:
    """The same scene with another value for one named field or for the companion."""
    if field not in FIELDS and field != "companion":
        raise BadInput(f"field must be one of {', '.join(FIELDS)}, companion, got {field!r}")
    return replace(scene, **{field: value})
