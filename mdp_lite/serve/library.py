"""Clients' sources by id: in this process, or made again from a recipe of any process.

Without a cache folder there are no recipes, and only the process that made a source knows it.
"""

import time
from functools import partial
from typing import NamedTuple

from fastapi import Request

from mdp_lite.editor import Editor
from mdp_lite.model_pool.keys import LoraFile, ModelKey
from mdp_lite.pipeline.result import Source
from mdp_lite.serve.answers import wait_for_disconnect
from mdp_lite.serve.bodies import observe_stages
from mdp_lite.serve.costs import work_of_source
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.field_types import LoraChoice
from mdp_lite.serve.holdings import (
    RGB,
    count_pixels,
    made_source_bytes,
    size_of_task,
    working_bytes,
)
from mdp_lite.serve.lora_folder import mark_loras
from mdp_lite.serve.memory import lease_of
from mdp_lite.serve.runs import admit, run_of
from mdp_lite.serve.served import ServedModel
from mdp_lite.serve.service import Service, run_while_connected
from mdp_lite.serve.store import source_bytes
from mdp_lite.serve.work import PictureRecipe, Recipe, get_or_make_source


async def make_source(
    request: Request, service: Service, model: ServedModel, recipe: Recipe,
    end: float | None = None, is_part: bool = False,
) -> Source:  # fmt: skip
    """A source from a recipe, as a task; it is cancelled if the client disconnects.

    end: its deadline on the monotonic clock. is_part: the request does not end with it. Raises
    DeadlineExceeded.
    """
    cost = work_of_source(model.editor, recipe)

    def work(editor: Editor) -> tuple[Source, float]:
        started = time.monotonic()
        return get_or_make_source(editor, recipe, end=end), time.monotonic() - started

    client = run_of(request).make_client()
    lease, editor = lease_of(request), model.editor
    working = working_bytes(editor, size_of_task(editor, recipe))
    pictures = recipe.picture.size if isinstance(recipe, PictureRecipe) else (0, 0)
    held = {"pictures": RGB * count_pixels(pictures), "source": made_source_bytes(editor, recipe)}
    lease.plan(working, **held)

    async def run() -> tuple[tuple[Source, float], float]:
        with lease.room(working) as room:
            return await service.run_task(cost, work, end, client, model, room)

    task = admit(request, service, cost, run, model, is_part)
    left = wait_for_disconnect(request)
    (source, seconds), waited = await run_while_connected(task, left, service.metrics.cancelled.inc)
    stage = "generate" if source.generated else "invert"
    observe_stages(request, service, {"queue": waited, stage: seconds})
    return source


async def keep_source(
    service: Service, model: ServedModel, owner: str, recipe: Recipe, source: Source
) -> str:
    """Store a new source and its recipe; returns its id once all processes can find it."""
    key = model.key
    name = service.store.put(source, owner, None, key)
    if (recipes := service.recipes.get(key.alias)) is not None:
        put = lambda: recipes.put(name, owner, recipe._replace(loras=mark_loras(key.loras)))  # noqa: E731
        try:
            await service.process_pictures(put)
        except OSError:
            service.store.drop(name, owner)
            message = "the folder of sources can't be written to"
            raise ApiError(503, message, "source_not_kept", retry=30) from None
    return name


class FoundSource(NamedTuple):
    """A source, or the recipe that makes it again, and the model that made it."""

    name: str
    key: ModelKey
    source: Source | None
    recipe: Recipe | None = None


async def find_source(service: Service, owner: str, name: str) -> FoundSource:
    """A source of this owner. Raises a 404 for others' and for those that any process deleted."""
    source = service.store.get(name, owner)
    key = service.store.find_key(name) or service.first.key
    recipes = service.recipes.get(key.alias)
    if source is not None and (
        recipes is None or await service.process_pictures(partial(recipes.mark_used, name, owner))
    ):
        return FoundSource(name, key, source)
    for alias, some in service.recipes.items():
        recipe = await service.process_pictures(partial(some.get, name, owner))
        if recipe is not None:
            key = ModelKey(alias, _find_loras(service, name, recipe))
            return FoundSource(name, key, None, recipe)
    service.store.drop(name, owner)
    raise _not_found(service, name)


async def take_source(
    request: Request, service: Service, model: ServedModel, found: FoundSource
) -> Source:
    """The source that was found, made again if need be."""
    if found.source is not None:
        lease_of(request).hold(source=source_bytes(found.source))
        return found.source
    assert found.recipe is not None
    source = await make_source(request, service, model, found.recipe, is_part=True)
    service.metrics.rebuilt.inc()
    owner = request.scope["state"]["owner"]
    service.store.put(source, owner, found.name, found.key)
    return source


async def forget_source(service: Service, owner: str, name: str) -> None:
    """Delete a source for all processes. Raises a 404 if there is none."""
    exists = service.store.drop(name, owner)
    if service.recipes:
        exists = False
    for recipes in service.recipes.values():
        exists |= await service.process_pictures(partial(recipes.mark_used, name, owner))
        await service.process_pictures(partial(recipes.drop, name, owner))
    if not exists:
        raise _not_found(service, name)


def _find_loras(service: Service, name: str, recipe: Recipe) -> tuple[LoraFile, ...]:
    """The LoRAs that made a source. Raises a 404 if they are not what they were."""
    if not recipe.loras:
        return ()
    choices = [LoraChoice(one.name, one.weight) for one in recipe.loras]
    files = () if service.loras is None else service.loras.find(choices)
    if mark_loras(files) != recipe.loras:
        message = f"source {name!r} was made with LoRAs that have changed since"
        raise ApiError(404, message, "source_not_found", "source")
    return files


def _not_found(service: Service, name: str) -> ApiError:
    message = f"no source {name!r}: it has expired, or never was"
    if not service.recipes and service.settings.replicas > 1:
        message += ", or another replica has it: they share sources only through --cache"
    return ApiError(404, message, "source_not_found", "source")
