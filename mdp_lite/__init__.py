"""mdp_lite: edit pictures by text by manipulating the diffusion path (MDP, arXiv 2303.16765)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mdp_lite.version import __version__

if TYPE_CHECKING:
    from mdp_lite.editor import Edit, Editor, Source
    from mdp_lite.method.schedule import Weights

__all__ = ["Edit", "Editor", "Source", "Weights", "__version__"]


def __getattr__(name: str) -> Any:
    """Import torch with the first name that is used, so that `mdp-lite --help` need not wait."""
    if name in ("Edit", "Editor", "Source"):
        return getattr(import_module("mdp_lite.editor"), name)
    if name == "Weights":
        return import_module("mdp_lite.method.schedule").Weights
    raise AttributeError(f"module 'mdp_lite' has no attribute {name!r}")
