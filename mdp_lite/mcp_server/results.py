"""What each tool answers beside its pictures; assistants get these as structured content."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from mdp_lite.pipeline.result import Cost


class Output(BaseModel):
    """A result; its fields are described by their docstrings."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class CostOutput(Output):
    """What was computed."""

    unet_rows: int
    """latents that went through the UNet"""
    unet_calls: int
    """calls of the UNet"""


class PictureOutput(Output):
    """One picture."""

    size: str
    """WIDTHxHEIGHT in pixels"""
    settings: dict[str, Any]
    """all settings with which it was made, the defaults too"""
    seed: int | None
    """the seed of the noise, if there is one"""
    finished: bool
    """false: the deadline came first, and this is the best picture until then"""
    truncated: bool
    """true: a prompt was too long, and its end was not read"""
    unknown_words: list[str]
    """words of the prompts that the model was not trained on: say them in other words"""


class MadePicture(PictureOutput):
    """One picture and the source that further edits can use."""

    source: str | None
    """the id for further edits of what was inverted or generated (not of the edited picture)"""
    expires_in: int | None
    """seconds for which the source is there, counted again from each use"""
    cost: CostOutput
    """what was computed"""
    seconds: dict[str, float]
    """the seconds of each stage"""
    saved_as: str | None
    """the file that was written"""
    notes: list[str]
    """what else should be known, in sentences"""


class SweepOutput(Output):
    """The pictures of a sweep, in the order of the images of the answer."""

    source: str
    """the id of the source"""
    pictures: list[PictureOutput]
    """one for each combination"""
    cost: CostOutput
    """what was computed; equal steps were computed once"""
    seconds: dict[str, float]
    """the seconds of each stage"""


class SourceOutput(Output):
    """A source."""

    source: str
    """its id"""
    expires_in: int
    """seconds for which it is there, counted again from each use"""
    prompt: str
    """what it shows, as it was said"""
    method: str
    """how it was made: generate, or a method of inversion"""
    seed: int | None
    """the seed of the noise, if there is one"""
    num_inference_steps: int
    """steps of its path"""
    size: str
    """WIDTHxHEIGHT in pixels"""


class SourcesOutput(Output):
    """All sources of this session."""

    sources: list[SourceOutput]
    """the one that was used longest ago is first"""


class DroppedSource(Output):
    """A source that is gone."""

    source: str
    """the id that it had"""
    dropped: bool
    """true"""


class ModelOutput(Output):
    """The model and the limits."""

    model: str
    """its name"""
    size: str
    """WIDTHxHEIGHT of the pictures that it was trained on"""
    multiple_of: int
    """sides of other sizes must be multiples of this many pixels"""
    num_inference_steps: int
    """the default number of steps"""
    quality_steps: dict[str, int]
    """the number of steps of each quality"""
    guidance_scale: float
    """the default scale of classifier-free guidance"""
    words: list[str]
    """the only words that it knows; empty: it was trained on ordinary language"""
    variants: list[str]
    """what an edit may mix with its source; the first is the default"""
    schedules: list[str]
    """the weights that a window may have"""
    inversions: list[str]
    """methods of inversion"""
    folders: list[str]
    """folders in which image_path, mask_path and save_as may be; empty: paths are refused"""
    limits: dict[str, float]
    """what one request may ask for at most"""


def describe_cost(cost: Cost) -> CostOutput:
    """A cost as an answer says it."""
    return CostOutput(unet_rows=cost.unet_rows, unet_calls=cost.unet_calls)
