"""Why a model can't be lent, as data: the service and the page each make their own error of it."""

import logging
from collections.abc import Callable
from typing import Literal, NamedTuple

from mdp_lite.batcher.batcher import out_of_memory
from mdp_lite.model_pool.keys import ModelKey
from mdp_lite.names import BadInput

AGAIN = 10.0  # seconds for which a model that could not be loaded is not tried again
# Too many wait for models, the deadline passed, it never fits, or its load failed.
Reason = Literal["busy", "late", "too_large", "failed"]
log = logging.getLogger("mdp_lite.model_pool")


class Refusal(NamedTuple):
    """Why a model can't be lent; cause is the error of a load that failed."""

    reason: Reason
    key: ModelKey
    message: str
    cause: Exception | None = None


Explain = Callable[[Refusal], Exception]


def explain_plainly(refusal: Refusal) -> BadInput:
    """The refusal in words for whoever wants the model; failures are logged too.

    What an unforeseen error says stays in the log: it may name files of the server.
    """
    if refusal.cause is None:
        return BadInput(refusal.message)
    alias = refusal.key.alias
    log.error("the model %s could not be loaded", alias, exc_info=refusal.cause)
    if out_of_memory(refusal.cause):
        return BadInput(f"there is no memory left for the model {alias!r}")
    if isinstance(refusal.cause, ValueError):
        return BadInput(refusal.message)
    return BadInput(f"the model {alias!r} could not be loaded: the server's log says why")
