"""The types of fields: their bounds, and what an error says of other values."""

import json
import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

SIZE = r"auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4}"

# Equal to the core's names, but without null-text: it can't run through a batcher.
Variant = Literal["epsilon", "c", "x", "beta"]
Schedule = Literal["constant", "linear", "cosine", "exp", "leash", "local-leash"]
InversionName = Literal[
    "replay", "ddim", "fixed-point", "negative-prompt", "direct", "edit-friendly"
]
FitMode = Literal["crop", "pad", "resize"]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]


def read_window(value: Any) -> Any:
    """A window as a pair; in JSON it is a list, or null for the default."""
    if value is None:
        return (None, None)
    return tuple(value) if isinstance(value, list) else value


Window = Annotated[tuple[FiniteFloat | None, FiniteFloat | None], BeforeValidator(read_window)]
Deadline = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
GuidanceScale = Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)]
# What SDXL reads beside the prompts; mdp_lite/cli/xl.py reads and checks the texts.
SecondPrompt = Annotated[
    str | None, Field(description="what SDXL's second text encoder reads; by default the prompt")
]
XLSizeText = Annotated[str, Field(json_schema_extra={"pattern": "^[1-9][0-9]*x[1-9][0-9]*$"})]
XLSize = Annotated[
    XLSizeText | None,
    Field(description="WIDTHxHEIGHT, as 1024x768, which SDXL reads; by default the picture's"),
]
XLCornerText = Annotated[str, Field(json_schema_extra={"pattern": "^[0-9]+,[0-9]+$"})]
XLCorner = Annotated[
    XLCornerText | None, Field(description="X,Y, as 0,128, which SDXL reads; by default 0,0")
]


def read_flag(value: Any, info: ValidationInfo) -> Any:
    """A flag of a form, which is a text there; in JSON (fields.read_fields) a text is none."""
    if not isinstance(value, str) or info.context:
        return value
    flags = {"true": True, "1": True, "false": False, "0": False}
    if value.lower() not in flags:
        raise ValueError(f"must be true or false, got {value[:40]!r}")
    return flags[value.lower()]


def check_size_text(text: str) -> str:
    """The text if it is a size. Raises ValueError with what an error says after the field."""
    if not re.fullmatch(SIZE, text):
        raise ValueError(f"must be WIDTHxHEIGHT in pixels, as 512x512, or auto, got {text[:40]!r}")
    return text


def check_prompt(text: str) -> str:
    """The text if it says something, as on the page."""
    if not text.strip():
        raise ValueError("must say what the picture is to show, got nothing")
    return text


def check_background(text: str) -> str:
    """The text if it is a background that pictures have."""
    if text not in ("auto", "opaque"):
        raise ValueError(f"must be opaque or auto: no picture is transparent, got {text[:40]!r}")
    return text


def check_response_format(text: str) -> str:
    """The text if pictures are answered in that way."""
    if text != "b64_json":
        why = "pictures are in the answer, none is kept at an address"
        raise ValueError(f"must be b64_json: {why}, got {text[:40]!r}")
    return text


def check_file_format(text: str) -> str:
    """The text if pictures can be written in that format."""
    if text not in ("png", "jpeg", "webp"):
        why = ": no animation or drawing is made here" if text in ("gif", "svg") else ""
        raise ValueError(f"must be png, jpeg or webp{why}, got {text[:40]!r}")
    return text


Flag = Annotated[bool, BeforeValidator(read_flag)]
SizeText = Annotated[
    str, AfterValidator(check_size_text), Field(json_schema_extra={"pattern": f"^({SIZE})$"})
]
Prompt = Annotated[str, AfterValidator(check_prompt), Field(json_schema_extra={"pattern": r"\S"})]
FileFormat = Annotated[
    str,
    AfterValidator(check_file_format),
    Field(json_schema_extra={"enum": ["png", "jpeg", "webp"]}),
]
ResponseFormat = Annotated[
    str, AfterValidator(check_response_format), Field(json_schema_extra={"enum": ["b64_json"]})
]
Background = Annotated[
    str, AfterValidator(check_background), Field(json_schema_extra={"enum": ["auto", "opaque"]})
]


Quality = Literal["draft", "standard", "best", "auto", "low", "medium", "high", "hd"]
# What OpenAI's words mean here; auto is the model's own number of steps.
OPENAI_QUALITIES = {"low": "draft", "medium": "standard", "high": "best", "hd": "best"}
# How answers say it in OpenAI's words.
ANSWER_QUALITIES = {"draft": "low", "standard": "medium", "best": "high", "hd": "high"}


class LoraChoice(NamedTuple):
    """A LoRA that a request names, and its weight."""

    name: str
    weight: float = 1.0


LARGEST_WEIGHT = 10.0  # of a LoRA, either way
MOST_LORAS = 8  # of one request


def read_loras(value: Any) -> tuple[LoraChoice, ...]:
    """LoRAs as a list of objects, or as such a list in JSON, which forms send."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"must be a list in JSON, got {value[:40]!r}") from None
    if not isinstance(value, list | tuple) or len(value) > MOST_LORAS:
        raise ValueError(f"must be a list of at most {MOST_LORAS} LoRAs, got {str(value)[:40]}")
    found = tuple(_read_lora(one) for one in value)
    if len({one.name for one in found}) < len(found):
        raise ValueError("must name each LoRA once")
    return found


def _read_lora(value: Any) -> LoraChoice:
    if isinstance(value, LoraChoice):
        return value
    want = 'must have objects as {"name": "x", "weight": 0.8}'
    if not isinstance(value, dict) or not {"name"} <= set(value) <= {"name", "weight"}:
        raise ValueError(f"{want}, got {str(value)[:40]}")
    name, weight = value["name"], value.get("weight", 1.0)
    if not isinstance(name, str) or type(weight) not in (int, float):
        raise ValueError(f"{want}, got {str(value)[:40]}")
    if not abs(weight) <= LARGEST_WEIGHT:
        raise ValueError(f"must have weights from -{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}")
    return LoraChoice(name, float(weight))


LORA_SCHEMA = {
    "type": "array",
    "maxItems": MOST_LORAS,
    "items": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string"},
            "weight": {
                "type": "number",
                "default": 1.0,
                "minimum": -LARGEST_WEIGHT,
                "maximum": LARGEST_WEIGHT,
            },
        },
    },
}
Loras = Annotated[
    tuple[LoraChoice, ...],
    BeforeValidator(read_loras),
    WithJsonSchema(LORA_SCHEMA),
]
