"""Default settings: the checkpoint's, or those for its kind of model."""

from dataclasses import dataclass
from typing import Any

from mdp_lite.checkpoint.few_steps import FewSteps
from mdp_lite.names import QUALITIES, BadCheckpoint

DRAFT, STANDARD, BEST = QUALITIES
# The most steps of a quality: docs/results.md has what they are worth. The best has the model's.
QUALITY_STEPS = {DRAFT: 8, STANDARD: 20}
FEW_STEPS = {DRAFT: 2}  # the same, of a model of few steps


@dataclass(frozen=True)
class Defaults:
    """Default settings; a checkpoint may bring others in its mdp_lite.json.

    t_max and t_m are shares of the steps; None means that the variant decides
    (schedule.DEFAULT_WINDOWS). distilled: it is a model of few steps, which no file says.
    """

    num_inference_steps: int = 50
    guidance_scale: float = 7.5
    t_max: float | None = None
    t_m: float | None = None
    distilled: bool = False

    def steps_of(self, quality: str | None) -> int:
        """The steps of a quality, never more than the model's; None and "best" mean the model's.

        >>> Defaults().steps_of("draft"), Defaults().steps_of("standard"), Defaults().steps_of(None)
        (8, 20, 50)
        """
        most = FEW_STEPS if self.distilled else QUALITY_STEPS
        return min(self.num_inference_steps, most.get(quality or BEST, self.num_inference_steps))


STEPS = 4  # of a model of few steps (few_steps.py) whose name says no number
EMBEDDED = 8.5  # the guidance that diffusers' LCM pipeline gives a UNet that reads it


def infer_defaults(few: FewSteps | None, embeds: bool) -> dict[str, float]:
    """The defaults of a model of few steps; embeds: its UNet reads the guidance scale.

    Other such models have their guidance in their weights, except those that say cfg.
    """
    if few is None:
        return {}
    steps: dict[str, float] = {"num_inference_steps": few.steps or STEPS}
    guidance = EMBEDDED if embeds else 1.0
    return steps if few.cfg and not embeds else steps | {"guidance_scale": guidance}


def choose_defaults(
    raw: dict[str, Any], inferred: dict[str, float], distilled: bool = False
) -> Defaults:  # fmt: skip
    """A checkpoint's own settings (raw), and those that were inferred for its kind of model."""
    unknown = set(raw) - (set(Defaults.__dataclass_fields__) - {"distilled"})
    if unknown:
        raise BadCheckpoint(f"mdp_lite.json: unknown setting {sorted(unknown)[0]!r}")
    numbers = all(type(value) in (int, float) for value in raw.values())
    chosen = Defaults(**(inferred | raw), distilled=distilled)  # type: ignore[arg-type]
    whole = type(chosen.num_inference_steps) is int
    if not numbers or not whole or not _is_window(chosen.t_max, chosen.t_m):
        raise BadCheckpoint(
            f"mdp_lite.json: want steps, guidance, 0 <= t_m <= t_max <= 1, got {raw}"
        )
    if chosen.num_inference_steps < 1 or not 1 <= chosen.guidance_scale <= 100:
        raise BadCheckpoint(
            f"mdp_lite.json: want steps from 1 and guidance from 1 to 100, got {raw}"
        )
    return chosen


def _is_window(t_max: float | None, t_m: float | None) -> bool:
    """Both edges as shares of the steps, or neither."""
    if t_max is None or t_m is None:
        return t_max is t_m
    return 0 <= t_m <= t_max <= 1
