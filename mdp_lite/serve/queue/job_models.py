"""Which models jobs need, by what the models are: aliases may change from start to start."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.limit_checks import find_alias
from mdp_lite.serve.queue.internal import has_source
from mdp_lite.serve.queue.records import Claim
from mdp_lite.serve.service import Service

NO_MODEL = ApiError(404, "the model of this job is not served any more", "model_not_found", "model")


def name_models(service: Service, folder: Path | None) -> dict[str, str]:
    """A name for each model and its precision that others do not have, by alias.

    Without a folder no other process reads it, so that it is the alias.
    """
    cache = service.editor.cache
    cached = cache.folder if cache else None
    return {
        alias: f"{model_hash(one.origin, cached)}:{one.origin.dtype}" if folder else alias
        for alias, one in service.loader.identities.items()
    }


def find_model(body: Mapping[str, Any], service: Service, models: Mapping[str, str]) -> str:
    """The name of the model that a request names, or of the first."""
    return models[find_alias(body.get("model") or None, service.settings)]


def join_models(names: Iterable[str]) -> str:
    """The models that a job needs, or a process serves, one a line."""
    return "\n".join(sorted(set(names)))


def is_served(needed: str, served: str) -> bool:
    """Whether all models that a job needs are among those that a process serves."""
    return set(needed.splitlines()) <= set(served.splitlines())


def check_model(
    claim: Claim, body: Mapping[str, Any], service: Service, models: Mapping[str, str]
) -> None:
    """Raise NO_MODEL if the name in a request belongs to another model than at its submission.

    Of a source, its own model is known.
    """
    is_same = find_model(body, service, models) in claim.model.splitlines()
    if not is_same and not has_source(claim.endpoint):
        raise NO_MODEL
