"""Clients' sources by id: in this process, or made again from a recipe of any process.

Without a cache folder there are no recipes, and only the process that made a source knows it.
"""

import time
from functools import partial

from fastapi import Request

from mdp_lite.editor import Editor
from mdp_lite.pipeline.result import Source
from mdp_lite.serve.answers import wait_for_disconnect
from mdp_lite.serve.bodies import observe_stages
from mdp_lite.serve.costs import work_of_source
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.service import Service, run_while_connected
from mdp_lite.serve.work import Recipe, get_or_make_source, picture_bytes


async def make_source(
    request: Request, service: Service, recipe: Recipe, end: float | None = None
) -> Source:
    """A source from a recipe, as a job; it is cancelled if the client disconnects.

    end: its deadline on the monotonic clock. Raises DeadlineExceeded.
    """
    cost = work_of_source(service.editor, recipe)

    def work(editor: Editor) -> tuple[Source, float]:
        started = time.monotonic()
        return get_or_make_source(editor, recipe, end=end), time.monotonic() - started

    share = service.users.open_share(request)
    run = lambda: service.run_job(cost, work, end, share)  # noqa: E731
    task = service.admit(cost, picture_bytes(recipe), run)
    left = wait_for_disconnect(request)
    (source, seconds), waited = await run_while_connected(task, left, service.metrics.cancelled.inc)
    stage = "generate" if source.generated else "invert"
    observe_stages(request, service, {"queue": waited, stage: seconds})
    return source


async def keep_source(service: Service, owner: str, recipe: Recipe, source: Source) -> str:
    """Store a new source and its recipe; returns its id once all processes can find it."""
    name = service.store.put(source, owner)
    if service.recipes is not None:
        try:
            await service.process_pictures(partial(service.recipes.put, name, owner, recipe))
        except OSError:
            service.store.drop(name, owner)
            message = "the folder of sources can't be written to"
            raise ApiError(503, message, "source_not_kept", retry=30) from None
    return name


async def find_source(request: Request, service: Service, owner: str, name: str) -> Source:
    """A source of this owner. Raises a 404 for others' and for those that any process deleted."""
    source, recipes = service.store.get(name, owner), service.recipes
    if recipes is None:
        if source is None:
            raise _not_found(service, name)
        return source
    if source is not None and await service.process_pictures(
        partial(recipes.mark_used, name, owner)
    ):
        return source
    recipe = await service.process_pictures(partial(recipes.get, name, owner))
    if recipe is None:
        service.store.drop(name, owner)
        raise _not_found(service, name)
    source = await make_source(request, service, recipe)
    service.metrics.rebuilt.inc()
    service.store.put(source, owner, name)
    return source


async def forget_source(service: Service, owner: str, name: str) -> None:
    """Delete a source for all processes. Raises a 404 if there is none."""
    exists, recipes = service.store.drop(name, owner), service.recipes
    if recipes is not None:
        exists = await service.process_pictures(partial(recipes.mark_used, name, owner))
        await service.process_pictures(partial(recipes.drop, name, owner))
    if not exists:
        raise _not_found(service, name)


def _not_found(service: Service, name: str) -> ApiError:
    message = f"no source {name!r}: it has expired, or never was"
    if service.recipes is None and service.settings.replicas > 1:
        message += ", or another replica has it: they share sources only through --cache"
    return ApiError(404, message, "source_not_found", "source")
