"""Clients' sources by id: in this process, or made anew by the recipe that any process left.

Without a cache folder there are no recipes: a source is known where it was made, and nowhere else.
"""

from functools import partial

from fastapi import Request

from mdp_lite.pipeline.result import Source
from mdp_lite.serve import work
from mdp_lite.serve.answers import left
from mdp_lite.serve.costs import rows_of_source
from mdp_lite.serve.errors import Refused
from mdp_lite.serve.service import Service, attended
from mdp_lite.serve.work import Drawn, Inverted


async def made(request: Request, service: Service, origin: Drawn | Inverted) -> Source:
    """A source, for as long as the client is there: let in by its cost, and made as a job."""
    rows = rows_of_source(service.editor, origin)
    run = lambda: service.job(rows, lambda editor: work.source_of(editor, origin))  # noqa: E731
    task = service.admitted(rows, work.held(origin), run)
    source, _ = await attended(task, left(request), service.metrics.cancelled.inc)
    return source


async def keep(service: Service, owner: str, origin: Drawn | Inverted, source: Source) -> str:
    """A new source's id, once all who share the folder can find it."""
    name = service.store.put(source, owner)
    if service.recipes is not None:
        try:
            await service.read(partial(service.recipes.put, name, owner, origin))
        except OSError:
            service.store.drop(name, owner)
            message = "the folder of sources can't be written to"
            raise Refused(503, message, "source_not_kept", retry=30) from None
    return name


async def find(request: Request, service: Service, owner: str, name: str) -> Source:
    """A source of the client; another's is not there, nor one that any process has forgotten."""
    source, recipes = service.store.get(name, owner), service.recipes
    if recipes is None:
        if source is None:
            raise _missing(service, name)
        return source
    if source is not None and await service.read(partial(recipes.used, name, owner)):
        return source
    origin = await service.read(partial(recipes.get, name, owner))
    if origin is None:
        service.store.drop(name, owner)
        raise _missing(service, name)
    source = await made(request, service, origin)
    service.metrics.rebuilt.inc()
    service.store.put(source, owner, name)
    return source


async def forget(service: Service, owner: str, name: str) -> None:
    """Forget a source, wherever it is; one that is nowhere is not there."""
    there, recipes = service.store.drop(name, owner), service.recipes
    if recipes is not None:
        there = await service.read(partial(recipes.used, name, owner))
        await service.read(partial(recipes.drop, name, owner))
    if not there:
        raise _missing(service, name)


def _missing(service: Service, name: str) -> Refused:
    message = f"no source {name!r}: it has expired, or never was"
    if service.recipes is None and service.settings.replicas > 1:
        message += ", or another replica has it: they share sources only through --cache"
    return Refused(404, message, "source_not_found", "source")
