"""The fields of all requests, with types and bounds. The limits of a service come on top."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mdp_lite.serve.errors import validate
from mdp_lite.serve.field_types import (
    Background,
    Deadline,
    FileFormat,
    FiniteFloat,
    FitMode,
    Flag,
    GuidanceScale,
    InversionName,
    Loras,
    Prompt,
    Quality,
    ResponseFormat,
    Schedule,
    SecondPrompt,
    Seed,
    SizeText,
    Variant,
    Window,
    XLCorner,
    XLSize,
)

T = TypeVar("T", bound=BaseModel)


class RequestFields(BaseModel):
    """What all requests have in common: no unknown field, and null means the default."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def drop_nulls(cls, values: Any) -> Any:
        """The fields that are given: clients send null for those that they leave to the service."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}


def _ignored(why: str) -> Any:
    """A field that is read by nothing, and why."""
    return Field(None, description=f"ignored: {why}")


def read_fields(kind: type[T], values: dict[str, Any]) -> T:
    """The fields of a request in JSON, whose values have the types that its schema says."""
    return validate(kind, values, strict=True, context={"kind": "JSON"})


class IgnoredFields(RequestFields):
    """Fields of OpenAI's that say nothing to this service. Answers list those that were given."""

    user: Any = _ignored("users are told apart by their API keys")
    safety_identifier: Any = _ignored("users are told apart by their API keys")
    moderation: Any = _ignored("the operator's safety hook is the same for all")
    style: Any = _ignored("the prompt says the style")
    input_fidelity: Any = _ignored("strength says how close an edit is to its picture")
    complexity: Any = _ignored("no picture is planned before it is made")
    prompt_rewriter: Any = _ignored("prompts are used as they are")
    frame_count: Any = _ignored("it is for output_format gif")
    frame_duration_ms: Any = _ignored("it is for output_format gif")
    svg: Any = _ignored("it is for output_format svg")


class CommonFields(IgnoredFields):
    """Fields of every request for pictures."""

    model: str | None = None
    """a name that /v1/models lists, or one of OpenAI's if the operator allows them"""
    lora: Loras = ()
    """LoRAs of the operator's folder, merged into the model in this order"""
    n: Annotated[int, Field(ge=1, le=10)] = 1
    """pictures of the answer, each with its own seed"""
    size: SizeText = "auto"
    """WIDTHxHEIGHT in pixels, or auto: the picture's own, else the model's"""
    output_format: FileFormat = "png"
    """the format of the picture's file"""
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    """the quality of a JPEG or WebP in percent, by default 90; a PNG loses nothing"""
    response_format: ResponseFormat | None = None
    """how pictures are sent: in the answer, as base64"""
    stream: Flag = False
    """answer with events; an answer of one picture only"""
    partial_images: Annotated[int, Field(ge=0, le=3)] = 0
    """previews in a stream"""
    deadline: Deadline | None = None
    """seconds after which the request ends, an edit with the best picture so far"""
    background: Background | None = None
    """of the picture; both mean the same"""


class SamplingFields(RequestFields):
    """How a path is sampled."""

    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """steps of the path, by default the model's"""
    quality: Quality | None = None
    """instead of num_inference_steps: draft (low) has 8 steps, a model of few steps 2; standard
    (medium) 20, best (high, hd) and auto the model's number"""
    guidance_scale: GuidanceScale | None = None
    """classifier-free guidance, by default the model's; 1 is none"""
    negative_prompt: str | None = None
    """what the picture must not show"""
    seed: Seed | None = None
    """the seed of the noise; a generation without one gets a random one"""


class SteeringFields(RequestFields):
    """How an edit leaves its source."""

    variant: Variant | None = None
    """what the edit mixes with its source: noise (epsilon), conditioning (c), latents (x), beta"""
    t_max: FiniteFloat | None = None
    """the window begins t_max steps before the end"""
    t_m: FiniteFloat | None = None
    """steps of the window"""
    schedule: Schedule | None = None
    """the weights within the window"""
    strength: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    """instead of a window: 0 is the source, 1 the prompt alone"""
    proximal: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = None
    """the quantile of guidance differences below which they are left out"""
    weight: FiniteFloat | None = None
    """the height of the window"""
    guidance_every: Annotated[int, Field(ge=1, le=1000)] = 1
    """ask the null row at every so many guided steps only: 2 saves about a quarter of the work"""
    mask_auto: Flag = False
    """find where to edit from the two prompts, instead of a mask"""
    feather: Annotated[int, Field(ge=0, le=1024)] = 0
    """pixels over which an edit fades inside its mask"""


class XLFields(RequestFields):
    """What SDXL reads beside a prompt, of a source and of its edits."""

    negative_prompt_2: SecondPrompt = None
    original_size: XLSize = None
    crop: XLCorner = None
    target_size: XLSize = None
    negative_original_size: XLSize = None
    negative_crop: XLCorner = None
    negative_target_size: XLSize = None


class InversionFields(RequestFields):
    """How a picture is inverted."""

    source_prompt: str = ""
    """what the picture shows"""
    source_prompt_2: SecondPrompt = None
    inversion: InversionName = "edit-friendly"
    """the method of inversion"""
    fit: FitMode = "crop"
    """how a picture gets the size of the request"""


class EditFields(CommonFields, SamplingFields, SteeringFields, InversionFields, XLFields):
    """POST /v1/images/edits, besides its pictures."""

    prompt: Prompt
    """what the edited picture is to show"""
    prompt_2: SecondPrompt = None


class SourceEditFields(CommonFields, SteeringFields, XLFields):
    """POST /v1/sources/{id}/edits; sizes are by default the source's."""

    prompt: Prompt
    """what the edited picture is to show"""
    prompt_2: SecondPrompt = None
    guidance_scale: GuidanceScale | None = None
    """classifier-free guidance, by default the model's; 1 is none"""
    negative_prompt: str | None = None
    """what the picture must not show, by default the source's"""
    quality: Any = _ignored("the source has its number of steps")


class GenerationFields(CommonFields, SamplingFields, SteeringFields, XLFields):
    """POST /v1/images/generations; with an edit_prompt the picture is edited at once."""

    prompt: Prompt
    """what the picture is to show"""
    record_noise: Flag = False
    """record the noise of the path, for edits that stay closer to the picture"""
    prompt_2: SecondPrompt = None
    edit_prompt: Prompt | None = None
    """what the edited picture is to show"""
    edit_prompt_2: SecondPrompt = None


class SourceFields(SamplingFields, InversionFields, XLFields):
    """POST /v1/sources: from a picture, or without one from a prompt and a seed."""

    model: str | None = None
    """a name that /v1/models lists, or one of OpenAI's if the operator allows them"""
    lora: Loras = ()
    """LoRAs of the operator's folder, merged into the model in this order"""
    size: SizeText = "auto"
    """WIDTHxHEIGHT in pixels, or auto: the picture's own, else the model's"""
    record_noise: Flag = False
    """record the noise of a generated source, for edits that stay closer to it"""
    record_direction: Flag = False
    """record the guidance directions of the path, for edits with guidance_every; of replay,
    fixed-point and null-text there are none"""
    deadline: Deadline | None = None
    """seconds after which the request ends without a source"""


class SweepFields(XLFields):
    """POST /v1/sweeps: every combination of settings, for a source that exists."""

    source: str
    """the id of a source"""
    prompts: Annotated[list[Prompt], Field(min_length=1, max_length=64)]
    """what the edited pictures are to show"""
    variants: Annotated[list[Variant | None], Field(min_length=1, max_length=4)] = [None]
    """what the edits mix with their source"""
    windows: Annotated[list[Window], Field(min_length=1)] = [(None, None)]
    """pairs of t_max and t_m"""
    schedules: Annotated[list[Schedule | None], Field(min_length=1, max_length=6)] = [None]
    """the weights within the windows"""
    guidance_scales: Annotated[list[GuidanceScale | None], Field(min_length=1)] = [None]
    """scales of classifier-free guidance"""
    guidance_every: Annotated[int, Field(ge=1, le=1000)] = 1
    """ask the null row at every so many guided steps only, in all edits"""
    prompt_2: SecondPrompt = None
    model: str | None = None
    """a name that /v1/models lists, or one of OpenAI's if the operator allows them"""
    lora: Loras = ()
    """LoRAs of the operator's folder, merged into the model in this order"""
    output_format: FileFormat = "png"
    """the format of the pictures' files"""
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    """the quality of a JPEG or WebP in percent, by default 90; a PNG loses nothing"""
    deadline: Deadline | None = None
    """seconds after which the request ends without pictures"""


def records_direction(fields: Any) -> bool:
    """Whether a request needs a source with guidance directions: by its own field, or its edit."""
    asked = getattr(fields, "record_direction", False)
    return asked or getattr(fields, "guidance_every", 1) > 1


def field_names(*models: type[BaseModel]) -> tuple[str, ...]:
    """The names of all fields of these requests."""
    return tuple(name for model in models for name in model.model_fields)


# With which an error of the library may begin.
NAMES = field_names(EditFields, GenerationFields, SweepFields)
