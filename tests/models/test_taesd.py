"""TAESD against diffusers' AutoencoderTiny and its author's description, alone and in pipelines."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from mdp_lite import Editor
from mdp_lite.checkpoint.load import AddOns, examine, load
from mdp_lite.engine import flops
from mdp_lite.models.config import TAESDConfig, VAEConfig
from mdp_lite.models.taesd import TAESD, AnyVAE, build_vae
from mdp_lite.pictures import images
from mdp_lite.pipeline.request import Request
from support import taesd
from support.diffusers_pipelines import draw, pipeline, randomise

BOUND = 1e-5  # of one call; whole pipelines may differ by PIPELINE
PIPELINE = 1e-4
CPU, FP32 = torch.device("cpu"), torch.float32


class Case(NamedTuple):
    """A TAESD of theirs, and ours as it is read from theirs on disk."""

    theirs: AutoencoderTiny
    ours: AnyVAE
    place: Path


@pytest.fixture(scope="module", params=range(8))
def case(
    request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    theirs = taesd.draw(request.param)
    place = taesd.write_folder(tmp_path_factory.mktemp("taesd"), theirs)
    return Case(theirs, load(checkpoint, CPU, FP32, addons=AddOns(place)).vae, place)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def distance(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def photo(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@torch.no_grad()
def test_encoding_is_that_of_diffusers(case: Case) -> None:
    assert isinstance(case.ours, TAESD)
    f, scale = case.ours.config.factor, case.theirs.config["scaling_factor"]
    picture = noise(2, 3, 3 * f, 5 * f).clamp(-1, 1)
    assert distance(case.ours.encode(picture), scale * case.theirs.encode(picture)[0]) <= BOUND


@torch.no_grad()
def test_decoding_is_that_of_diffusers(case: Case) -> None:
    scale, latent = case.theirs.config["scaling_factor"], 3 * noise(2, 4, 3, 5)
    assert distance(case.ours.decode(latent), case.theirs.decode(latent / scale)[0]) <= BOUND


@torch.no_grad()
def test_the_published_shape_is_its_authors(checkpoint: Path, tmp_path: Path) -> None:
    encoder = randomise(taesd.author_encoder(8), 1)
    decoder = randomise(taesd.author_decoder(8), 2)
    for half, model in {"encoder": encoder, "decoder": decoder}.items():
        save_file(model.state_dict(), tmp_path / f"taesd_{half}.safetensors")
    ours = load(checkpoint, CPU, FP32, addons=AddOns(tmp_path)).vae
    picture, latent = noise(1, 3, 16, 24).clamp(-1, 1), 3 * noise(1, 4, 2, 3)
    assert distance(ours.encode(picture), encoder(picture / 2 + 0.5)) <= BOUND
    assert distance(ours.decode(latent), 2 * decoder(latent) - 1) <= BOUND


@pytest.mark.representative("0", "3")
@pytest.mark.parametrize("seed", range(6))
def test_a_whole_pipeline_with_it(tmp_path: Path, seed: int) -> None:
    theirs = pipeline(draw(seed), seed)
    theirs.save_pretrained(tmp_path / "model")
    small = taesd.draw(seed + 1)
    place = taesd.write_folder(tmp_path / "small", small)
    theirs = StableDiffusionPipeline.from_pretrained(
        tmp_path / "model", vae=AutoencoderTiny.from_pretrained(place), safety_checker=None
    )
    theirs.set_progress_bar_config(disable=True)
    steps = {"num_inference_steps": 5, "guidance_scale": 4.0}
    generator = torch.Generator().manual_seed(3)
    want = theirs("a b c", generator=generator, output_type="pt", **steps).images
    editor = Editor.from_pretrained(tmp_path / "model", device="cpu", vae=place)
    source = editor.generate("a b c", seed=3, **steps)
    with torch.no_grad():
        got = editor.models.vae.decode(source.path.x[-1].float())
    assert (got.clamp(-1, 1) / 2 + 0.5 - want).abs().max() <= PIPELINE
    assert difference(source.image, images.to_image(want * 2 - 1)) <= 1
    check_edit(editor, theirs)


def difference(one: Image.Image, other: Image.Image) -> int:
    """The largest difference in bytes, which rounding makes 1."""
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())


@torch.no_grad()
def check_edit(editor: Editor, theirs: StableDiffusionPipeline) -> None:
    """An inverted picture: its latent and the edit's picture are those of diffusers' parts."""
    image, vae = photo(*editor.runner.size), theirs.vae
    pixels = theirs.image_processor.preprocess(image)
    want = vae.encode(pixels)[0] * vae.config.scaling_factor
    source = editor.invert(image, prompt="a b", num_inference_steps=4, guidance_scale=1.0)
    assert distance(editor.runner.encode(image).float(), want) <= PIPELINE
    edit = editor.edit(source, "c d")
    picture = vae.decode(edit.latent.float() / vae.config.scaling_factor)[0]
    assert difference(edit.image, images.to_image(picture)) <= 1


def test_the_published_sizes() -> None:
    counts = [sum(p.numel() for p in build_on_meta(c).parameters()) for c in (LARGE, TAESDConfig())]
    theirs = AutoencoderTiny()
    assert counts[1] == sum(p.numel() for p in theirs.parameters())
    assert round(counts[0] / counts[1]) == 34  # models/taesd.py says so
    small, large = (flops.decode(config, 512, 512).flops for config in (TAESDConfig(), LARGE))
    assert small < large / 10


LARGE = VAEConfig(
    (128, 256, 512, 512), ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4, layers_per_block=2
)


def build_on_meta(config: VAEConfig | TAESDConfig) -> AnyVAE:
    with torch.device("meta"):
        return build_vae(config)


def test_it_runs_in_half_precision_on_sdxl_too(checkpoint_xl: Path, tmp_path: Path) -> None:
    place = taesd.write_folder(tmp_path, taesd.small())
    models = load(checkpoint_xl, CPU, torch.float16, addons=AddOns(place))
    assert next(models.vae.parameters()).dtype == torch.float16
    assert not any("overflows" in one for one in models.notes)
    assert any("overflows" in one for one in load(checkpoint_xl, CPU, torch.float16).notes)
    assert examine(checkpoint_xl, vae=place).models["vae"].config == models.vae.config


@torch.no_grad()
@pytest.mark.parametrize("call", ["encode", "decode"])
def test_bfloat16_on_a_batch(call: str) -> None:
    """Each picture of a batch is what it is alone, and near what it is in float32."""
    torch.manual_seed(0)
    vae = build_vae(TAESDConfig((16,) * 4, (16,) * 4)).eval()
    inputs = noise(3, 3, 16, 24).clamp(-1, 1) if call == "encode" else 3 * noise(3, 4, 2, 3)
    want = getattr(vae, call)(inputs)
    vae.to(torch.bfloat16)
    got = getattr(vae, call)(inputs.bfloat16())
    assert got.dtype == torch.bfloat16 and distance(got.float(), want) <= 2e-2
    alone = torch.cat([getattr(vae, call)(one[None].bfloat16()) for one in inputs])
    assert distance(got.float(), alone.float()) <= 1e-2


def test_several_edits_at_once_in_bfloat16(checkpoint: Path, tmp_path: Path) -> None:
    """The editor decodes them with it, each like the picture alone."""
    place = taesd.write_folder(tmp_path, taesd.small())
    editor = Editor.from_pretrained(checkpoint, "cpu", "bfloat16", vae=place)
    source = editor.invert(photo(*editor.runner.size), "a red house", num_inference_steps=3)
    both = editor.edits([Request(source, "a blue house"), Request(source, "a boat")])
    assert isinstance(editor.models.vae, TAESD)
    assert next(editor.models.vae.parameters()).dtype == torch.bfloat16
    for edit, target in zip(both, ("a blue house", "a boat"), strict=True):
        assert difference(edit.image, editor.edit(source, target).image) <= 8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_it_is_compiled_like_the_large_one(checkpoint: Path, tmp_path: Path) -> None:
    place = taesd.write_folder(tmp_path, taesd.small())
    torch._dynamo.reset()
    plain, compiled = (
        Editor.from_pretrained(checkpoint, "cpu", vae=place, engine=engine)
        for engine in ("eager", "compile")
    )
    image = photo(*plain.runner.size)
    latents = [editor.runner.encode(image) for editor in (plain, compiled)]
    assert distance(latents[1].float(), latents[0].float()) <= PIPELINE
    pictures = [editor.runner.decode(latents[0]) for editor in (plain, compiled)]
    assert difference(*pictures) <= 1
    torch._dynamo.reset()
