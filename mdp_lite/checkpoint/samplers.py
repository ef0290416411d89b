"""Which sampler a checkpoint is sampled by: DDIM, unless it is a model of few steps.

An ordinary model may be saved with any sampler, and is sampled by DDIM. A model of few steps (see
few_steps.py) was trained for its own sampler and timesteps, and other ones spoil its pictures.
"""

from pathlib import Path
from typing import Any

from mdp_lite.checkpoint.few_steps import FewSteps, find_few_steps
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
CLASSES = {
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler-ancestral",
    "LCMScheduler": "lcm",
    "TCDScheduler": "tcd",
}
LABELS = {"ddim": "DDIM", "euler": "Euler", "euler-ancestral": "ancestral Euler"}
LABELS |= {"lcm": "LCM", "tcd": "TCD"}
OWN_KEYS = {  # what no other sampler reads
    "lcm": ("original_inference_steps", "timestep_scaling", "first_timestep"),
    "tcd": ("original_inference_steps", "eta"),
}
# Of the cards of Hyper-SD and of TCD's LoRAs. The UNet of one step is LCM's "to support specific
# timestep number inputs"; the LoRA of one step serves 1 to 8, "lower eta results in more detail".
HYPER_START, HYPER_ETA, TCD_ETA = 800, 1.0, 0.3
EMBEDDING = FewSteps("lcm", "the UNet reads the guidance scale (time_cond_proj_dim)", None, False)
Raw = dict[str, Any]


def check_sampler(raw: Raw) -> None:
    """Raises BadCheckpoint for a scheduler of models whose noise DDIM does not describe."""
    name = find_class(raw)
    if name.startswith(OTHER_NOISE) and not any(key in raw for key in BETAS):
        raise BadCheckpoint(
            f"scheduler: {name} is for models of another noise than DDIM's, "
            f"want a config with {', '.join(BETAS)}"
        )


def describe_sampler(raw: Raw) -> str | None:
    """A note if the checkpoint was saved with a sampler that gives other pictures than DDIM."""
    name = find_class(raw)
    if not name or name in PLAIN or raw.get("sampler", "ddim") != "ddim":
        return None
    return f"sampled by DDIM, the checkpoint was saved with {name}"


def find_class(raw: Raw) -> str:
    """The class of a scheduler's config; a list, which custom pipelines write, ends with it."""
    name = raw.get("_class_name")
    if isinstance(name, list) and name:
        name = name[-1]
    return name if isinstance(name, str) else ""


def find_kind(
    name: str, folder: Path | None, files: tuple[Path, ...], unet: Raw, loras: tuple[Path, ...] = ()
) -> FewSteps | None:
    """What says that this is a model of few steps, or None: a LoRA, the UNet, a name or card."""
    for path in loras:
        found = find_few_steps(path.name, None, (path,))
        if found:
            return found._replace(reason=f"of a LoRA, {found.reason}", add_on=True)
    if unet.get("time_cond_proj_dim") is not None:
        return find_few_steps(name, folder, files) or EMBEDDING
    return find_few_steps(name, folder, files)


def choose_sampling(
    configs: dict[str, Raw], few: FewSteps | None, sampler: str | None = None,
    spacing: str | None = None, prediction: str | None = None,
) -> Raw:  # fmt: skip
    """The scheduler's config with the sampler, its spacing and prediction; the last three are asked
    for, or None: then the evidence decides.
    """
    raw, embeds = configs["scheduler"], configs["unet"].get("time_cond_proj_dim") is not None
    own = find_class(raw)
    named = few is not None and few.word == "turbo" and own in CLASSES and "timestep_spacing" in raw
    chosen = sampler or _infer_sampler(own, few, embeds, "text_encoder_2" in configs)
    changes: Raw = {"sampler": chosen}
    if few and chosen not in OWN_KEYS and not named:  # these were trained on trailing timesteps
        changes["timestep_spacing"] = "trailing"
    if few and few.clean and prediction is None:
        changes["prediction_type"] = "sample"
    if spacing:
        changes["timestep_spacing"] = spacing
    if few:  # the config counts for a sampler that is asked for, but less than a LoRA
        asked = sampler is not None and not few.add_on
        inferred = _infer_options(few, chosen).items()
        changes |= {key: value for key, value in inferred if not asked or raw.get(key) is None}
    drop = {key for keys in OWN_KEYS.values() for key in keys} - {*OWN_KEYS.get(chosen, ())}
    return {key: value for key, value in (raw | changes).items() if key not in drop}


def _infer_options(few: FewSteps, sampler: str) -> Raw:
    """The first timestep or eta of a model of few steps."""
    once = few.word == "hyper" and few.steps == 1
    if sampler == "lcm" and once and few.whole:
        return {"first_timestep": HYPER_START}
    return {"eta": HYPER_ETA if once else TCD_ETA} if sampler == "tcd" else {}


def _infer_sampler(name: str, few: FewSteps | None, embeds: bool, large: bool) -> str:
    if embeds or (few and few.word == "lcm"):
        return "lcm"
    if few is None:
        return "ddim"
    if few.word == "hyper" and few.steps == 1:
        return "lcm" if few.whole else "tcd"
    if few.word in ("hyper", "tcd"):  # Hyper-SD's files of 2 to 16 steps are DDIM's
        return "tcd" if few.word == "tcd" or name == "TCDScheduler" else "ddim"
    if few.word == "turbo" and name in CLASSES:
        return CLASSES[name]
    return "euler-ancestral" if few.word == "turbo" and large else "euler"  # as SDXL-Turbo's folder


def describe_choice(scheduler: Raw, few: FewSteps | None, taken: dict[str, float]) -> str | None:
    """A note on the sampler and the defaults that were taken from the evidence, or None."""
    if few is None:
        return None
    words = {"num_inference_steps": "steps", "guidance_scale": "guidance"}
    clauses = [f"sampled by {LABELS[scheduler['sampler']]}"]
    if scheduler["sampler"] not in OWN_KEYS:
        clauses[0] += f" on {scheduler.get('timestep_spacing', 'leading')} timesteps"
    if "eta" in scheduler:
        clauses[0] += f" with eta {scheduler['eta']:g}"
    if scheduler.get("first_timestep") is not None:
        clauses[0] += f" from timestep {scheduler['first_timestep']}"
    if scheduler.get("prediction_type") == "sample":
        clauses.append("the UNet predicts the clean latent")
    if taken:
        each = ", ".join(f"{words[key]} {value:g}" for key, value in taken.items())
        clauses.append(f"by default {each}")
    return f"{', '.join(clauses)}: {few.reason}"
