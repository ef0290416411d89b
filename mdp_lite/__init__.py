"""mdp_lite edits pictures by text with a pre-trained Stable Diffusion model and no training.

It manipulates the diffusion path (MDP, arXiv 2303.16765). A source path is sampled from a prompt
or found by inverting a picture. Any number of edits steer it towards other prompts:

>>> from mdp_lite import Editor
>>> editor = Editor.from_pretrained("tiny")  # bundled; or a hub id, a folder, a .safetensors file
>>> source = editor.generate("a red house on the grass", seed=4, num_inference_steps=10)
>>> edit = editor.edit(source, "a blue house on the grass")
>>> edit.image.save("blue.png")
>>> edit.cost.unet_rows  # a row is one latent that goes through the UNet once
14

`Editor.invert` takes a picture instead of a seed. `help(Editor)` says the rest.

Public names, each with its own help (the packages listed below these lines are internal):

Editor                            loads a model; generates, inverts, edits
Source, Edit, Cost                what it returns
Request, Inversion, XLCondition   what it can be given
GpuSettings, Fused                how a GPU computes, and how much of its memory it may take
Sweep, once, warm_up              many edits, one in fewer calls, no wait at the first
Batcher, Client, make_batcher,
run_batcher, client_editor        one model for many threads
Progress, EditState               edits step by step
Plan, Weights                     what an edit computes, and its table of weights
record_layers, plan_layers,
RecordedLayers, LayersPlan        edits that compute only their mask's rectangle
Cache                             sources on disk
MdpError                          of all errors: BadInput (and of it BadCheckpoint, MissingExtra),
                                  NotFinite, DeadlineExceeded, Stopped, CannotWrite
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mdp_lite.names import (
    BadCheckpoint,
    BadInput,
    CannotWrite,
    DeadlineExceeded,
    MdpError,
    MissingExtra,
    NotFinite,
    Stopped,
)
from mdp_lite.version import __version__

if TYPE_CHECKING:
    from mdp_lite.batcher.batcher import Batcher, Client
    from mdp_lite.batcher.client import client_editor, make_batcher, run_batcher
    from mdp_lite.editor import Editor
    from mdp_lite.engine.fusing import Fused
    from mdp_lite.engine.gpu import GpuSettings
    from mdp_lite.method.plan import Plan
    from mdp_lite.method.schedule import Weights
    from mdp_lite.pipeline.inversion_methods import Inversion
    from mdp_lite.pipeline.layers import LayersPlan, RecordedLayers
    from mdp_lite.pipeline.once import once
    from mdp_lite.pipeline.progress import EditState, Progress
    from mdp_lite.pipeline.recompute import plan_layers, record_layers
    from mdp_lite.pipeline.request import Request
    from mdp_lite.pipeline.result import Cost, Edit, Source
    from mdp_lite.pipeline.sweep import Sweep
    from mdp_lite.pipeline.warm_up import warm_up
    from mdp_lite.pipeline.xl import XLCondition
    from mdp_lite.store.cache import Cache

__all__ = [
    "BadCheckpoint",
    "BadInput",
    "Batcher",
    "Cache",
    "CannotWrite",
    "Client",
    "Cost",
    "DeadlineExceeded",
    "Edit",
    "EditState",
    "Editor",
    "Fused",
    "GpuSettings",
    "Inversion",
    "LayersPlan",
    "MdpError",
    "MissingExtra",
    "NotFinite",
    "Plan",
    "Progress",
    "RecordedLayers",
    "Request",
    "Source",
    "Stopped",
    "Sweep",
    "Weights",
    "XLCondition",
    "__version__",
    "client_editor",
    "make_batcher",
    "once",
    "plan_layers",
    "record_layers",
    "run_batcher",
    "warm_up",
]

# Where the names that need torch are defined; they are imported on first use, so that
# `mdp-lite --help` does not wait for torch.
_MODULES = {
    "Batcher": "batcher.batcher",
    "Cache": "store.cache",
    "Client": "batcher.batcher",
    "Cost": "pipeline.result",
    "Edit": "pipeline.result",
    "EditState": "pipeline.progress",
    "Editor": "editor",
    "Fused": "engine.fusing",
    "GpuSettings": "engine.gpu",
    "Inversion": "pipeline.inversion_methods",
    "LayersPlan": "pipeline.layers",
    "Plan": "method.plan",
    "Progress": "pipeline.progress",
    "RecordedLayers": "pipeline.layers",
    "Request": "pipeline.request",
    "Source": "pipeline.result",
    "Sweep": "pipeline.sweep",
    "Weights": "method.schedule",
    "XLCondition": "pipeline.xl",
    "client_editor": "batcher.client",
    "make_batcher": "batcher.client",
    "once": "pipeline.once",
    "plan_layers": "pipeline.recompute",
    "record_layers": "pipeline.recompute",
    "run_batcher": "batcher.client",
    "warm_up": "pipeline.warm_up",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"mdp_lite.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'mdp_lite' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
