"""SingleFile LDM files: their tensors, what is inferred, and that diffusers reads them alike."""

from pathlib import Path

import pytest
import torch

from mdp_lite.editor import Editor
from mdp_lite_weights import Choices, keys, open_checkpoint
from mdp_lite_weights.schedules import PREDICTION_KEY
from support.ldm import Tensors, single, write_folder, write_single

KINDS = ("SD 1.x", "SD 2.x")


class Case:
    """A folder, its tensors, and those of the single file that says the same."""

    def __init__(self, folder: Path, openclip: bool) -> None:
        self.folder, self.openclip = folder, openclip
        self.parts = write_folder(folder, openclip)
        self.tensors = single(self.parts, openclip)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("single")
    return {kind: Case(folder / kind.replace(" ", "-"), kind == "SD 2.x") for kind in KINDS}


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


def equal(got: dict[str, Tensors], want: dict[str, Tensors]) -> bool:
    same = all(set(got[part]) == set(want[part]) for part in want)
    return same and all(torch.equal(got[p][k], want[p][k]) for p in want for k in want[p])


def write_changed(path: Path, case: Case, change: Tensors, **metadata: str) -> Path:
    return write_single(path, case.tensors | change, **metadata)


def test_the_tables_invert_each_other(case: Case) -> None:
    for key in case.parts["unet"]:
        assert keys.unet_key(keys.ldm_unet_key(key)) == key
    for key in case.parts["vae"]:
        assert keys.vae_key(keys.ldm_vae_key(key)) == key
    for rows in (
        keys.list_unet_renames(4),
        keys.list_unet_renames(3),
        keys.UNET_RESNET,
        keys.VAE,
        keys.VAE_ATTENTION,
        keys.OPENCLIP,
    ):
        left, right = zip(*rows, strict=True)
        assert len(set(left)) == len(set(right)) == len(rows)


def test_no_key_is_left_in_one_layout(case: Case) -> None:
    left = [key for key in case.tensors if "resnets" in key or "attentions" in key]
    assert left == [] and len(case.tensors) > 900


def test_bit_equal_to_the_folder(case: Case, tmp_path: Path) -> None:
    path = write_changed(tmp_path / "model.safetensors", case, {})
    assert equal(open_checkpoint(path).tensors, case.parts)
    first = Editor.from_pretrained(path, tokenizer=case.folder / "tokenizer")
    second = Editor.from_pretrained(case.folder)
    for part in case.parts:
        ours, theirs = (getattr(e.models, part).state_dict() for e in (first, second))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_diffusers_reads_the_same_from_it(case: Case, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    path = str(write_changed(tmp_path / "model.safetensors", case, {}))
    for kind, part in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae")):
        config = str(case.folder)
        model = kind.from_single_file(path, config=config, subfolder=part, local_files_only=True)
        state = model.state_dict()
        assert set(state) == set(case.parts[part])
        assert all(torch.equal(state[key], case.parts[part][key]) for key in state)


def test_configs_are_told_by_the_tensors(case: Case, tmp_path: Path) -> None:
    folder = Editor.from_pretrained(case.folder).models
    path = write_changed(tmp_path / "model.safetensors", case, {})
    file = Editor.from_pretrained(path, tokenizer=case.folder).models
    for part in ("unet", "text_encoder"):
        assert getattr(file, part).config == getattr(folder, part).config
    assert file.vae.config.block_out_channels == folder.vae.config.block_out_channels
    assert file.scheduler == folder.scheduler


def test_what_has_no_use_is_left_out(case: Case, tmp_path: Path) -> None:
    one = torch.zeros(1)
    text = keys.OPENCLIP_AT if case.openclip else keys.CLIP_AT
    more = {"betas": one, "model_ema.decay": one, "posterior_mean_coef1": one}
    more |= {"cond_stage_model.logit_scale": one, "first_stage_model.loss.logvar": one}
    if case.openclip:
        more |= {f"{text}logit_scale": one, f"{text}text_projection": torch.zeros(64, 64)}
        more |= {f"{text}transformer.resblocks.23.ln_1.weight": torch.zeros(64)}
    else:
        more |= {f"{text}text_model.embeddings.position_ids": torch.arange(26)[None].float()}
    path = write_changed(tmp_path / "model.safetensors", case, more)
    assert equal(open_checkpoint(path).tensors, case.parts)


def test_a_text_encoder_without_its_prefix(cases: dict[str, Case], tmp_path: Path) -> None:
    case = cases["SD 1.x"]
    bare = {
        k.replace("transformer.text_model.", "transformer."): t for k, t in case.tensors.items()
    }
    assert equal(
        open_checkpoint(write_single(tmp_path / "m.safetensors", bare)).tensors, case.parts
    )


def test_the_average_is_taken_when_asked_for(case: Case, tmp_path: Path) -> None:
    unet = keys.strip_prefix(case.tensors, keys.UNET_AT)
    ema = {f"model_ema.diffusion_model{k.replace('.', '')}": t + 1 for k, t in unet.items()}
    path = write_changed(tmp_path / "ema.safetensors", case, ema)
    assert equal(open_checkpoint(path).tensors, case.parts)
    averages = open_checkpoint(path, Choices(ema=True)).tensors["unet"]
    assert all(torch.equal(averages[k], t + 1) for k, t in case.parts["unet"].items())
    path = write_changed(tmp_path / "plain.safetensors", case, {})
    with pytest.raises(ValueError, match="plain.safetensors holds no whole model_ema"):
        open_checkpoint(path, Choices(ema=True))


def spread(width: float) -> Tensors:
    key = keys.UNET_AT + keys.ldm_unet_key(PREDICTION_KEY)
    return {key: torch.linspace(-1, 1, 64) * width * 3**0.5}


@pytest.mark.parametrize(
    ("change", "metadata", "want", "says"),
    [
        (spread(0.05), {}, "epsilon", "spread 0.05"),
        (spread(0.2), {}, "v_prediction", "spread 0.2"),
        (
            spread(0.05),
            {"modelspec.prediction_type": "v"},
            "v_prediction",
            "from the file's metadata",
        ),
        (
            spread(0.2),
            {"modelspec.prediction_type": "epsilon"},
            "epsilon",
            "from the file's metadata",
        ),
        ({"v_pred": torch.zeros(1)}, {}, "v_prediction", "marked"),
        ({"ztsnr": torch.zeros(1)}, {}, "v_prediction", "ends in noise"),
    ],
)
def test_the_prediction_type(
    change: Tensors, metadata: dict[str, str], want: str, says: str, cases: dict[str, Case],
    tmp_path: Path,
) -> None:  # fmt: skip
    case = cases["SD 2.x"]
    path = write_changed(tmp_path / "m.safetensors", case, change, **metadata)
    found = open_checkpoint(path)
    assert found.configs["scheduler"]["prediction_type"] == want
    assert says in found.notes[0] and want in found.notes[0]
    assert found.configs["unet"]["sample_size"] == (96 if want == "v_prediction" else 64)
    other = {"epsilon": "v_prediction", "v_prediction": "epsilon"}[want]
    chosen = open_checkpoint(path, Choices(prediction_type=other))
    assert chosen.configs["scheduler"]["prediction_type"] == other
    assert not any("prediction type" in note for note in chosen.notes)


def test_the_schedule_of_the_file(case: Case, tmp_path: Path) -> None:
    from diffusers import DDIMScheduler

    kept = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    for zero in (False, True):
        abar = DDIMScheduler(**kept, rescale_betas_zero_snr=zero).alphas_cumprod
        for dtype in (torch.float32, torch.float16):
            change = {"alphas_cumprod": abar.to(dtype)}
            found = open_checkpoint(write_changed(tmp_path / "m.safetensors", case, change))
            scheduler = found.configs["scheduler"]
            assert scheduler["rescale_betas_zero_snr"] is zero
            assert scheduler["timestep_spacing"] == ("trailing" if zero else "leading")
