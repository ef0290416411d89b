"""What an inversion method can't do, with this grid or with this model."""

from mdp_lite.method.null_text import MAX_STEPS
from mdp_lite.method.schedule import Grid
from mdp_lite.names import BadInput
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, METHODS
from mdp_lite.pipeline.runner import NO_NULL, ModelRunner


def check_method(method: str, grid: Grid, negative_prompt: str, second: str = "") -> None:
    """Raise BadInput for what a method can't do; second is SDXL's second negative prompt."""
    if method == "direct" and not grid.a[0] > 0:
        raise BadInput(
            "direct can't start from noise alone (zero terminal SNR): its noise says nothing of "
            "the picture there; take replay"
        )
    if method == "null-text" and len(grid.t) > MAX_STEPS:
        raise BadInput(
            f"null-text must have at most {MAX_STEPS} steps, where its learning rate "
            f"1e-2 (1 - i / 100) ends, got {len(grid.t)}"
        )
    for name, text in (("negative_prompt", negative_prompt), ("negative_prompt_2", second)):
        if method == "negative-prompt" and text:
            want = "negative-prompt takes the source prompt for the negative one"
            raise BadInput(f"{want}, got {name} {text!r}", name)


def check_model(method: str, runner: ModelRunner) -> None:
    """Raise BadInput for a method that a model of few steps can't do."""
    if runner.models.scheduler.prediction_type == "sample" and method != DEFAULT_METHOD:
        raise BadInput(
            f"{method} needs a model that predicts noise, this one predicts the clean latent: "
            f"take {DEFAULT_METHOD}"
        )
    if runner.embeds_guidance and method in ("null-text", "negative-prompt"):
        raise BadInput(f"{NO_NULL}, which {method} needs: take {DEFAULT_METHOD}")


def default_guidance(runner: ModelRunner, method: str) -> float | None:
    """The method's default guidance, or None for the model's.

    A model with its guidance in its weights, or with an embedding of it, was never trained for a
    scale that is a method's.
    """
    distilled = runner.embeds_guidance or runner.models.defaults.guidance_scale == 1
    return None if distilled else METHODS[method].guidance
