"""Configs of all of diffusers' schedulers, read as DDIM.

The kind: a scheduler_config.json that another sampler wrote, from Stable Diffusion's own config.
What that sampler needs changes none of DDIM's numbers, so it is no reason to refuse the file.
"""

import inspect
import json
import random
import warnings
from functools import cache
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.configuration_utils import ConfigMixin

from mdp_lite.checkpoint.config_files import read_scheduler_config
from mdp_lite.checkpoint.config_keys import SCHEDULER
from mdp_lite.checkpoint.config_notes import describe_configs, list_unknown
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.sample import sample
from mdp_lite.method.samplers import build_grid
from mdp_lite.method.schedule import alphas_cumprod, check_reach, timesteps
from mdp_lite.names import BadCheckpoint
from support.toy import C_A, X, toy

Raw = dict[str, Any]
SD15: Raw = {  # as on the hub: neither prediction_type nor timestep_spacing
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
SD21 = SD15 | {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}
WORDS: dict[str, tuple[Any, ...]] = {  # what the classes take for options that are texts
    "algorithm_type": ("dpmsolver++", "sde-dpmsolver++", "dpmsolver", "deis", "data_prediction"),
    "final_sigmas_type": ("zero", "sigma_min"),
    "interpolation_type": ("linear", "log_linear"),
    "solver_type": ("midpoint", "heun", "logrho", "bh1", "bh2"),
    "timestep_spacing": ("leading", "trailing", "linspace"),
    "timestep_type": ("discrete", "continuous"),
    "variance_type": (None, "fixed_small", "learned"),
    "beta_schedule": ("scaled_linear", "linear", "scaled_linear", "squaredcos_cap_v2"),
    "prediction_type": ("epsilon", "v_prediction", "epsilon", "sample", "flow_prediction"),
    "time_shift_type": ("exponential", "linear"),
    "lambda_min_clipped": (-float("inf"), -5.1),
    "trained_betas": (None, None, [0.1, 0.2]),
}
# Refused with the name of the key, whatever class wrote it.
SUPPORTED = {
    "thresholding": (False,),
    "clip_sample": (False,),
    "trained_betas": (None,),
    "beta_schedule": ("linear", "scaled_linear"),
    "prediction_type": ("epsilon", "v_prediction", "sample"),
}


def list_classes() -> list[type]:
    """Every scheduler of the installed diffusers whose packages are installed too."""
    named = [getattr(diffusers, name) for name in sorted(dir(diffusers)) if "Scheduler" in name]
    return [one for one in named if isinstance(one, type) and issubclass(one, ConfigMixin)]


def write_config(cls: Any, base: Raw, rng: random.Random) -> Raw | None:
    """The config that a scheduler writes with random options; None if it refuses them."""
    options: Raw = {}
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        chosen = rng.random() < 0.25
        if chosen and name in WORDS:
            options[name] = rng.choice(WORDS[name])
        elif chosen and isinstance(parameter.default, bool):
            options[name] = rng.random() < 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return json.loads(cls.from_config(dict(base), **options).to_json_string())
        except (ValueError, NotImplementedError, TypeError, AttributeError, ImportError):
            return None


@cache
def write_all() -> list[Raw]:
    rng, found = random.Random(0), []
    for cls in list_classes():
        for base in (SD15, SD21):
            found += [raw for _ in range(5) if (raw := write_config(cls, base, rng))]
    return found


def unsupported(raw: Raw) -> list[str]:
    return [key for key, values in SUPPORTED.items() if raw.get(key, values[0]) not in values]


def read_theirs(raw: Raw) -> Any:
    """diffusers' DDIM from the same file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DDIMScheduler.from_config(dict(raw) | {"clip_sample": False})


def test_none_is_refused_that_ddim_can_sample() -> None:
    assert len(write_all()) >= 200 and len({raw["_class_name"] for raw in write_all()}) >= 30
    read = 0
    for raw in write_all():
        bad = unsupported(raw)
        if bad:
            with pytest.raises(BadCheckpoint, match=f"^scheduler: ({'|'.join(bad)}) "):
                read_scheduler_config(raw)
            continue
        config, theirs = read_scheduler_config(raw), read_theirs(raw)
        abar = theirs.alphas_cumprod.double()
        assert (alphas_cumprod(config) - abar).abs().max() <= 1e-6
        theirs.set_timesteps(20)
        assert torch.equal(timesteps(config, 20), theirs.timesteps)
        read += 1
    assert read >= 100


def test_one_of_each_class_has_the_latents_of_diffusers() -> None:
    classes: dict[str, Raw] = {}
    for raw in write_all():
        zero = raw.get("rescale_betas_zero_snr") and raw.get("prediction_type") != "v_prediction"
        if not unsupported(raw) and not zero:
            classes[raw["_class_name"]] = raw
    assert len(classes) >= 20
    for raw in classes.values():
        config, theirs = read_scheduler_config(raw), read_theirs(raw)
        theirs.set_timesteps(12)
        want = X
        for t in theirs.timesteps:
            want = theirs.step(toy(want, t, C_A), int(t), want).prev_sample
        guidance = Guidance(C_A, None, torch.ones(()))
        v = config.prediction_type == "v_prediction"
        *_, got = sample(toy, build_grid(config, 12), X, guidance, v)
        # Their levels are float32; the toy's latents grow to 40.
        error = (got.x - want).abs().max() / want.abs().max().clamp(min=1)
        assert error <= 1e-5, raw["_class_name"]


def test_all_options_of_other_schedulers_are_known() -> None:
    names: set[str] = set()
    for cls in list_classes():
        names |= set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs", "args"}
    assert list_unknown("scheduler", dict.fromkeys(names, 1)) == {}
    ddim = set(inspect.signature(DDIMScheduler.__init__).parameters)
    effective = ddim - SCHEDULER.ignored
    assert effective >= {"trained_betas", "thresholding", "beta_start", "steps_offset"}


def notes(raw: Raw) -> tuple[str, ...]:
    return describe_configs({"text_encoder": {}, "unet": {}, "vae": {}, "scheduler": raw})


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "LCMScheduler", "TCDScheduler"])
def test_another_sampler_is_a_note(name: str) -> None:
    raw = write_config(getattr(diffusers, name), SD15, random.Random(1)) or {}
    assert notes(raw) == (f"sampled by DDIM, the checkpoint was saved with {name}",)
    assert notes(raw | {"_class_name": ["custom.py", name]}) == notes(raw)


@pytest.mark.parametrize("name", ["DDIMScheduler", "PNDMScheduler", "DDPMScheduler", None])
def test_a_plain_one_is_none(name: str | None) -> None:
    assert notes(SD15 | {"_class_name": name, "lambda_min_clipped": -5.1}) == ()


def test_an_unknown_option_is_one_note_for_all_of_them() -> None:
    raw = SD15 | {"magic": 1, "nothing": None, "_private": 2, "spell": "x"}
    assert read_scheduler_config(raw) == read_scheduler_config(SD15)
    assert notes(raw) == ('scheduler: unknown options were ignored: magic 1, spell "x"',)
    (long,) = notes(raw | {"list": [1] * 1000})
    assert len(long) < 250 and long.endswith(" ...")


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler"])
def test_a_model_of_another_noise_is_refused(name: str) -> None:
    raw = json.loads(getattr(diffusers, name)().to_json_string())
    with pytest.raises(BadCheckpoint, match=f"scheduler: {name} is for models of another noise"):
        read_scheduler_config(raw)


FLAGS = ("set_alpha_to_one", "rescale_betas_zero_snr")


@pytest.mark.parametrize("flag", FLAGS)
def test_null_is_false_for_a_flag(flag: str) -> None:
    assert getattr(read_scheduler_config(SD15 | {flag: None}), flag) is False


GOOD = {334: 333, 501: 500, 400: 333, 170: 166, 751: 980, 600: 500}


@pytest.mark.parametrize("n", [*GOOD, 10, 50, 90, 150, 333, 500, 1000])
def test_a_grid_that_does_not_reach_noise_is_told(n: int) -> None:
    """The kind: N that leaves a large rest of T // N. Good ones start near the last timestep."""
    config = read_scheduler_config(SD15)
    text = check_reach(config, n)
    assert (text is not None) is (n in GOOD)
    if text:
        good = GOOD[n]
        assert f"suits {good} steps" in text and check_reach(config, good) is None
        assert timesteps(config, good)[0] >= 970 > 890 >= timesteps(config, n)[0]
    for spacing in ("trailing", "linspace"):
        assert check_reach(read_scheduler_config(SD15 | {"timestep_spacing": spacing}), n) is None
