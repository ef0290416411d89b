"""What kind of model a checkpoint is, with its LoRAs: its sampler, its defaults, and why."""

from pathlib import Path
from typing import Any, NamedTuple

from mdp_lite.checkpoint.config_notes import describe_configs
from mdp_lite.checkpoint.defaults import Defaults, choose_defaults, infer_defaults
from mdp_lite.checkpoint.samplers import choose_sampling, describe_choice, find_kind

Raw = dict[str, Any]


class Evidence(NamedTuple):
    """What may say the kind: the names of a checkpoint, its UNet's config, merged LoRAs."""

    name: str
    folder: Path | None
    files: tuple[Path, ...]
    unet: Raw
    loras: tuple[Path, ...]


class Wishes(NamedTuple):
    """What the caller asks for instead of what the evidence says, or None."""

    sampler: str | None
    timestep_spacing: str | None
    prediction_type: str | None


class Kind(NamedTuple):
    """The scheduler's config, the default settings, and notes on both."""

    scheduler: Raw
    defaults: Defaults
    notes: tuple[str, ...]


def find_kind_of(evidence: Evidence, configs: dict[str, Raw], own: Raw, wishes: Wishes) -> Kind:
    """The kind of a checkpoint with these configs and its own mdp_lite.json.

    What a checkpoint says of itself in mdp_lite.json counts more than a guess, but less than a LoRA
    that makes it a model of few steps.
    """
    few = find_kind(*evidence)
    inferred = infer_defaults(few, evidence.unet.get("time_cond_proj_dim") is not None)
    own = {k: v for k, v in own.items() if k not in inferred} if few and few.add_on else own
    scheduler = choose_sampling(configs, few, *wishes)
    taken = {key: value for key, value in inferred.items() if key not in own}
    note = describe_choice(scheduler, few, taken)
    notes = describe_configs(configs | {"scheduler": scheduler})
    defaults = choose_defaults(own, inferred, few is not None)
    return Kind(scheduler, defaults, (*notes, *([note] if note else [])))
