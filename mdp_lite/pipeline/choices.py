"""Checking what a caller says about a checkpoint that it does not say itself."""

from mdp_lite.checkpoint.load import Choices, Hub, Place
from mdp_lite.pipeline import check


def build_choices(
    hub: tuple[str | None, str | None, bool], variant: str | None = None, ema: bool = False,
    prediction_type: str | None = None, tokenizer: Place | None = None, clip_skip: int = 0,
    sampler: str | None = None, timestep_spacing: str | None = None,
) -> Choices:  # fmt: skip
    """The choices, checked; hub is revision, token and local_files_only."""
    revision, token, _ = hub
    check.load_choices(variant, prediction_type, revision, token, sampler, timestep_spacing)
    return Choices(
        variant, ema, prediction_type, tokenizer, Hub(*hub), clip_skip, sampler, timestep_spacing
    )
