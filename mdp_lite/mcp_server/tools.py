"""The list of tools: names, what they say to an assistant, what they take and answer."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from mcp.types import Tool, ToolAnnotations
from pydantic import BaseModel

from mdp_lite.editor import Editor
from mdp_lite.mcp_server import fields, handlers, inspection, results
from mdp_lite.mcp_server.calls import ToolAnswer, ToolCall

MAX_WORDS = 100  # of a vocabulary that descriptions list whole


class ToolEntry(NamedTuple):
    """A tool. kind: "makes" pictures, "reads" what is there, or "drops" something."""

    name: str
    title: str
    text: str
    takes: type[BaseModel]
    gives: type[BaseModel]
    run: Callable[[ToolCall, Any], Awaitable[ToolAnswer]]
    kind: str = "makes"


TOOLS = (
    ToolEntry(
        "edit_picture", "Edit a picture by text",
        "Change a picture by text and leave the rest of it as it was. Say in source_prompt what "
        "the picture shows now and in prompt what it should show, in the same words but for the "
        "change: 'a red house on the grass', then 'a blue house on the grass'. Give the picture as "
        "image, or source with the id of an earlier result, which is faster: for several edits of "
        "one picture give the picture once and then its source. strength says how far to go: 0 is "
        "the picture as it is, 1 is the prompt alone; leave it out first, raise it if too little "
        "changes, lower it if too much does. Give a mask (white is edited), or mask_auto, if the "
        "rest must stay the same to the pixel. If the answer has unknown_words, use other words.",
        fields.EditPicture, results.MadePicture, handlers.edit_picture,
    ),
    ToolEntry(
        "generate_picture", "Generate a picture from text",
        "Make a picture from a prompt and a seed. The answer has a source id with which "
        "edit_picture and sweep_edits change it. The same prompt, seed and settings give the same "
        "picture. Set record_noise if it will be edited.",
        fields.GeneratePicture, results.MadePicture, handlers.generate_picture,
    ),
    ToolEntry(
        "invert_picture", "Prepare a picture for many edits",
        "Find the path from noise to a picture, once, so that edit_picture and sweep_edits can "
        "use its source id again and again. source_prompt says what the picture shows. The answer "
        "shows what the model makes of the picture without any edit: if that is far from it, "
        "edits will be too.",
        fields.InvertPicture, results.MadePicture, handlers.invert_picture,
    ),
    ToolEntry(
        "sweep_edits", "Try many edits of a source",
        "Edit a source in every combination of prompts, variants, windows, schedules and guidance "
        "scales, to compare them; steps that are equal are computed once. The answer has one image "
        "for each, in the order of its pictures. Use edit_picture for a single edit.",
        fields.SweepEdits, results.SweepOutput, handlers.sweep_edits,
    ),
    ToolEntry(
        "describe_model", "What the model can do",
        "The model's name and size of pictures, the words that it knows, its defaults, the "
        "folders whose files may be named, and the limits of a request. Costs nothing.",
        fields.NoFields, results.ModelOutput, inspection.describe_model, "reads",
    ),
    ToolEntry(
        "list_sources", "The sources of this session",
        "All sources that this session can still edit, with what they show and how long they are "
        "there.",
        fields.NoFields, results.SourcesOutput, inspection.list_sources, "reads",
    ),
    ToolEntry(
        "drop_source", "Delete a source",
        "Delete a source that is not needed any more, and free its memory. Sources also expire by "
        "themselves.",
        fields.SourceName, results.DroppedSource, inspection.drop_source, "drops",
    ),
)  # fmt: skip
BY_NAME = {tool.name: tool for tool in TOOLS}


def list_tools(editor: Editor, has_folders: bool) -> list[Tool]:
    """The tools as a client sees them; without a folder they take no paths."""
    return [_describe(tool, describe_scope(editor), has_folders) for tool in TOOLS]


def _describe(tool: ToolEntry, scope: str, has_folders: bool) -> Tool:
    schema = tool.takes.model_json_schema()
    for name in () if has_folders else fields.OF_FOLDERS:
        schema["properties"].pop(name, None)
    makes, writes = tool.kind == "makes", has_folders and "save_as" in schema["properties"]
    return Tool(
        name=tool.name, title=tool.title,
        description=f"{tool.text} {scope}" if makes else tool.text,
        input_schema=schema, output_schema=tool.gives.model_json_schema(mode="serialization"),
        annotations=ToolAnnotations(
            title=tool.title, read_only_hint=tool.kind != "drops" and not writes,
            destructive_hint=tool.kind == "drops", idempotent_hint=not makes,
            open_world_hint=False,
        ),
    )  # fmt: skip


def describe_scope(editor: Editor) -> str:
    """What the model can draw, in a sentence or two."""
    (width, height), words = editor.runner.size, sorted(editor.models.knowledge.words)
    size = f"The model's pictures are {width}x{height} pixels."
    if not words:
        return size
    some = words if len(words) <= MAX_WORDS else [*words[:MAX_WORDS], "..."]
    return f"{size} It was trained on these words alone: {', '.join(some)}."
