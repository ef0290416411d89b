"""What the tools do. Each checks everything first, then lets the service's engine work."""

import secrets
import time
from pathlib import Path
from typing import Any, cast

from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.mcp_server.calls import (
    ToolAnswer,
    ToolCall,
    find_source,
    hold_answer,
    keep_source,
    observe,
)
from mdp_lite.mcp_server.fields import (
    EditPicture,
    GeneratePicture,
    InvertPicture,
    SavedFields,
    SweepEdits,
)
from mdp_lite.mcp_server.folders import check_new_file
from mdp_lite.mcp_server.pictures import (
    encode_result,
    read_mask,
    read_picture,
    save_picture,
    to_content,
)
from mdp_lite.mcp_server.progress import ProgressSender, run_work
from mdp_lite.mcp_server.results import MadePicture, PictureOutput, SweepOutput, describe_cost
from mdp_lite.pipeline.likeness import describe_unlike_source
from mdp_lite.pipeline.provenance import describe_source
from mdp_lite.pipeline.result import Cost, Source, add_costs
from mdp_lite.serve import conflicts, costs, limit_checks, pictures, tasks, work
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.fields import SweepFields
from mdp_lite.serve.holdings import TOOL_COPIES, made_source_bytes, size_of_task, working_bytes
from mdp_lite.serve.reserve import hold_sweep
from mdp_lite.serve.work import EditSpec, PictureResult, PromptRecipe, Recipe

# What a source has already, so that an edit of one can't choose it.
OF_SOURCES = ("source_prompt", "num_inference_steps", "quality", "seed", "inversion", "fit", "size")
STAGES = {"generate": "generating", "invert": "inverting"}
SEEDS = 2**32  # a generation without a seed gets a random one below this


async def edit_picture(call: ToolCall, fields: EditPicture) -> ToolAnswer:
    """Edit a picture, which is inverted first, or a source."""
    path = check_fields(call, fields)
    origin = await _find_origin(call, fields)
    mask = await _read_mask_of(call, fields, origin)
    end, editor = call.find_end(fields.deadline), call.model.editor
    spec = EditSpec(
        fields.prompt, fields, fields.guidance_scale, fields.negative_prompt, mask, end
    )  # fmt: skip
    cost = costs.work_of_source(editor, origin) + costs.work_of_edit(editor, origin, spec)

    def run(editor: Editor, sender: ProgressSender) -> tuple[Source, PictureResult]:
        started, on_step = time.monotonic(), sender.open_stage(STAGES["invert"], is_last=False)
        source = work.get_or_make_source(editor, origin, mask, end, on_step)
        seconds = {} if source is origin else {"invert": time.monotonic() - started}
        on_step = sender.open_stage("editing")
        result = work.edit_picture(editor, source, spec, lambda image: None, on_step)
        return source, result._replace(seconds=seconds | {"edit": result.seconds["edit"]})

    task = size_of_task(editor, origin, spec)
    hold_answer(call, task.picture)
    working = working_bytes(editor, task)
    (source, result), waited = await run_work(call, cost, working, run, end)
    if not isinstance(origin, Source):
        result = result._replace(cost=add_costs(source.cost, result.cost))
    kind, name = ("source_edit", fields.source) if fields.source else ("edit", None)
    return await _answer(call, fields, source, name, result, path, kind, waited)


async def generate_picture(call: ToolCall, fields: GeneratePicture) -> ToolAnswer:
    """Generate a picture and keep it as a source."""
    path = check_fields(call, fields)
    fields = limit_checks.fit_to_model(fields, call.model)
    seed = secrets.randbelow(SEEDS) if fields.seed is None else fields.seed
    recipe = PromptRecipe(
        fields.prompt, seed, fields.num_inference_steps, fields.guidance_scale,
        fields.negative_prompt or "", limit_checks.check_size(fields.size, call.model),
        record_noise=fields.record_noise, record_direction=fields.record_direction,
    )  # fmt: skip
    cost = costs.work_of_generation(call.model.editor, recipe)
    return await _make_source(call, fields, recipe, cost, "generate", path)


async def invert_picture(call: ToolCall, fields: InvertPicture) -> ToolAnswer:
    """Invert a picture and keep it as a source; the answer shows what comes back of it."""
    path = check_fields(call, fields)
    recipe = await _read_recipe(call, fields)
    cost = costs.work_of_source(call.model.editor, recipe)
    return await _make_source(call, fields, recipe, cost, "invert", path)


async def sweep_edits(call: ToolCall, fields: SweepEdits) -> ToolAnswer:
    """Edit a source in many ways at once."""
    service, end = call.service, call.find_end(fields.deadline)
    limit_checks.check_limits(fields, service)
    cells = limit_checks.check_cells(fields, service)
    source = find_source(call, fields.source)
    how = SweepFields.model_validate(fields.model_dump(exclude_unset=True))
    cost = costs.work_of_sweep(call.model.editor, source, how, cells)

    def run(editor: Editor, sender: ProgressSender) -> tuple[list[PictureResult], Cost]:
        on_step = sender.open_stage("editing")
        return work.sweep_pictures(editor, source, how, call.model.max_rows, end, on_step)

    editor = call.model.editor
    working = hold_sweep(editor, source, how, service.settings.limits, call.lease, TOOL_COPIES)
    (results, spent), waited = await run_work(call, cost, working, run, end)
    files = [await encode_result(call, one, fields.output_format) for one in results]
    observe(call, {"queue": waited, **results[0].seconds}, "sweep")
    service.metrics.count_pictures("sweep", results)
    return ToolAnswer(
        [to_content(data, fields.output_format) for data in files],
        SweepOutput(
            source=fields.source, pictures=[_describe(call, one) for one in results],
            cost=describe_cost(spent), seconds=_round({"queue": waited, **results[0].seconds}),
        ),
    )  # fmt: skip


def check_fields(call: ToolCall, fields: SavedFields) -> Path | None:
    """Check the limits and the file to be written, before a picture is read; its path."""
    limit_checks.check_limits(fields, call.service)
    return None if fields.save_as is None else check_new_file(call.folders, fields.save_as)


async def _find_origin(call: ToolCall, fields: EditPicture) -> Recipe | Source:
    """The source of an edit, or how to make it."""
    if fields.source is None:
        return await _read_recipe(call, fields)
    if fields.image or fields.image_path:
        raise _refuse("source", "is instead of a picture: give one of them")
    for name in conflicts.find_changed(fields, OF_SOURCES):
        raise _refuse(name, "is of the source, which exists: leave it out")
    return find_source(call, fields.source)


async def _read_recipe(call: ToolCall, fields: EditPicture | InvertPicture) -> Recipe:
    """How to invert the picture of a call, which is read here."""
    own = "source, " if isinstance(fields, EditPicture) else ""
    if bool(fields.image) == bool(fields.image_path):
        raise _refuse("image", f"must be given: one of {own}image, image_path")
    steps: Any = limit_checks.fit_to_model(fields, call.model)
    limit_checks.check_limits(steps, call.service)
    picture = await read_picture(call, fields)
    seed = (fields.seed or 0) if fields.inversion == "edit-friendly" else fields.seed
    return tasks.picture_recipe(picture, steps, seed)


async def _read_mask_of(
    call: ToolCall, fields: EditPicture, origin: Recipe | Source
) -> Image.Image | None:
    """The mask of an edit, if it has one, which must fit its picture."""
    conflicts.check_edit(cast(Any, fields), bool(fields.mask or fields.mask_path))
    mask = await read_mask(call, fields)
    picture = cast(Any, origin).picture
    if mask and mask.size != picture.size:
        want, got = pictures.format_size(picture), pictures.format_size(mask)
        raise _refuse("mask", f"must have the picture's size {want}, got {got}")
    if mask and not mask.getbbox():
        raise _refuse("mask", "must be transparent, or else white, somewhere: that is edited")
    return mask


async def _make_source(
    call: ToolCall, fields: GeneratePicture | InvertPicture, recipe: Recipe, cost: int,
    stage: str, path: Path | None,
) -> ToolAnswer:  # fmt: skip
    """Make a source and answer with its picture."""
    end = call.find_end(fields.deadline)

    def run(editor: Editor, sender: ProgressSender) -> tuple[Source, PictureResult]:
        started, on_step = time.monotonic(), sender.open_stage(STAGES[stage])
        source = work.get_or_make_source(editor, recipe, end=end, on_step=on_step)
        seconds = {stage: time.monotonic() - started}
        return source, _show_source(editor, source, seconds)

    editor = call.model.editor
    call.lease.hold(source=made_source_bytes(editor, recipe))
    task = size_of_task(editor, recipe)
    hold_answer(call, task.picture)
    working = working_bytes(editor, task)
    (source, result), waited = await run_work(call, cost, working, run, end)
    call.service.metrics.sources.inc()
    kind = "generation" if stage == "generate" else None
    return await _answer(call, fields, source, None, result, path, kind, waited)


def _show_source(editor: Editor, source: Source, seconds: dict[str, float]) -> PictureResult:
    """The picture that a source decodes to, at the size of the picture that it was made from."""
    image = source.image if source.generated else source.fit.undo(source.image, source.picture)
    settings = describe_source(editor.models.name, source)
    words = work.find_unknown_words(editor, source.prompt)
    seed, notes = work.seed_of(source), tuple(describe_unlike_source(editor.runner, source))
    return PictureResult(
        image, settings, source.cost, seed, source.truncated, True, seconds, words, notes
    )  # fmt: skip


async def _answer(
    call: ToolCall, fields: SavedFields, source: Source, name: str | None, result: PictureResult,
    path: Path | None, kind: str | None, waited: float,
) -> ToolAnswer:  # fmt: skip
    """The answer with one picture; its source is stored unless it has a name already."""
    notes = list(result.notes)
    data = await encode_result(call, result, fields.output_format)
    failed = None if path is None else await save_picture(call, result, path)
    notes += [] if failed is None else [failed]
    name, metrics = name or keep_source(call, source, notes), call.service.metrics
    observe(call, {"queue": waited, **result.seconds}, kind or "source")
    if kind is not None:
        metrics.count_pictures(kind, [result])
    output = MadePicture(
        **_describe(call, result).model_dump(), source=name,
        expires_in=None if name is None else round(call.service.store.seconds_left(name)),
        cost=describe_cost(result.cost), seconds=_round({"queue": waited, **result.seconds}),
        saved_as=None if path is None or failed else str(path), notes=notes,
    )  # fmt: skip
    return ToolAnswer([to_content(data, fields.output_format)], output)


def _describe(call: ToolCall, result: PictureResult) -> PictureOutput:
    """What an answer says of a picture."""
    return PictureOutput(
        size=pictures.format_size(result.image),
        settings=result.settings | {"model": call.service.settings.alias}, seed=result.seed,
        finished=result.finished, truncated=result.truncated,
        unknown_words=list(result.unknown_words),
    )  # fmt: skip


def _round(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(value, 4) for stage, value in seconds.items()}


def _refuse(name: str, why: str) -> ApiError:
    return ApiError(400, f"{name} {why}", "invalid_value", name)
