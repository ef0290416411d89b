"""Other editing methods that the page compares with the variants; the caller passes them in."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.method.mdp import Guidance
from mdp_lite.pipeline.result import Cost, Source

OnCall = Callable[[int, int], None]  # before a UNet call: calls done, calls in all; raises to stop


class Rival(NamedTuple):
    """Another editing method: its name, the settings to write into its pictures, and its edit.

    edit(editor, source, prompt, guidance, on_call) returns the clean latent (1, 4, y, x) and the
    cost. The source must have no noise maps.
    """

    name: str
    settings: dict[str, Any]
    edit: Callable[[Editor, Source, str, Guidance, OnCall], tuple[Tensor, Cost]]
