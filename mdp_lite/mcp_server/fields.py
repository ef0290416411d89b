"""What each tool takes. Types and bounds are the service's; texts are for assistants."""

from typing import Annotated

from pydantic import Field

from mdp_lite.serve.field_types import (
    Deadline,
    FileFormat,
    FitMode,
    GuidanceScale,
    InversionName,
    Prompt,
    Schedule,
    SizeText,
    Variant,
    Window,
)
from mdp_lite.serve.fields import RequestFields, SamplingFields, SteeringFields

OF_FOLDERS = ("image_path", "mask_path", "save_as")  # need a folder that the operator named


class NoFields(RequestFields):
    """Nothing: the tool has no choices."""


class SourceName(RequestFields):
    """A source by its id."""

    source: str
    """the id of a source, as an earlier result says it"""


class TimedFields(RequestFields):
    """What all tools that make pictures have in common."""

    output_format: FileFormat = "png"
    """the format of the picture in the answer; jpeg and webp are smaller than png"""
    deadline: Deadline | None = None
    """seconds after which the work ends; an edit that has begun then gives its best picture"""


class SavedFields(TimedFields):
    """The same for a tool that makes one picture."""

    save_as: str | None = None
    """also write the picture to this file (.png, .jpg or .webp), which must not exist yet; a
    relative path is in the first folder that describe_model lists"""


class PictureFields(RequestFields):
    """A picture, and how it is inverted."""

    image: str | None = None
    """the picture as base64 or as a data: URL; web addresses are never fetched"""
    image_path: str | None = None
    """the picture's file, in one of the folders that describe_model lists"""
    source_prompt: str = ""
    """what the picture shows now, as exactly as the prompt says what it should show"""
    inversion: InversionName = "edit-friendly"
    """the method of inversion; the default suits nearly all edits"""
    fit: FitMode = "crop"
    """how the picture is brought to the model's size"""
    size: SizeText = "auto"
    """WIDTHxHEIGHT in pixels, or auto: the picture's own"""


class EditPicture(SavedFields, SamplingFields, SteeringFields, PictureFields):
    """edit_picture: of a picture, or of a source that exists."""

    prompt: Prompt
    """what the edited picture should show: the whole picture, not an order"""
    source: str | None = None
    """instead of a picture: the id of a source, so that nothing is inverted again"""
    mask: str | None = None
    """a picture of the same size as base64 or data: URL; only where it is white changes"""
    mask_path: str | None = None
    """the mask's file, in one of the folders that describe_model lists"""


class GeneratePicture(SavedFields, SamplingFields):
    """generate_picture: from a prompt and a seed."""

    prompt: Prompt
    """what the picture is to show"""
    size: SizeText = "auto"
    """WIDTHxHEIGHT in pixels, or auto: the model's"""
    record_noise: bool = False
    """spend twice the steps so that later edits stay closer to the picture"""
    record_direction: bool = False
    """let later edits use guidance_every"""


class InvertPicture(SavedFields, SamplingFields, PictureFields):
    """invert_picture: once, so that edits need not do it again."""

    record_direction: bool = False
    """let later edits use guidance_every"""


class SweepEdits(TimedFields):
    """sweep_edits: every combination of settings, for a source that exists."""

    source: str
    """the id of a source, as an earlier result says it"""
    prompts: Annotated[list[Prompt], Field(min_length=1, max_length=64)]
    """what the edited pictures should show"""
    variants: Annotated[list[Variant | None], Field(min_length=1, max_length=4)] = [None]
    """what the edits mix with their source"""
    windows: Annotated[list[Window], Field(min_length=1)] = [(None, None)]
    """pairs of t_max and t_m; null is the default"""
    schedules: Annotated[list[Schedule | None], Field(min_length=1, max_length=6)] = [None]
    """the weights within the windows"""
    guidance_scales: Annotated[list[GuidanceScale | None], Field(min_length=1)] = [None]
    """scales of classifier-free guidance"""
    guidance_every: Annotated[int, Field(ge=1, le=1000)] = 1
    """ask the null row at every so many guided steps only: 2 saves about a quarter of the work"""
