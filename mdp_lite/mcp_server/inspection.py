"""The tools that compute nothing: the model and its limits, and the sources of a session."""

from typing import get_args

from mdp_lite.mcp_server.calls import ToolAnswer, ToolCall, find_source
from mdp_lite.mcp_server.fields import NoFields, SourceName
from mdp_lite.mcp_server.results import DroppedSource, ModelOutput, SourceOutput, SourcesOutput
from mdp_lite.names import QUALITIES, SCHEDULES, VARIANTS
from mdp_lite.pipeline.result import Source
from mdp_lite.serve import pictures
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.field_types import InversionName
from mdp_lite.serve.work import seed_of

LIMITS = ("body_bytes", "pixels", "steps", "cells", "prompt", "rows", "deadline", "sources")


async def describe_model(call: ToolCall, fields: NoFields) -> ToolAnswer:
    """The model, its defaults, its words, the folders and the limits."""
    service, editor = call.service, call.service.editor
    defaults, (width, height) = editor.models.defaults, editor.runner.size
    limits = {name: float(getattr(service.settings.limits, name)) for name in LIMITS}
    output = ModelOutput(
        model=service.settings.alias, size=f"{width}x{height}", multiple_of=editor.runner.factor,
        num_inference_steps=defaults.num_inference_steps,
        quality_steps={one: defaults.steps_of(one) for one in QUALITIES},
        guidance_scale=defaults.guidance_scale, words=sorted(editor.models.knowledge.words),
        variants=list(VARIANTS), schedules=list(SCHEDULES),
        inversions=list(get_args(InversionName)), folders=list(map(str, call.folders)),
        limits=limits | {"side": float(call.model.max_side)},
    )  # fmt: skip
    return ToolAnswer([], output)


async def list_sources(call: ToolCall, fields: NoFields) -> ToolAnswer:
    """The sources of this session. Raises ApiError without one: they could be others'."""
    if not call.has_session:
        message = "this connection has no session: a source is known by its id alone"
        raise ApiError(400, message, "no_session")
    there = call.service.store.list_sources(call.owner)
    return ToolAnswer([], SourcesOutput(sources=[_describe(call, *one) for one in there.items()]))


async def drop_source(call: ToolCall, fields: SourceName) -> ToolAnswer:
    """Delete a source."""
    find_source(call, fields.source)
    call.service.store.drop(fields.source, call.owner)
    return ToolAnswer([], DroppedSource(source=fields.source, dropped=True))


def _describe(call: ToolCall, name: str, source: Source) -> SourceOutput:
    return SourceOutput(
        source=name, expires_in=round(call.service.store.seconds_left(name)),
        prompt=source.prompt, method=source.method, seed=seed_of(source),
        num_inference_steps=len(source.grid.t), size=pictures.format_size(source.picture),
    )  # fmt: skip
