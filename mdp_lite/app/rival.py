"""Other methods beside the variants: who starts the page brings them, the page itself has none."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.method.sample import Conditions
from mdp_lite.pipeline.result import Cost, Source

Watch = Callable[[int, int], None]  # before a call of the UNet: calls done, and calls in all


class Rival(NamedTuple):
    """A method by name, and the settings that its pictures tell of.

    edit leads a source, whose path has no noise of its own, to a prompt and its conditions. It
    gives the clean latent (1, 4, y, x) and the cost; whoever watches may raise to stop it.
    """

    name: str
    settings: dict[str, Any]
    edit: Callable[[Editor, Source, str, Conditions, Watch], tuple[Tensor, Cost]]
