"""Previews: a linear map fitted to the checkpoint, cheap and near the truth."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.models.config import VAEConfig
from mdp_lite.models.vae import VAE
from mdp_lite.pictures import images
from mdp_lite.pipeline.preview import fit_preview, preview, to_rgb
from mdp_lite.pipeline.request import Request
from support.bundled import MODELS, Bundled
from support.watched import Watched, unlike

MAP = torch.linspace(-0.2, 0.2, 15, dtype=torch.float64).reshape(5, 3)


class Linear(nn.Module):
    """A VAE that decodes each latent cell to one colour, by MAP."""

    def __init__(self) -> None:
        super().__init__()
        self.config = VAEConfig(block_out_channels=(8, 8))
        self.zero = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def decode(self, latent: Tensor) -> Tensor:
        small = torch.einsum("bcyx,cr->bryx", latent, MAP[:4]) + MAP[4][:, None, None]
        return F.interpolate(small, scale_factor=self.config.factor)


class CountingVAE(nn.Module):
    """A VAE that counts the latents it decodes."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae, self.config, self.encode, self.decoded = vae, vae.config, vae.encode, 0

    def decode(self, latent: Tensor) -> Tensor:
        self.decoded += len(latent)
        return self.vae.decode(latent)


@pytest.fixture(scope="module", params=MODELS, ids=lambda one: one.name)
def model(request: pytest.FixtureRequest) -> Bundled:
    return request.param


@pytest.fixture(scope="module")
def bundled(model: Bundled) -> Editor:
    return Editor.from_pretrained(model.name, device="cpu")


def psnr(picture: Tensor, truth: Tensor) -> float:
    """In dB, of values in [-1, 1]."""
    return float(10 * torch.log10(4 / ((picture - truth) ** 2).mean()))


def greys(pictures: Tensor) -> Tensor:
    """Each picture (b, 3, y, x) as the one grey that is nearest to it."""
    return pictures.mean((1, 2, 3), keepdim=True).expand_as(pictures)


def test_a_linear_vae_is_found_exactly() -> None:
    vae: Any = Linear()
    assert (fit_preview(vae) - MAP).abs().max() <= 1e-6


def test_a_checkpoint_has_one_map(editor: Editor) -> None:
    vae = editor.models.vae
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    torch.manual_seed(1)
    once = fit_preview(vae)
    torch.manual_seed(2)
    assert torch.equal(once, fit_preview(vae)) and once.shape == (5, 3)
    assert all(torch.equal(before[name], tensor) for name, tensor in vae.state_dict().items())


def test_previews_of_synthetic_pictures_are_near_them(model: Bundled, bundled: Editor) -> None:
    """Measured of tiny: 20.9 dB in the mean, mid-grey 13.1, each picture's own grey 17.5.

    Of small: 26.8, 13.9 and 16.3.
    """
    fitted, factor = fit_preview(bundled.models.vae), bundled.runner.factor
    scenes = [model.world.draw(model.world.sample(seed)) for seed in range(24)]
    x = torch.cat([bundled.runner.encode(picture) for picture in scenes])
    truths = torch.cat([F.avg_pool2d(images.to_tensor(one).double(), factor) for one in scenes])
    ours, grey, own = (
        torch.tensor([psnr(*pair) for pair in zip(pictures, truths, strict=True)])
        for pictures in (to_rgb(fitted, x), torch.zeros_like(truths), greys(truths))
    )
    assert (ours - grey).mean() >= 7 and (ours - grey).min() >= 3
    assert (ours - own).mean() >= 3  # foggy pictures are nearly one grey
    cells = torch.cat([x, torch.ones_like(x[:, :1])], 1).movedim(1, -1).flatten(0, -2)
    best = torch.linalg.lstsq(cells, truths.movedim(1, -1).flatten(0, -2)).solution
    assert psnr(to_rgb(fitted, x), truths) >= psnr(to_rgb(best, x), truths) - model.gap


def test_a_preview_of_an_edit_shows_what_its_decoding_shows(
    model: Bundled, bundled: Editor
) -> None:
    scenes = [model.world.full_caption(model.world.sample(seed), seed) for seed in (7, 8)]
    source = bundled.generate(scenes[0], 5, 10)
    for progress in bundled.steps([Request(source, scenes[1], "epsilon", 9, 5)]):
        (state,) = progress.states
        if state.step >= 5:
            small, true = (
                F.avg_pool2d(images.to_tensor(picture), bundled.runner.factor)
                for picture in (bundled.preview(state), bundled.result(state).image)
            )
            assert psnr(small, true) >= psnr(greys(true), true) + 3


def test_after_the_fit_a_preview_calls_no_model(editor: Editor) -> None:
    requests = unlike(editor)
    unet: Any = Watched(editor.models.unet)
    vae: Any = CountingVAE(editor.models.vae)
    watched = Editor(replace(editor.models, unet=unet, vae=vae), editor.device)
    *_, last = watched.steps(requests)
    rows = unet.calls
    assert vae.decoded == 0
    watched.preview(last.states[0])
    fit = vae.decoded
    assert fit > 0
    pictures = [watched.preview(state) for state in last.states]
    assert (unet.calls, vae.decoded) == (rows, fit)
    assert [one.size for one in pictures] == [
        state.request.source.image.size for state in last.states
    ]


def test_a_preview_has_the_size_of_the_picture(editor: Editor) -> None:
    small = preview(MAP, torch.zeros(1, 4, 3, 5, dtype=torch.float64), 8)
    assert small.size == (40, 24)
    value = round(float(127.5 * (MAP[4, 0] + 1)))
    assert small.getpixel((7, 11))[0] == value  # type: ignore[index]


@pytest.fixture
def edit(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Callable[..., dict[str, Any]]:
    """Runs `mdp-lite edit` with these options on the random model and returns what it printed."""
    monkeypatch.chdir(tmp_path)
    line = ["edit", "--source-prompt", "a", "--prompt", "a boat", "--steps", "6", "--json"]

    def run(*more: str) -> dict[str, Any]:
        assert main([*line, "--model", str(checkpoint), *more]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_the_command_writes_previews(edit: Callable[..., dict[str, Any]]) -> None:
    printed = edit("--previews", "way.png")
    assert printed["files"] == ["edited.png", "way.png"] and printed["finished"]
    page, picture = (images.open_picture(name) for name in ("way.png", "edited.png"))
    assert page.width > 2 * picture.width
    plain = edit()
    assert plain["files"] == ["edited.png"] and plain["cost"] == printed["cost"]


def test_the_command_keeps_a_deadline(edit: Callable[..., dict[str, Any]]) -> None:
    printed = edit("--variant", "all", "--deadline", "1e-9", "--previews", "way.png")
    assert printed["finished"] is False
    assert images.read_settings("edited-c.png")["finished"] is False
    assert all(printed["costs"][name]["unet_calls"] <= 1 for name in ("epsilon", "c", "x", "beta"))
    printed = edit("--deadline", "1e6")
    assert printed["finished"] is True and "finished" not in images.read_settings("edited.png")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--deadline", "0"], "deadline must be above 0 seconds, got 0"),
        (["--deadline", "soon"], "--deadline must be a number, got 'soon'"),
        (["--previews", "a.txt"], "--previews must"),
        (["--previews", "edited.png"], "previews must be another file than the picture, got"),
    ],
)
def test_bad_options_of_the_command(
    more: list[str], sentence: str, tmp_path: Path, checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch, says_one_line: Callable[[str], None],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    line = ["edit", "--source-prompt", "a", "--prompt", "b", "--model", str(checkpoint)]
    assert main([*line, *more]) == 2
    says_one_line(sentence)
    assert list(tmp_path.iterdir()) == []
