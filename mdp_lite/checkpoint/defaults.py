"""Default settings: the checkpoint's, or those for its kind of model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdp_lite.checkpoint.few_steps import find_few_steps
from mdp_lite.names import BadCheckpoint


@dataclass(frozen=True)
class Defaults:
    """Default settings; a checkpoint may bring others in its mdp_lite.json.

    t_max and t_m are shares of the steps; None means that the variant decides
    (schedule.DEFAULT_WINDOWS).
    """

    num_inference_steps: int = 50
    guidance_scale: float = 7.5
    t_max: float | None = None
    t_m: float | None = None


# A model that was distilled to few steps (few_steps.py) has its guidance in its weights.
FEW_STEPS: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 1.0}


def infer_defaults(
    raw: dict[str, Any], name: str, folder: Path | None, files: tuple[Path, ...]
) -> tuple[Defaults, tuple[str, ...]]:
    """Defaults of a checkpoint whose own mdp_lite.json is raw, and a note if any is a guess."""
    few_steps = find_few_steps(name, folder, files)
    note = describe_defaults(raw, few_steps)
    return choose_defaults(raw, few_steps), (note,) if note else ()


def choose_defaults(raw: dict[str, Any], few_steps: str | None = None) -> Defaults:
    """A checkpoint's own settings (raw), and defaults for its kind of model.

    few_steps is the reason why it is a model of few steps, or None.
    """
    unknown = set(raw) - set(Defaults.__dataclass_fields__)
    if unknown:
        raise BadCheckpoint(f"mdp_lite.json: unknown setting {sorted(unknown)[0]!r}")
    numbers = all(type(value) in (int, float) for value in raw.values())
    chosen = Defaults(**((FEW_STEPS if few_steps else {}) | raw))
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


def describe_defaults(raw: dict[str, Any], few_steps: str | None) -> str | None:
    """A note on the defaults that were inferred and that raw does not set itself."""
    words = {"num_inference_steps": "steps", "guidance_scale": "guidance"}
    taken = [f"{words[key]} {value:g}" for key, value in FEW_STEPS.items() if key not in raw]
    return f"by default {', '.join(taken)}: {few_steps}" if few_steps and taken else None
