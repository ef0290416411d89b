"""A generated source with recorded noise: the same picture, on the path that edits suit better."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mdp_lite import DeadlineExceeded, Editor
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.names import BadInput
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.pipeline.provenance import describe_source
from mdp_lite.pipeline.result import Source

N, PROMPT = 6, "a red house on the grass"


@pytest.fixture(scope="module")
def plain(editor: Editor) -> Source:
    return editor.generate(PROMPT, 5, N)


@pytest.fixture(scope="module")
def recorded(editor: Editor) -> Source:
    return editor.generate(PROMPT, 5, N, record_noise=True)


def test_it_is_the_same_picture(plain: Source, recorded: Source) -> None:
    assert torch.equal(plain.path.x[-1], recorded.path.x[-1])
    assert np.array_equal(plain.image, recorded.image)
    assert (recorded.prompt, recorded.seed) == (plain.prompt, plain.seed)


def test_it_says_what_it_is_and_what_it_took(plain: Source, recorded: Source) -> None:
    assert plain.path.noise is None and recorded.path.noise is not None
    assert recorded.inversion == Inversion("edit-friendly", seed=0)
    assert recorded.generated and recorded.original is None and recorded.guidance_scale == 3.5
    assert recorded.cost.unet_rows == 2 * plain.cost.unet_rows
    assert recorded.cost.unet_calls == 2 * N


def test_its_path_is_the_latent_under_independent_noise(recorded: Source) -> None:
    """The latent itself is inverted; a picture in between would be rounded, and encoded again."""
    x = recorded.path.x[-1]
    z = torch.randn((N, *x.shape), generator=torch.Generator().manual_seed(0)).to(x)
    a = recorded.grid.a[:, None, None, None, None]
    assert torch.equal(recorded.path.x[:-1], a.sqrt() * x + (1 - a).sqrt() * z)


def test_edits_repeat_the_guidance_of_the_picture(editor: Editor) -> None:
    """The noise is recorded at the inversion's guidance; that of the picture is the user's."""
    source = editor.generate(PROMPT, 5, N, 2.5, record_noise=True)
    assert (source.guidance_scale, source.sampling_guidance) == (3.5, 2.5)
    assert editor.edit(source, "a blue house").guidance_scale == 2.5
    assert editor.edit(source, "a blue house", guidance_scale=3.0).guidance_scale == 3.0
    said = describe_source("m", source)
    assert (said["guidance_scale"], said["record_noise"], said["seed"]) == (2.5, True, 5)
    plain = describe_source("m", editor.generate(PROMPT, 5, N, 2.5))
    assert "record_noise" not in plain and plain["guidance_scale"] == 2.5


def test_edits_end_at_the_source_at_strength_0(editor: Editor, recorded: Source) -> None:
    edit = editor.edit(recorded, "a blue house on the grass", strength=0.0)
    assert torch.equal(edit.latent, recorded.path.x[-1]) and edit.cost.unet_rows == 0


def test_edits_are_of_the_default_for_recorded_noise(editor: Editor, recorded: Source) -> None:
    usual = Editor(replace(editor.models, defaults=Defaults(N, 3.0)), editor.device)
    weights = usual.edit(recorded, "a blue house on the grass").weights
    assert weights.local is not None and weights.local.any()


def test_progress_counts_both_passes(editor: Editor) -> None:
    seen: list[tuple[int, int]] = []

    def on_step(done: int, total: int, x: Tensor) -> None:
        seen.append((done, total))

    editor.generate(PROMPT, 5, N, on_step=on_step, record_noise=True)
    assert seen == [(done, 2 * N) for done in range(1, 2 * N + 1)]


def test_a_deadline_ends_the_second_pass_too(editor: Editor) -> None:
    def wait(done: int, total: int, x: Tensor) -> None:
        if done == N + 1:
            raise DeadlineExceeded("as late as this")

    with pytest.raises(DeadlineExceeded, match="as late"):
        editor.generate(PROMPT, 5, N, on_step=wait, record_noise=True)


def test_it_survives_a_file_and_the_cache(editor: Editor, recorded: Source, tmp_path: Path) -> None:
    editor.save_source(recorded, tmp_path / "a.safetensors")
    again = editor.load_source(tmp_path / "a.safetensors")
    assert again.seed == 5 and again.generated and again.inversion == recorded.inversion
    assert again.sampling_guidance == recorded.sampling_guidance == 3.0
    assert torch.equal(again.path.noise, recorded.path.noise)  # type: ignore[arg-type]
    cached = Editor(editor.models, editor.device, cache=tmp_path / "cache")
    for record, rows in ((False, 2 * N), (True, 4 * N), (False, 0), (True, 0)):
        source = cached.generate(PROMPT, 5, N, record_noise=record)
        assert source.cost.unet_rows == rows and (source.path.noise is not None) == record


@pytest.mark.parametrize("value", ["yes", None, 2])
def test_the_flag_is_yes_or_no(editor: Editor, value: object) -> None:
    with pytest.raises(BadInput, match="record_noise must be True or False"):
        editor.generate(PROMPT, 5, N, record_noise=value)  # type: ignore[arg-type]


def test_a_sampler_that_adds_noise_has_it_already(editor: Editor) -> None:
    models = editor.models
    editor = Editor(replace(models, scheduler=replace(models.scheduler, sampler="lcm")))
    one, other = (editor.generate(PROMPT, 5, N, record_noise=flag) for flag in (False, True))
    assert one.cost == other.cost and other.inversion is None
    assert torch.equal(one.path.noise, other.path.noise)  # type: ignore[arg-type]
