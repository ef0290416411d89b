"""Full-size SD 1.5 and 2.1 (768, v) with random weights, against diffusers and transformers, fp32.

    python -m pytest -m slow -rP tests/models/test_full_size.py

writes 5 GB at a time, takes minutes on two cores and prints the errors. SD 2.1 comes in shards.
"""

import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import Tensor

from mdp_lite import Editor
from mdp_lite_weights.convert import convert
from support import full_size

BOUND, PICTURE_BOUND = 1e-4, 1e-3
MEMORY = 12e9  # bytes that this whole process may have had in memory at any time
SHARDS = {"sd15": None, "sd21": "1GB"}
PARTS = ("text_encoder", "unet", "vae")
PROMPT, NEGATIVE = "a photo of an astronaut riding a horse", "blurry"
SEED, STEPS, GUIDANCE, SIDE = 3, 5, 7.5, 256

pytestmark = pytest.mark.slow


class Outputs(NamedTuple):
    """What the same inputs give: hidden states, noise or v, a latent, pixels, a whole picture."""

    text: Tensor
    unet: Tensor
    encoded: Tensor
    decoded: Tensor
    picture: Tensor


class Case(NamedTuple):
    """A model's folder and what both sides make of it."""

    name: str
    folder: Path
    theirs: Outputs
    ours: Outputs


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(SEED))


def inputs(width: int) -> tuple[Tensor, ...]:
    """Token ids, a latent of 64x64 cells, a text condition, and a picture and a latent of it."""
    ids = torch.randint(49408, (2, 77), generator=torch.Generator().manual_seed(SEED))
    cells = SIDE // 8
    return (
        ids, noise(1, 4, 64, 64), noise(1, 77, width), noise(1, 3, SIDE, SIDE).tanh(),
        noise(1, 4, cells, cells),
    )  # fmt: skip


def their_picture(pipe: StableDiffusionPipeline) -> Tensor:
    """DDIM, whatever scheduler the folder names -> (1, 3, SIDE, SIDE) in 0..1."""
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(SEED)
    return pipe(
        PROMPT, SIDE, SIDE, STEPS, guidance_scale=GUIDANCE, negative_prompt=NEGATIVE,
        generator=generator, output_type="pt",
    ).images  # fmt: skip


@torch.no_grad()
def their_outputs(folder: Path) -> Outputs:
    pipe = StableDiffusionPipeline.from_pretrained(
        folder, dtype=torch.float32, safety_checker=None, local_files_only=True
    )
    ids, x, c, picture, z = inputs(pipe.text_encoder.config.hidden_size)
    scale = pipe.vae.config.scaling_factor
    return Outputs(
        pipe.text_encoder(ids).last_hidden_state,
        pipe.unet(x, torch.tensor(501), c).sample,
        pipe.vae.encode(picture).latent_dist.mean * scale,
        pipe.vae.decode(z / scale).sample,
        their_picture(pipe),
    )


def our_picture(editor: Editor) -> Tensor:
    source = editor.generate(PROMPT, SEED, STEPS, GUIDANCE, NEGATIVE, SIDE, SIDE)
    return (editor.models.vae.decode(source.path.x[-1].float()) / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def our_outputs(folder: Path) -> Outputs:
    editor = Editor.from_pretrained(folder, device="cpu", dtype=torch.float32)
    models = editor.models
    ids, x, c, picture, z = inputs(models.text_encoder.config.hidden_size)
    return Outputs(
        models.text_encoder(ids),
        models.unet(x, torch.tensor(501), c),
        models.vae.encode(picture),
        models.vae.decode(z),
        our_picture(editor),
    )


@pytest.fixture(scope="module", autouse=True)
def all_cores() -> Iterator[None]:
    """Models of this size are worth every thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=SHARDS)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    """One model at a time: one side is let go before the other is loaded."""
    where = tmp_path_factory.mktemp("full_size")
    if why := full_size.lacking(where):
        pytest.skip(why)
    folder = full_size.write(request.param, where / "folder", max_shard_size=SHARDS[request.param])
    try:
        yield Case(request.param, folder, their_outputs(folder), our_outputs(folder))
    finally:
        shutil.rmtree(where)


@pytest.mark.parametrize("part", Outputs._fields[:-1])
def test_models(case: Case, part: str) -> None:
    got, want = getattr(case.ours, part), getattr(case.theirs, part)
    assert got.shape == want.shape and want.std() > 0.01
    error = float((got - want).abs().max() / want.abs().max())
    print(f"{case.name} {part}: largest error over largest value {error:.1e}")
    assert error <= BOUND


def test_whole_pipeline(case: Case) -> None:
    got, want = case.ours.picture, case.theirs.picture
    assert got.shape == want.shape == (1, 3, SIDE, SIDE) and want.std() > 0.05
    error = float((got - want).abs().max())
    print(f"{case.name} picture: largest error of values in 0..1 {error:.1e}")
    assert error <= PICTURE_BOUND


def test_shards(case: Case) -> None:
    files = list((case.folder / "unet").glob("*.safetensors"))
    assert len(files) == (1 if SHARDS[case.name] is None else 4)


@pytest.fixture(scope="module")
def single(case: Case) -> Path:
    """The same model as one LDM file."""
    convert(case.folder, case.folder.parent / "single.safetensors")
    return case.folder.parent / "single.safetensors"


def test_a_single_file_is_bit_equal(case: Case, single: Path) -> None:
    options = {"device": "cpu", "dtype": torch.float32}
    folder = Editor.from_pretrained(case.folder, **options).models
    file = Editor.from_pretrained(single, tokenizer=case.folder / "tokenizer", **options).models
    assert file.scheduler.prediction_type == folder.scheduler.prediction_type
    for part in PARTS:
        got, want = (getattr(models, part).state_dict() for models in (file, folder))
        assert got.keys() == want.keys()
        assert all(torch.equal(got[key], want[key]) for key in want)
        for models in (file, folder):  # lets go of what was read
            getattr(models, part).to("meta")


def test_diffusers_reads_the_single_file(case: Case, single: Path) -> None:
    pipe = StableDiffusionPipeline.from_single_file(
        str(single), config=str(case.folder), local_files_only=True, dtype=torch.float32
    )
    error = float((their_picture(pipe) - case.theirs.picture).abs().max())
    print(f"{case.name} picture of diffusers from the single file: largest error {error:.1e}")
    assert error <= 1e-5


def test_memory(case: Case) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{case.name}: {peak / 1e9:.1f} GB at most in memory so far")
    assert peak < MEMORY
