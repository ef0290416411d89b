"""Models of few steps against diffusers' pipelines: SD and SDXL, every sampler, LCM's embedding."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
    UNet2DConditionModel,
)
from PIL import Image

from mdp_lite import Cache, client_editor, run_batcher
from mdp_lite.__main__ import main
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.checkpoint.samplers import LABELS
from mdp_lite.editor import Editor
from mdp_lite.method.schedule import zero_weights
from mdp_lite.models.condition import find_extra
from mdp_lite.names import BadInput
from mdp_lite.pipeline.inversion_methods import METHODS
from mdp_lite.pipeline.once import once
from mdp_lite.pipeline.request import Request
from support.diffusers_pipelines import draw, pipeline, randomise
from support.sdxl import pipeline_xl

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
COUNTS = (1, 2, 4, 8)
PROMPT, TARGET = "a b c d", "a b e"
CLASSES: dict[str, Any] = {
    "euler": EulerDiscreteScheduler,
    "euler-ancestral": EulerAncestralDiscreteScheduler,
    "lcm": LCMScheduler,
    "tcd": TCDScheduler,
}


class Kind(NamedTuple):
    """A kind of checkpoint: the name that says so, its sampler, what it predicts."""

    name: str
    xl: bool
    sampler: str
    prediction: str = "epsilon"
    embeds: bool = False


KINDS = {
    "sd-turbo": Kind("sd-turbo", False, "euler"),
    "sdxl-turbo": Kind("sdxl-turbo", True, "euler-ancestral"),
    "lightning": Kind("sdxl_lightning_4step", True, "euler"),
    "lightning-x0": Kind("sdxl_lightning_1step_x0", True, "euler", "sample"),
    "lcm": Kind("my-lcm", False, "lcm", embeds=True),
    "lcm-xl": Kind("lcm-sdxl", True, "lcm", embeds=True),
    "lcm-merged": Kind("dreamshaper-8-lcm", False, "lcm"),
    "hyper": Kind("Hyper-SD15-1step", False, "tcd"),
    "hyper-unet": Kind("Hyper-SDXL-1step-Unet", True, "lcm"),
}


class Pair(NamedTuple):
    """One random checkpoint in diffusers and here."""

    theirs: Any
    editor: Editor
    kind: Kind

    def generate(self, n: int, g: float, seed: int = 3) -> torch.Tensor:
        """diffusers' latent (1, 4, y, x); its guidance 0 is ours of 1."""
        own = g if self.kind.embeds or g > 1 else 0.0
        how: dict[str, Any] = {"num_inference_steps": n}
        if "Unet" in self.kind.name:  # from 800 on, by its card
            how = {"timesteps": self.editor.runner.grid(n).t.tolist()}
        out = self.theirs(
            PROMPT, guidance_scale=own, height=64, width=64, eta=1.0,  # only TCD reads eta
            generator=torch.Generator().manual_seed(seed), output_type="latent", **how,
        )  # fmt: skip
        return out.images


def build(kind: Kind, folder: Path) -> Pair:
    """The pipeline, written under the kind's name, and our Editor of it."""
    theirs: Any = pipeline_xl(0) if kind.xl else pipeline(draw(2) | {"vae_depth": 4}, 5)
    if kind.embeds:
        config = dict(theirs.unet.config) | {"time_cond_proj_dim": 32, "_use_default_values": []}
        unet = randomise(UNet2DConditionModel.from_config(config), 9)
        theirs.register_modules(unet=unet)
    options: dict[str, Any] = dict(theirs.scheduler.config) | {
        "timestep_spacing": "trailing", "prediction_type": kind.prediction,
    }  # fmt: skip
    scheduler = CLASSES[kind.sampler].from_config(options, clip_sample=False)
    theirs.register_modules(scheduler=scheduler)
    theirs.set_progress_bar_config(disable=True)
    saved = dict(scheduler.config) | {"prediction_type": "epsilon"}  # x0 is read from the name
    theirs.register_modules(scheduler=CLASSES[kind.sampler].from_config(saved))
    theirs.save_pretrained(folder / kind.name)
    theirs.register_modules(scheduler=scheduler)
    return Pair(theirs, Editor.from_pretrained(folder / kind.name, device="cpu"), kind)


QUICK = ("lcm-xl",)  # the other kinds run with `make slow`
MARKED = [pytest.param(kind, marks=[] if kind in QUICK else [pytest.mark.slow]) for kind in KINDS]


@pytest.fixture(scope="module", params=MARKED)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return build(KINDS[request.param], tmp_path_factory.mktemp("few"))


@pytest.mark.parametrize("n", COUNTS)
def test_pictures_are_those_of_diffusers(pair: Pair, n: int) -> None:
    g = 6.0 if pair.kind.embeds else 1.0
    want = pair.generate(n, g)
    ours = pair.editor.generate(PROMPT, 3, n, g, width=64, height=64)
    assert (ours.path.x[-1] - want).abs().max() <= 1e-4 * want.abs().max().clamp(min=1)
    assert ours.cost.unet_rows == n  # no null row


def test_guidance_with_a_null_row_where_none_is_embedded(pair: Pair) -> None:
    want, ours = pair.generate(4, 2.0), pair.editor.generate(PROMPT, 3, 4, 2.0, width=64, height=64)
    assert (ours.path.x[-1] - want).abs().max() <= 1e-4 * want.abs().max().clamp(min=1)
    assert ours.cost.unet_rows == (4 if pair.kind.embeds else 8)


def test_the_kind_is_read_and_told(pair: Pair) -> None:
    kind, models = pair.kind, pair.editor.models
    assert models.scheduler.sampler == kind.sampler
    assert models.scheduler.prediction_type == kind.prediction
    steps = 1 if "1step" in kind.name else 4
    assert models.defaults == Defaults(steps, 8.5 if kind.embeds else 1.0, distilled=True)
    (note,) = [one for one in models.notes if "sampled by" in one]
    assert f"steps {steps}, guidance" in note and kind.name in note
    assert not any("sampled by DDIM" in one for one in models.notes)


@pytest.mark.parametrize("n", COUNTS)
def test_recorded_noise_reconstructs(pair: Pair, n: int) -> None:
    """A real picture by the default inversion, and a generated source, both with no change."""
    generated = pair.editor.generate(PROMPT, 3, n, width=64, height=64)
    inverted = pair.editor.invert(generated.image, PROMPT, num_inference_steps=n)
    assert inverted.method == "edit-friendly"
    usual = pair.editor.models.defaults.guidance_scale
    assert inverted.guidance_scale == usual  # not the method's 3.5
    assert (inverted.path.x[-1] - pair.editor.runner.encode(generated.image)).abs().max() == 0
    for source in (generated, inverted):
        free = pair.editor.edit(source, PROMPT, weights=zero_weights(n))
        scale = source.path.x.abs().max().clamp(min=1)
        assert (free.latent - source.path.x[-1]).abs().max() <= 1e-5 * scale


@pytest.mark.representative("None", "epsilon")
@pytest.mark.parametrize("variant", [None, "epsilon", "c", "x", "beta"])
def test_edits_go_the_same_path(pair: Pair, variant: str | None) -> None:
    """All variants, a mask, several at once, a saved source: no second code path."""
    editor, n = pair.editor, 4
    source = editor.generate(PROMPT, 3, n, width=64, height=64)
    alone = editor.edit(source, TARGET, variant)
    masked = editor.edit(source, TARGET, variant, mask=(0, 0, 32, 32))
    assert alone.finished and alone.latent.isfinite().all()
    assert (masked.latent - source.path.x[-1])[..., 4:, 4:].abs().max() <= 1e-9
    both = editor.edits([Request(source, TARGET, variant), Request(source, "d", variant)])
    assert torch.equal(both[0].latent, alone.latent)
    at_once = once(editor, PROMPT, TARGET, 3, variant, n, width=64, height=64)
    assert torch.equal(at_once.latent, alone.latent)


def test_saved_sources_are_read_bit_for_bit(pair: Pair, tmp_path: Path) -> None:
    editor = pair.editor
    source = editor.generate(PROMPT, 3, 2, width=64, height=64)
    for one in (source, editor.invert(source.image, PROMPT, num_inference_steps=2)):
        editor.save_source(one, tmp_path / "a.safetensors")
        back = editor.load_source(tmp_path / "a.safetensors")
        for name, tensor in one.path._asdict().items():
            other = getattr(back.path, name)
            assert other is None if tensor is None else torch.equal(other, tensor)
        assert torch.equal(editor.edit(back, TARGET).latent, editor.edit(one, TARGET).latent)


def test_sweeps_batchers_and_the_cache_go_the_same_path(pair: Pair, tmp_path: Path) -> None:
    editor, n = pair.editor, 2
    source = editor.generate(PROMPT, 3, n, width=64, height=64)
    want = editor.edit(source, TARGET, "c").latent
    table = editor.sweep(source, TARGET, ["c", "x"], guidance_scales=[None], max_rows=8)
    assert (table.edits[0].latent - want).abs().max() <= 1e-5 * want.abs().max()
    with run_batcher(editor) as batcher, batcher.client() as client:
        other = client_editor(editor, batcher, client)
        again = other.generate(PROMPT, 3, n, width=64, height=64)
        assert (other.edit(again, TARGET, "c").latent - want).abs().max() <= 1e-5 * want.abs().max()
    cached = Editor(editor.models, editor.device, Cache(tmp_path))
    first, second = (cached.generate(PROMPT, 3, n, width=64, height=64) for _ in range(2))
    assert first.cost.unet_rows and not second.cost.unet_rows
    assert torch.equal(cached.edit(second, TARGET, "c").latent, want)


def test_the_command_generates_and_edits(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model, n = str(pair.editor.models.folder), 2
    size = ["--steps", str(n), "--width", "64", "--height", "64", "--model", model]
    assert main(["generate", PROMPT, "--seed", "3", *size, "--output", "a.png"]) == 0
    want = pair.editor.generate(PROMPT, 3, n, width=64, height=64).image
    assert np.array_equal(np.array(Image.open("a.png").convert("RGB")), np.array(want))
    assert main(["info", model, "--no-hash"]) == 0
    out = capsys.readouterr().out
    assert LABELS[pair.kind.sampler] in out and pair.kind.name in out


def test_the_guidance_scale_is_part_of_an_lcms_condition(pair: Pair) -> None:
    editor, c = pair.editor, pair.editor.runner.condition(PROMPT, (64, 64), g=6.0)
    if not pair.kind.embeds:
        assert torch.equal(c, editor.runner.condition(PROMPT, (64, 64), g=2.0))
        return
    assert find_extra(c, editor.models.unet.config.extra_dim)[0, -1] == 6
    two, six = (editor.generate(PROMPT, 3, 2, g, width=64, height=64) for g in (2.0, 6.0))
    assert not torch.equal(two.path.x[-1], six.path.x[-1])
    with pytest.raises(BadInput, match="has no negative prompt: negative_prompt must be empty"):
        editor.generate(PROMPT, negative_prompt="a", num_inference_steps=2)


@pytest.mark.covering(1)
@pytest.mark.parametrize("method", METHODS)
def test_inversions_work_or_say_why_not(pair: Pair, method: str) -> None:
    editor = pair.editor
    picture = editor.generate(PROMPT, 3, 4, width=64, height=64).image
    refused = pair.kind.prediction == "sample" and method != "edit-friendly"
    refused |= pair.kind.embeds and method in ("null-text", "negative-prompt")
    if refused:
        with pytest.raises(BadInput, match="take edit-friendly"):
            editor.invert(picture, PROMPT, method, 4)
        return
    source = editor.invert(picture, PROMPT, method, 4)
    assert editor.edit(source, TARGET).latent.isfinite().all()
