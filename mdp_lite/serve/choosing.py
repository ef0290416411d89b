"""Which model a request is for: by its name, its LoRAs, or the source that it edits."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import Request

from mdp_lite.model_pool.keys import ModelKey
from mdp_lite.serve import limit_checks
from mdp_lite.serve.answers import wait_for_disconnect
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.runs import run_of
from mdp_lite.serve.served import ServedModel
from mdp_lite.serve.service import Service, run_while_connected


def choose_key(fields: Any, service: Service) -> ModelKey:
    """The model and the LoRAs that a request names. Raises ApiError."""
    alias = limit_checks.find_alias(fields.model, service.settings)
    if fields.lora and service.loras is None:
        message = "lora can't be read: the operator has named no folder of LoRAs"
        raise ApiError(400, message, "invalid_value", "lora")
    return ModelKey(alias, service.loras.find(fields.lora) if service.loras else ())


def check_same_model(fields: Any, key: ModelKey, service: Service) -> None:
    """Refuse a source under another model's name or with other LoRAs than made it."""
    if fields.model is not None:
        alias = limit_checks.find_alias(fields.model, service.settings)
        if alias != key.alias:
            message = f"model must be {key.alias}, which made this source, got {fields.model!r}"
            raise ApiError(400, message, "invalid_value", "model")
    own = [(one.name, one.weight) for one in key.loras]
    if "lora" in fields.model_fields_set and list(map(tuple, fields.lora)) != own:
        want = f"those that made this source ({own})" if own else "left out: this source has none"
        raise ApiError(400, f"lora must be {want}", "invalid_value", "lora")


@asynccontextmanager
async def use_model(
    request: Request, service: Service, fields: Any, started: float, key: ModelKey | None = None
) -> AsyncIterator[ServedModel]:
    """The model of a request whose fields are within the limits; key is that of its source.

    If it must be loaded, that is part of the request's deadline, and load of its timings.
    """
    limit_checks.check_limits(fields, service)
    key = key or choose_key(fields, service)
    end = None if fields.deadline is None else started + fields.deadline
    began, was_loaded = time.monotonic(), service.pool.find_state(key) == "loaded"
    async with load_model(request, service, key, end) as model:
        if not was_loaded:
            request.scope["state"]["load"] = time.monotonic() - began
        yield model


@asynccontextmanager
async def load_model(
    request: Request, service: Service, key: ModelKey, end: float | None = None
) -> AsyncIterator[ServedModel]:
    """The model of this key, loaded in the turn of the request's user if it must be loaded.

    end: the request's deadline on the monotonic clock. If the client leaves first, the wait ends.
    """
    async with AsyncExitStack() as stack:
        entering = stack.enter_async_context(
            service.pool.use(key, run_of(request).share.group, end)
        )
        if service.pool.find_state(key) == "loaded":
            yield await entering
            return
        left, on_left = wait_for_disconnect(request), service.metrics.cancelled.inc
        yield await run_while_connected(asyncio.create_task(entering), left, on_left)
