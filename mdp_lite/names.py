"""Names that users write, and errors that they catch; importing this costs nothing."""

VARIANTS = ("epsilon", "c", "x", "beta")  # of MDP: the quantity that is mixed with the source's
# Of the weights over a window.
SCHEDULES = ("constant", "linear", "cosine", "exp", "leash", "local-leash")
FITS = ("crop", "pad", "resize", "own")  # how a picture is brought to the model's size
DTYPES = ("auto", "float32", "float16", "bfloat16")
ENGINES = ("auto", "eager", "compile", "graph", "aot")  # how the UNet is run
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")  # sample: the clean latent itself
SAMPLERS = ("ddim", "euler", "euler-ancestral", "lcm")
SPACINGS = ("leading", "trailing", "linspace")


class MdpError(Exception):
    """Any error that mdp_lite raises on purpose."""


class BadInput(MdpError, ValueError):
    """An argument, a picture, a mask or a source that can't be used; raised before any work."""


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
