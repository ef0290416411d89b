"""Why a model can't be lent, as data: the service and the page each make their own error of it."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from mdp_lite.model_pool.keys import ModelKey
from mdp_lite.names import BadInput

AGAIN = 10.0  # seconds for which a model that could not be loaded is not tried again
# Too many wait for models, the deadline passed, it never fits, or its load failed.
Reason = Literal["busy", "late", "too_large", "failed"]


class Refusal(NamedTuple):
    """Why a model can't be lent; cause is the error of a load that failed."""

    reason: Reason
    key: ModelKey
    message: str
    cause: Exception | None = None


Explain = Callable[[Refusal], Exception]


def explain_plainly(refusal: Refusal) -> BadInput:
    """The refusal as the error that callers of the library catch."""
    return BadInput(refusal.message)
