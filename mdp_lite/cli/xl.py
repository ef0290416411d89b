"""What SDXL reads beside the prompts, as users write it: names, forms and errors of all surfaces.

The command, rows of a batch, requests of the service and the page read it here. A size is a text
WIDTHxHEIGHT, a crop a text X,Y; XLCondition has height and top first.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mdp_lite.cli.values import Pair, read_corner, read_size
from mdp_lite.models.config import UNetConfig
from mdp_lite.names import BadInput
from mdp_lite.pipeline import check
from mdp_lite.pipeline.xl import LARGEST, XLCondition, check_reads

Label = Callable[[str], str]  # how errors name a field: crop, --crop
PAIRS = {  # the names that users write, and those of XLCondition
    "original_size": "original_size",
    "crop": "crops_coords_top_left",
    "target_size": "target_size",
    "negative_original_size": "negative_original_size",
    "negative_crop": "negative_crops_coords_top_left",
    "negative_target_size": "negative_target_size",
}
SHARED = ("negative_prompt_2", *PAIRS)  # a source and its edits read these from the same fields
SECONDS = {"prompt_2": "prompt", "source_prompt_2": "source_prompt", "edit_prompt_2": "edit_prompt"}


def name_option(name: str) -> str:
    """How the command line names a field: --negative-crop for negative_crop."""
    return "--" + name.replace("_", "-")


def read_pair(name: str, value: object, label: Label = str) -> Pair:
    """A size as (height, width), or a crop as (top, left), from a text. Raises BadInput."""
    try:
        return read_corner(value) if name.endswith("crop") else read_size(value)
    except ValueError as error:
        raise BadInput(f"{label(name)} {error}") from None


def write_pair(name: str, pair: Pair) -> str:
    """The text of a size or a crop: what read_pair reads."""
    return f"{pair[1]},{pair[0]}" if name.endswith("crop") else f"{pair[1]}x{pair[0]}"


def build_xl(
    values: Mapping[str, Any], second: str = "prompt_2", label: Label = str
) -> XLCondition:
    """The XLCondition of fields by their names; None and empty second prompts are defaults.

    second is the field with the text for the second encoder: a source's is source_prompt_2. A pair
    is a text, or a Pair that was read. Raises BadInput that names a field as label does.
    """
    texts = {"prompt_2": values.get(second), "negative_prompt_2": values.get("negative_prompt_2")}
    for name, text in texts.items():
        if text is not None:
            check.text(label(second if name == "prompt_2" else name), text)
    pairs = {name: values.get(name) for name in PAIRS}
    read: dict[str, Any] = {
        PAIRS[name]: _check_pair(name, value, label)
        for name, value in pairs.items()
        if value is not None
    }
    try:
        return XLCondition(**{name: text or None for name, text in texts.items()}, **read)
    except BadInput as error:
        raise _rename(error, second, label) from None


def check_xl(
    config: UNetConfig, xl: XLCondition, prompt: Any, negative_prompt: str,
    second: str = "prompt_2", label: Label = str,
) -> None:  # fmt: skip
    """Raise BadInput for what a model that is not SDXL would not read; second as in build_xl."""
    if config.pooled_dim:
        return
    try:
        check_reads(xl, prompt, negative_prompt)
    except BadInput as error:
        raise _rename(error, second, label) from None


def describe_fields(xl: XLCondition, second: str = "prompt_2") -> dict[str, str]:
    """The fields as texts, by the names that users write, without those at their defaults."""
    texts = {second: xl.prompt_2, "negative_prompt_2": xl.negative_prompt_2}
    pairs = {name: getattr(xl, own) for name, own in PAIRS.items()}
    texts |= {name: pair and write_pair(name, pair) for name, pair in pairs.items()}
    return {name: text for name, text in texts.items() if text}


def _check_pair(name: str, value: Any, label: Label) -> Pair:
    """The pair of a field, within the bounds of XLCondition."""
    pair = value if isinstance(value, tuple) else read_pair(name, value, label)
    least = 0 if name.endswith("crop") else 1
    if not all(least <= one <= LARGEST for one in pair):
        want = f"two whole numbers from {least} to {LARGEST}"
        raise BadInput(f"{label(name)} must be {want}, got {write_pair(name, pair)!r}")
    return pair


def _rename(error: BadInput, second: str, label: Label) -> BadInput:
    """The error with the names that users write."""
    names = {own: label(name) for name, own in PAIRS.items()}
    names |= {"prompt_2": label(second), "negative_prompt_2": label("negative_prompt_2")}
    return BadInput(error.rename(names))
