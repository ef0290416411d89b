"""TAESD from every form that people have, and one sentence for what is none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from mdp_lite.checkpoint.config_files import read_vae_config
from mdp_lite.checkpoint.config_notes import list_unknown
from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.checkpoint.load import AddOns, Models, convert, examine, load
from mdp_lite.models.taesd import TAESD
from mdp_lite.models.vae import VAE
from mdp_lite.names import BadCheckpoint
from support import taesd
from support.hub_cache import write_snapshot

CPU, FP32 = torch.device("cpu"), torch.float32
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def theirs() -> AutoencoderTiny:
    return taesd.small()


def read(checkpoint: Path, place: Path | str) -> Models:
    return load(checkpoint, CPU, FP32, addons=AddOns(place))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("form", taesd.FORMS)
def test_every_form_has_the_same_bits(
    form: str, checkpoint: Path, theirs: AutoencoderTiny, tmp_path: Path
) -> None:
    models = read(checkpoint, taesd.FORMS[form](tmp_path, theirs))
    assert isinstance(models.vae, TAESD) and models.vae.config.scaling_factor == 1.0
    want = theirs.state_dict()
    got = models.vae.state_dict()
    assert got.keys() == want.keys() and all(torch.equal(got[key], want[key]) for key in want)
    assert models.notes == ()


@pytest.mark.parametrize("seed", [0, 1, 3, 5])
@pytest.mark.parametrize("form", ["pair, by its folder", "diffusers file", "ComfyUI's file"])
def test_shapes_are_inferred_without_a_config(seed: int, form: str, tmp_path: Path) -> None:
    model = taesd.draw(seed)
    place = taesd.FORMS[form](tmp_path, model)
    raw = examine("tiny", vae=place).found.configs["vae"]
    got, want = read_vae_config(raw), read_vae_config({"_class_name": TINY} | dict(model.config))
    shapes = [{k: v for k, v in vars(one).items() if k not in UNSAID} for one in (got, want)]
    assert shapes[0] == shapes[1]


TINY, UNSAID = "AutoencoderTiny", ("act_fn", "scaling_factor")  # no tensor tells of these


@pytest.mark.parametrize("form", taesd.FORMS)
def test_its_files_are_part_of_the_models_hash(
    form: str, checkpoint: Path, theirs: AutoencoderTiny, tmp_path: Path
) -> None:
    places = []
    for name, model in {"one": theirs, "other": taesd.small(1)}.items():
        (tmp_path / name).mkdir()
        places.append(taesd.FORMS[form](tmp_path / name, model))
    hashes = {model_hash(read(checkpoint, place).origin) for place in places}
    assert len(hashes | {model_hash(load(checkpoint, CPU, FP32).origin)}) == 3
    assert model_hash(read(checkpoint, places[0]).origin) in hashes


def test_both_halves_are_part_of_the_hash(
    checkpoint: Path, theirs: AutoencoderTiny, tmp_path: Path
) -> None:
    other, hashes = taesd.split(taesd.small(1)), set()
    for half in (None, *other):
        folder = taesd.write_pair(tmp_path / str(half), theirs)
        if half:
            save_file(other[half], folder / f"taesd_{half}.safetensors")
        hashes.add(model_hash(read(checkpoint, folder).origin))
    assert len(hashes) == 3


# --- the hub -------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_from_the_hub(
    cache: Path, checkpoint: Path, theirs: AutoencoderTiny, tmp_path: Path
) -> None:
    pair = taesd.write_pair(tmp_path / "pair", theirs)
    both = taesd.write_folder(taesd.write_pair(tmp_path / "both", theirs), theirs)
    write_snapshot(cache, "org/pair", files_of(pair))
    write_snapshot(cache, "org/both", files_of(both))
    places = ("org/pair", "org/both", "org/both/taesd_decoder.safetensors", f"org/both/{WEIGHTS}")
    for place in places:
        got = read(checkpoint, place).vae.state_dict()
        assert all(torch.equal(got[k], want) for k, want in theirs.state_dict().items())


def test_half_of_a_pair_on_the_hub(
    cache: Path, checkpoint: Path, theirs: AutoencoderTiny, tmp_path: Path
) -> None:
    files = files_of(taesd.write_pair(tmp_path / "pair", theirs))
    del files["taesd_encoder.safetensors"]
    write_snapshot(cache, "org/half", files)
    with pytest.raises(BadCheckpoint, match=r"has no taesd_encoder\.safetensors"):
        read(checkpoint, "org/half/taesd_decoder.safetensors")


# --- the other family ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "name", "note"),
    [
        ("checkpoint", "taesd", None),
        ("checkpoint", "taesdxl", "taesdxl is by its name for latents of Stable Diffusion XL, the "
         "model is of Stable Diffusion 1.x and 2.x: colours differ"),
        ("checkpoint_xl", "taesd", "taesd is by its name for latents of Stable Diffusion 1.x and "
         "2.x, the model is of Stable Diffusion XL: colours differ"),
        ("checkpoint_xl", "taesdxl", None),
        ("checkpoint_xl", "other", None),
    ],
)  # fmt: skip
def test_a_name_of_the_other_family_is_noted(
    model: str,
    name: str,
    note: str | None,
    request: pytest.FixtureRequest,
    theirs: AutoencoderTiny,
    tmp_path: Path,
) -> None:
    place = taesd.write_pair(tmp_path / name, theirs, name)
    checkpoint = request.getfixturevalue(model)
    assert read(checkpoint, place).notes == ((note,) if note else ())
    decoder = read(checkpoint, place / f"{name}_decoder.safetensors").notes
    said = note and note.replace(name, f"{name}_decoder.safetensors", 1)
    assert decoder == ((said,) if said else ())


# --- configs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"latent_magnitude": 5}, {"latent_shift": 0.1}, {"upsample_fn": "nearest-exact"},
     {"shift_factor": None}, {"force_upcast": True}],
)  # fmt: skip
@torch.no_grad()
def test_options_that_change_no_number(
    options: dict[str, Any], checkpoint: Path, theirs: AutoencoderTiny, tmp_path: Path
) -> None:
    models = read(checkpoint, taesd.changed(**options)(tmp_path, theirs))
    again = AutoencoderTiny.from_pretrained(tmp_path)
    latent, picture = torch.randn(1, 4, 5, 3), torch.rand(1, 3, 8, 12)
    assert (models.vae.decode(latent) - again.decode(latent)[0]).abs().max() <= 1e-5
    assert (models.vae.encode(picture) - again.encode(picture)[0]).abs().max() <= 1e-5
    assert models.notes == ()


def test_every_option_of_diffusers_is_known(theirs: AutoencoderTiny, tmp_path: Path) -> None:
    raw = json.loads((taesd.write_folder(tmp_path, theirs) / "config.json").read_text())
    assert raw["_class_name"] == TINY and list_unknown("vae", raw) == {}
    assert list_unknown("vae", raw | {"odd": 1}) == {"odd": 1}


# --- a model whose own VAE it is -----------------------------------------------------------------


def test_a_folder_with_its_own(
    checkpoint: Path, theirs: AutoencoderTiny, tmp_path: Path, copy_with: Callable[..., Path]
) -> None:
    folder = copy_with(theirs)
    assert isinstance(load(folder, CPU).vae, TAESD)
    convert(folder, tmp_path / "again")
    index = json.loads((tmp_path / "again" / "model_index.json").read_text())
    assert index["vae"] == ["diffusers", TINY]
    got, want = load(tmp_path / "again", CPU).vae.state_dict(), theirs.state_dict()
    assert all(torch.equal(got[key], want[key]) for key in want)
    with pytest.raises(BadCheckpoint, match=r"no place in a single file: its VAE is TAESD$"):
        convert(folder, tmp_path / "one.safetensors")
    assert not (tmp_path / "one.safetensors").exists()


def test_its_scale_says_nothing_of_another_vae(
    checkpoint: Path, theirs: AutoencoderTiny, copy_with: Callable[..., Path]
) -> None:
    """A file of a VAE takes the scale of the model that it joins, but not that of a TAESD there."""
    models = load(copy_with(theirs), CPU, addons=AddOns(checkpoint / "vae"))
    assert isinstance(models.vae, VAE) and models.vae.config.scaling_factor == 1.0  # of its config
    folder = copy_with(theirs, "b")
    file = checkpoint / "vae" / WEIGHTS
    scale = examine(folder, vae=with_group_norms(folder, file)).found.configs["vae"]
    assert scale["scaling_factor"] == 0.18215


def with_group_norms(folder: Path, file: Path) -> Path:
    """The file of a VAE whose widths 32 groups divide, as those without a config have."""
    wide = {k: t.repeat_interleave(4, 0) if t.ndim else t for k, t in load_file(file).items()}
    wide = {k: t.repeat_interleave(4, 1) if t.ndim > 1 else t for k, t in wide.items()}
    wide["encoder.conv_in.weight"] = wide["encoder.conv_in.weight"][:, :3]
    for key in ("decoder.conv_in.weight", "post_quant_conv.weight"):
        wide[key] = wide[key][:, :4]
    for half, count in {"decoder.conv_out": 3, "encoder.conv_out": 8, "post_quant_conv": 4}.items():
        wide |= {f"{half}.{end}": wide[f"{half}.{end}"][:count] for end in ("weight", "bias")}
    for key in ("quant_conv.weight", "quant_conv.bias"):
        wide[key] = wide[key][:8]
    wide["quant_conv.weight"] = wide["quant_conv.weight"][:, :8]
    save_file(
        {key: tensor.contiguous() for key, tensor in wide.items()}, folder / "vae.safetensors"
    )
    return folder / "vae.safetensors"


@pytest.fixture
def copy_with(checkpoint: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the random model with another VAE of its own."""

    def make(model: AutoencoderTiny, name: str = "copy") -> Path:
        folder = Path(shutil.copytree(checkpoint, tmp_path / name))
        shutil.rmtree(folder / "vae")
        taesd.write_folder(folder / "vae", model)
        return folder

    return make
