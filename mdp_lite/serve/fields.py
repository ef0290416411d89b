"""The fields of all requests, with types and bounds. The limits of a service come on top."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# Equal to the core's names, but without null-text: it can't run through a batcher.
Variant = Literal["epsilon", "c", "x", "beta"]
Schedule = Literal["constant", "linear", "cosine", "exp", "leash", "local-leash"]
InversionName = Literal[
    "replay", "ddim", "fixed-point", "negative-prompt", "direct", "edit-friendly"
]
FileFormat = Literal["png", "jpeg", "webp"]
FitMode = Literal["crop", "pad", "resize"]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Deadline = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
GuidanceScale = Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)]
# What SDXL reads beside the prompts; mdp_lite/cli/xl.py reads and checks the texts.
SecondPrompt = Annotated[
    str | None, Field(description="what SDXL's second text encoder reads; by default the prompt")
]
XLSize = Annotated[
    str | None,
    Field(
        description="WIDTHxHEIGHT, which SDXL reads; by default the picture's",
        examples=["1024x768"],
    ),
]
XLCorner = Annotated[
    str | None, Field(description="X,Y, which SDXL reads; by default 0,0", examples=["0,128"])
]
SizeText = Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")]


class CommonFields(BaseModel):
    """Fields of every request for pictures. quality, background and alike have no effect."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    n: Annotated[int, Field(ge=1, le=10)] = 1
    size: SizeText = "auto"
    output_format: FileFormat = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    response_format: Literal["b64_json"] | None = None
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0
    deadline: Deadline | None = None
    user: Annotated[str, Field(max_length=256)] | None = None
    quality: str | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: str | None = None
    style: str | None = None
    input_fidelity: str | None = None


class SamplingFields(BaseModel):
    """How a path is sampled."""

    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    fast: bool = False
    guidance_scale: GuidanceScale | None = None
    negative_prompt: str | None = None
    seed: Seed | None = None


class SteeringFields(BaseModel):
    """How an edit leaves its source."""

    variant: Variant | None = None
    t_max: FiniteFloat | None = None
    t_m: FiniteFloat | None = None
    schedule: Schedule | None = None
    strength: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    proximal: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = None
    weight: FiniteFloat | None = None
    mask_auto: bool = False
    feather: Annotated[int, Field(ge=0, le=1024)] = 0


class XLFields(BaseModel):
    """What SDXL reads beside a prompt, of a source and of its edits."""

    negative_prompt_2: SecondPrompt = None
    original_size: XLSize = None
    crop: XLCorner = None
    target_size: XLSize = None
    negative_original_size: XLSize = None
    negative_crop: XLCorner = None
    negative_target_size: XLSize = None


class InversionFields(BaseModel):
    """How a picture is inverted."""

    source_prompt: str = ""
    source_prompt_2: SecondPrompt = None
    inversion: InversionName = "edit-friendly"
    fit: FitMode = "crop"


class EditFields(CommonFields, SamplingFields, SteeringFields, InversionFields, XLFields):
    """POST /v1/images/edits, besides its pictures."""

    prompt: str
    prompt_2: SecondPrompt = None


class SourceEditFields(CommonFields, SteeringFields, XLFields):
    """POST /v1/sources/{id}/edits; sizes are by default the source's."""

    prompt: str
    prompt_2: SecondPrompt = None
    guidance_scale: GuidanceScale | None = None
    negative_prompt: str | None = None


class GenerationFields(CommonFields, SamplingFields, SteeringFields, XLFields):
    """POST /v1/images/generations; with an edit_prompt the picture is edited at once."""

    prompt: str
    record_noise: bool = False
    prompt_2: SecondPrompt = None
    edit_prompt: str | None = None
    edit_prompt_2: SecondPrompt = None


class SourceFields(SamplingFields, InversionFields, XLFields):
    """POST /v1/sources: from a picture, or without one from a prompt and a seed."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    size: SizeText = "auto"
    record_noise: bool = False
    deadline: Deadline | None = None


class SweepFields(XLFields):
    """POST /v1/sweeps: every combination of settings, for a source that exists."""

    model_config = ConfigDict(extra="forbid")

    source: str
    prompts: Annotated[list[str], Field(min_length=1, max_length=64)]
    variants: Annotated[list[Variant | None], Field(min_length=1, max_length=4)] = [None]
    windows: Annotated[list[tuple[FiniteFloat | None, FiniteFloat | None]], Field(min_length=1)] = [
        (None, None)
    ]
    schedules: Annotated[list[Schedule | None], Field(min_length=1, max_length=6)] = [None]
    guidance_scales: Annotated[list[GuidanceScale | None], Field(min_length=1)] = [None]
    prompt_2: SecondPrompt = None
    model: str | None = None
    output_format: FileFormat = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    deadline: Deadline | None = None


def field_names(*models: type[BaseModel]) -> tuple[str, ...]:
    """The names of all fields of these requests."""
    return tuple(name for model in models for name in model.model_fields)


def form_schema(model: type[BaseModel], pictures: dict[str, Any], required: list[str]) -> Any:
    """The JSON schema of a multipart form: a request's fields and its pictures."""
    schema = model.model_json_schema()
    schema["properties"] |= pictures
    schema["required"] = [*schema.get("required", ()), *required]
    return schema
