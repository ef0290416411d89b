"""Which sampler a checkpoint was saved with. Every checkpoint is sampled by DDIM here."""

from typing import Any

from mdp_lite.names import BadCheckpoint

# Classes that train and sample as DDIM does, or that Stable Diffusion's own folders name.
PLAIN = (
    "DDIMScheduler",
    "DDIMParallelScheduler",
    "DDIMInverseScheduler",
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "PNDMScheduler",
)
# Classes for models of another noise than DDIM's: flow matching, EDM, consistency models. Their
# configs say no betas, unless they were made from those of a Stable Diffusion model.
OTHER_NOISE = ("Flow", "EDM", "CosineDPM", "CMStochastic", "KarrasVe", "ScoreSdeVe", "SCM", "LTX")
BETAS = ("beta_start", "beta_end", "beta_schedule")


def check_sampler(raw: dict[str, Any]) -> None:
    """Raises BadCheckpoint for a scheduler of models whose noise DDIM does not describe."""
    name = find_class(raw)
    if name.startswith(OTHER_NOISE) and not any(key in raw for key in BETAS):
        raise BadCheckpoint(
            f"scheduler: {name} is for models of another noise than DDIM's, "
            f"want a config with {', '.join(BETAS)}"
        )


def describe_sampler(raw: dict[str, Any]) -> str | None:
    """A note if the checkpoint was saved with a sampler that gives other pictures than DDIM."""
    name = find_class(raw)
    if not name or name in PLAIN:
        return None
    return f"sampled by DDIM, the checkpoint was saved with {name}"


def find_class(raw: dict[str, Any]) -> str:
    """The class of a scheduler's config; a list, which custom pipelines write, ends with it."""
    name = raw.get("_class_name")
    if isinstance(name, list) and name:
        name = name[-1]
    return name if isinstance(name, str) else ""
