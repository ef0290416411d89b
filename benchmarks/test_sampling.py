"""Sampling with the bundled model against diffusers, the same work, on the CPU, in float32.

Rounds are interleaved, so that a slow moment of the machine hits both; the ratio is that of the
medians. The quality gate comes first: both must reach the same latent.
"""

import json
import statistics
import time
from collections.abc import Callable

import pytest
import torch
from diffusers import StableDiffusionPipeline

from mdp_lite import Editor
from mdp_lite_weights import locate

PROMPT, STEPS, GUIDANCE, ROUNDS = "a red house on the grass", 50, 4.0, 9


@pytest.fixture(scope="module")
def ours() -> Callable[[], torch.Tensor]:
    editor = Editor.from_pretrained("tiny", device="cpu")
    return lambda: editor.generate(PROMPT, 7, STEPS, GUIDANCE).path.x[-1]


@pytest.fixture(scope="module")
def theirs() -> Callable[[], torch.Tensor]:
    folder = locate("tiny")
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)

    def sample() -> torch.Tensor:
        generator = torch.Generator().manual_seed(7)
        settings = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE}
        latent = pipe(PROMPT, generator=generator, output_type="latent", **settings).images
        pipe.vae.decode(latent / pipe.vae.config.scaling_factor)  # ours decodes too
        return latent

    return sample


@torch.no_grad()
def test_sampling_against_diffusers(benchmark, ours, theirs):
    assert (ours() - theirs()).abs().max() < 1e-4 * theirs().abs().max()
    seconds: dict[str, list[float]] = {"mdp_lite": [], "diffusers": []}
    pairs = {"mdp_lite": ours, "diffusers": theirs}
    for i in range(ROUNDS):
        for name in sorted(pairs, reverse=bool(i % 2)):
            begun = time.perf_counter()
            pairs[name]()
            seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    benchmark.extra_info.update(medians, ratio=medians["diffusers"] / medians["mdp_lite"])
    print(json.dumps(benchmark.extra_info, indent=1))
    benchmark.pedantic(ours, rounds=3)


@pytest.mark.parametrize("variant", ["epsilon", "c", "x", "beta"])
def test_edit(benchmark, variant):
    editor = Editor.from_pretrained("tiny", device="cpu")
    source = editor.generate(PROMPT, seed=7)
    edit = benchmark.pedantic(
        editor.edit, (source, "a blue house on the grass"), {"variant": variant}, rounds=3
    )
    benchmark.extra_info["unet_rows"] = edit.cost.unet_rows
