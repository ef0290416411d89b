"""How the command line names arguments of the library: errors say --t-max for t_max."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mdp_lite.cli.fields import list_fields
from mdp_lite.names import BadInput

# Arguments of the library, and the fields of options that they come from.
FIELDS = {
    "num_inference_steps": "steps", "engine": "mode", "tuned_steps": "tune"
}  # fmt: skip
CHOSEN = {"variant": "--model-variant"}  # of a checkpoint, not of an edit
GPU = {"memory": "--gpu-memory"}  # of GpuSettings
INVERSION = {"seed": "--inversion-seed"}  # of an inversion, not of a generated source


def list_labels(options: type) -> dict[str, str]:
    """How a command's options are written, by the arguments that they become."""
    labels = {one.name: one.label for one in list_fields(options)}
    return labels | {name: labels[own] for name, own in FIELDS.items() if own in labels}


@contextmanager
def naming(labels: Mapping[str, str]) -> Iterator[None]:
    """Raise a BadInput of the library again with the names that the user wrote.

    >>> with naming({"t_m": "--t-m"}):
    ...     raise BadInput("t_m must be a number", "t_m")
    Traceback (most recent call last):
    mdp_lite.names.BadInput: --t-m must be a number
    """
    try:
        yield
    except BadInput as error:
        if not set(error.names) & set(labels):
            raise
        raise type(error)(error.rename(labels)) from None
