"""What SDXL reads beside a prompt: other prompts for its second text encoder, and six sizes.

The sizes tell it how a training picture was resized and cropped (Podell et al., arXiv 2307.01952,
section 2.2). Names, defaults and units are those of diffusers.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from mdp_lite.names import BadInput
from mdp_lite.pipeline import check

Pair = tuple[int, int]  # in pixels: height and width, or top and left

NULL = ("negative_original_size", "negative_crops_coords_top_left", "negative_target_size")
SIZES = ("original_size", "crops_coords_top_left", "target_size", *NULL)
PROBES = ((1, 1), (2, 3))  # sizes of pictures: defaults follow them, so that one alone may agree
LARGEST = 2**20  # pixels; larger numbers have no place in float32 beside small ones


def _check_pair(name: str, value: Any, least: int) -> None:
    if value is None:
        return
    pair = value if isinstance(value, tuple) and len(value) == 2 else ()
    if not pair or not all(type(one) is int and least <= one <= LARGEST for one in pair):
        raise BadInput(
            f"{name} must be two whole numbers from {least} to {LARGEST}, got {value!r}", name
        )


@dataclass(frozen=True)
class XLCondition:
    """What SDXL reads beside the prompt and the negative prompt; None means the default.

    prompt_2 and negative_prompt_2 are for the second text encoder; by default, or if empty, it
    reads the same as the first one. original_size and target_size are (height, width), by default
    the picture's; crops_coords_top_left is (top, left), by default (0, 0). The negative ones are
    for the null row, by default the same. Of an edit, the default sizes are its source's.

    Raises BadInput for other values, and for one negative size without the other.

    >>> xl = XLCondition(prompt_2="an oil painting", original_size=(512, 512))
    >>> xl.list_sizes((768, 1024))
    (512, 512, 0, 0, 1024, 768)
    """

    prompt_2: str | None = None
    negative_prompt_2: str | None = None
    original_size: Pair | None = None
    crops_coords_top_left: Pair | None = None
    target_size: Pair | None = None
    negative_original_size: Pair | None = None
    negative_crops_coords_top_left: Pair | None = None
    negative_target_size: Pair | None = None

    def __post_init__(self) -> None:
        """Raise BadInput for values that are none."""
        for name in ("prompt_2", "negative_prompt_2"):
            if getattr(self, name) is not None:
                check.text(name, getattr(self, name))
        for name in SIZES:
            _check_pair(name, getattr(self, name), 0 if "crops" in name else 1)
        sizes = [self.negative_original_size, self.negative_target_size]
        if any(getattr(self, name) is not None for name in NULL) and None in sizes:
            both = ("negative_original_size", "negative_target_size")
            raise BadInput(f"{' and '.join(both)} must be given together", *both)

    def list_sizes(self, size: Pair) -> tuple[int, ...]:
        """The six sizes of the prompt's row, for a picture of size (width, height)."""
        own = size[::-1]
        crop = self.crops_coords_top_left or (0, 0)
        return (*(self.original_size or own), *crop, *(self.target_size or own))

    def list_null_sizes(self, size: Pair) -> tuple[int, ...]:
        """The six sizes of the null row."""
        original, target = self.negative_original_size, self.negative_target_size
        if original is None or target is None:
            return self.list_sizes(size)
        return (*original, *(self.negative_crops_coords_top_left or (0, 0)), *target)

    def describe(self) -> dict[str, Any]:
        """What is not the default, as JSON has it."""
        pairs = asdict(self).items()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in pairs if v is not None}


PLAIN = XLCondition()


def read_xl(value: Any) -> XLCondition:
    """What was given: None is the default. Raises BadInput for anything else."""
    if value is None:
        return PLAIN
    if not isinstance(value, XLCondition):
        raise BadInput(f"xl must be an XLCondition, got {value!r:.80}")
    return value


def from_settings(saved: Any) -> XLCondition:
    """The XLCondition of what describe gave. Raises BadInput if it is none."""
    names = set(asdict(PLAIN))
    if not isinstance(saved, dict) or not set(saved) <= names:
        raise BadInput(f"xl must be the settings of an XLCondition, got {saved!r:.80}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    return XLCondition(**values)


def follow_source(xl: XLCondition | None, source: XLCondition, own_negative: bool) -> XLCondition:
    """What an edit reads: its own where given, else the sizes of its source.

    own_negative: the edit has another negative prompt, so the source's second one is left out.
    """
    own = read_xl(xl)
    names = [name for name in SIZES if getattr(own, name) is None]
    if any(getattr(own, name) is not None for name in NULL):
        names = [name for name in names if name not in NULL]
    names += [] if own_negative or own.negative_prompt_2 is not None else ["negative_prompt_2"]
    return replace(own, **{name: getattr(source, name) for name in names})


def has_same_null(one: XLCondition, other: XLCondition) -> bool:
    """Whether both have the same null row beside one negative prompt, for pictures of any size."""
    texts = (one.negative_prompt_2 or "") == (other.negative_prompt_2 or "")
    return texts and all(one.list_null_sizes(p) == other.list_null_sizes(p) for p in PROBES)


def has_one_row(xl: XLCondition, prompt: Any, negative_prompt: str) -> bool:
    """Whether the null row reads the same as the prompt's row."""
    seconds = (xl.prompt_2 or prompt) == (xl.negative_prompt_2 or negative_prompt)
    sizes = all(xl.list_sizes(one) == xl.list_null_sizes(one) for one in PROBES)
    return prompt == negative_prompt and seconds and sizes


def check_reads(xl: XLCondition, prompt: Any, negative_prompt: str) -> None:
    """Raise BadInput for what a model with one text encoder has no use for."""
    for name, first in (("prompt_2", prompt), ("negative_prompt_2", negative_prompt)):
        second = getattr(xl, name)
        if second and second != first:
            raise BadInput(
                f"{name} is for a second text encoder, the model has one: {second!r:.60}", name
            )
    for name in SIZES:
        if getattr(xl, name) is not None:
            raise BadInput(f"{name} is for Stable Diffusion XL, the model reads no sizes", name)
