"""The requests that describe the models."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Path, Request
from fastapi.responses import JSONResponse

from mdp_lite.model_pool.keys import ModelKey
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD
from mdp_lite.pipeline.request import DEFAULT_VARIANT
from mdp_lite.serve import limit_checks
from mdp_lite.serve.service import Service

ModelName = Annotated[str, Path(description="a name of a model")]


async def models(request: Request) -> JSONResponse:
    """Every model, by each name that the operator chose."""
    service: Service = request.app.state.service
    data = [describe_model(service, name) for name in service.settings.names]
    return JSONResponse({"object": "list", "data": data})


async def model(request: Request, name: ModelName) -> JSONResponse:
    """The model that requests may name so."""
    service: Service = request.app.state.service
    return JSONResponse(describe_model(service, name))


def describe_model(service: Service, name: str) -> dict[str, Any]:
    """A model by one of its names. Raises a 404 for others; root is its alias."""
    alias = limit_checks.find_alias(name, service.settings)
    facts, pinned = service.loader.facts[alias], service.pool.is_pinned(alias)
    defaults = asdict(facts.defaults) | {"variant": DEFAULT_VARIANT, "inversion": DEFAULT_METHOD}
    width, height = facts.size
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "mdp_lite",
        "root": alias,
        "family": facts.family,
        "size": f"{width}x{height}",
        "pictures": facts.knowledge.pictures,
        "words": sorted(facts.knowledge.words),
        "max_side": service.settings.limits.side or 2 * max(facts.size),
        "parameters": facts.parameters,
        "bytes": facts.bytes,
        "dtype": facts.dtype,
        "defaults": defaults,
        "state": service.pool.find_state(ModelKey(alias)),
        "pinned": pinned,
        "loras": service.loras.list_names() if service.loras else [],
    }
