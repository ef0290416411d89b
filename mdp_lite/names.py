"""Names that users write, and errors that they catch; importing this costs nothing."""

import re
from collections.abc import Mapping

DEFAULT_MODEL = "small"  # the bundled model that is used where none is named
# What it does by default, for help texts, which read no model: steps, guidance, pixels a side.
DEFAULT_STEPS, DEFAULT_GUIDANCE, DEFAULT_SIDE = 50, 4, 128
VARIANTS = ("epsilon", "c", "x", "beta")  # of MDP: the quantity that is mixed with the source's
# Of the weights over a window.
SCHEDULES = ("constant", "linear", "cosine", "exp", "leash", "local-leash")
FITS = ("crop", "pad", "resize", "own")  # how a picture is brought to the model's size
DTYPES = ("auto", "float32", "float16", "bfloat16")
ENGINES = ("auto", "eager", "compile", "graph", "aot")  # how the UNet is run
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")  # sample: the clean latent itself
SAMPLERS = ("ddim", "euler", "euler-ancestral", "lcm", "tcd")
QUALITIES = ("draft", "standard", "best")  # of an edit: they choose the number of steps
SPACINGS = ("leading", "trailing", "linspace")


class MdpError(Exception):
    """Any error that mdp_lite raises on purpose."""


# A text in quotes, as repr writes it; an apostrophe has a letter before it.
QUOTED = r"""(?<!\w)'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""


class BadInput(MdpError, ValueError):
    """An argument, a picture, a mask or a source that can't be used; raised before any work.

    names: the arguments of which the message speaks.
    """

    def __init__(self, message: object = "", *names: str) -> None:
        super().__init__(message)
        self.names = names

    def rename(self, labels: Mapping[str, str]) -> str:
        """The message with other names of its arguments; what a user wrote, in quotes, stays.

        >>> BadInput("t_m must be a number, got 't_m'", "t_m").rename({"t_m": "--t-m"})
        "--t-m must be a number, got 't_m'"
        """
        known = [name for name in self.names if name in labels]
        words = "|".join(re.escape(name) for name in known)
        pattern = rf"{QUOTED}|(?<![\w-])(?P<name>{words})(?!\w)" if words else r"(?!)"
        return re.sub(pattern, lambda one: labels.get(one["name"], one[0]), str(self))


class BadCheckpoint(BadInput):
    """A checkpoint, LoRA or embedding that can't be read, or does not fit."""


class MissingExtra(BadInput):
    """A command that needs packages of an extra which is not installed."""


class NotFinite(MdpError, RuntimeError):
    """NaN or infinity where a picture was expected, in float32 too."""


class DeadlineExceeded(MdpError, TimeoutError):
    """The deadline passed before there was a result."""


class CannotWrite(MdpError, OSError):
    """A file could not be written, as the disk is full, say; what was there is as it was.

    errno, strerror and filename are those of any OSError.
    """

    def __str__(self) -> str:
        return f"{self.filename} can't be written: {self.strerror}"


class Stopped(MdpError):
    """The work was cancelled, or the batcher was closed."""
