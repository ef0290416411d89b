"""Why a model can't be lent, as the error answers of the service."""

import logging

from mdp_lite.model_pool.refusals import AGAIN, Refusal
from mdp_lite.serve.errors import ApiError, to_api_error

ANSWERS: dict[str, tuple[int, str, float | bool]] = {  # status, code, when to try again
    "busy": (429, "rate_limit_exceeded", AGAIN),
    "late": (503, "deadline_exceeded", AGAIN),
    "too_large": (503, "model_too_large", False),
}
log = logging.getLogger("mdp_lite.serve")


def explain_refusal(refusal: Refusal) -> ApiError:
    """The answer to a request for a model that can't be lent; failures are logged too."""
    if refusal.cause is not None:
        return _explain_failure(refusal, refusal.cause)
    status, code, retry = ANSWERS[refusal.reason]
    return ApiError(status, refusal.message, code, retry=retry)


def _explain_failure(refusal: Refusal, error: Exception) -> ApiError:
    found, (alias, loras) = to_api_error(error), refusal.key
    if isinstance(error, ValueError) and not loras:
        message = f"the model {alias!r} could not be loaded: {found.message}"
        found = ApiError(503, message, "model_failed", retry=AGAIN)
    elif isinstance(error, ValueError):
        found = ApiError(400, found.message, "invalid_value", "lora")
    log.error("the model %s could not be loaded", alias, exc_info=error)
    return found
