"""Inpainting checkpoints as files: folders, single files, LoRA on them, and what `info` says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline
from safetensors.torch import save_file
from torch import Tensor

from mdp_lite.__main__ import main
from mdp_lite.checkpoint.load import CATALOGUE
from mdp_lite.editor import Editor
from mdp_lite.engine import flops
from mdp_lite.models.config import UNetConfig
from mdp_lite.models.unet import UNet
from mdp_lite.pipeline.abilities import find_family
from mdp_lite_weights import Choices, open_checkpoint
from mdp_lite_weights.convert import convert
from support.inpainting import CHANNELS
from support.ldm import single, write_folder, write_single
from support.sdxl_files import small_xl

KINDS = {
    "SD 1.x": StableDiffusionInpaintPipeline,
    "SD 2.x": StableDiffusionInpaintPipeline,
    "SDXL": StableDiffusionXLInpaintPipeline,
}
BOX = (8, 8, 40, 40)
SD1, SD2 = UNetConfig(768), UNetConfig(1024, attention_head_dim=(5, 10, 20, 20))


class Case:
    """A folder, and the single file that says the same."""

    def __init__(self, kind: str, top: Path) -> None:
        self.kind, self.folder, self.file = kind, top / "folder", top / "file.safetensors"
        if kind == "SDXL":
            small_xl(channels=CHANNELS).save_pretrained(self.folder)
            convert(self.folder, self.file)
        else:
            second = kind == "SD 2.x"
            parts = write_folder(self.folder, second, CHANNELS)
            write_single(self.file, single(parts, second))


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp("inpainting"))


def latents(editor: Editor) -> Tensor:
    picture = editor.generate("a red house", 1, 2, 3.0, width=64, height=64).image
    return editor.invert(picture, num_inference_steps=2, width=64, height=64, mask=BOX).path.x


@pytest.mark.representative("SD 1.x")
def test_a_single_file_is_bit_equal_to_the_folder(case: Case) -> None:
    file, folder = open_checkpoint(case.file), open_checkpoint(case.folder)
    for part, want in folder.tensors.items():
        got = file.tensors[part]
        assert set(got) == set(want) and all(torch.equal(got[key], want[key]) for key in want)
    assert file.configs["unet"]["in_channels"] == CHANNELS
    place = case.folder if case.kind == "SDXL" else case.folder / "tokenizer"
    first, second = (
        Editor.from_pretrained(case.file, tokenizer=place),
        Editor.from_pretrained(case.folder),
    )
    assert first.models.inpaints and second.models.inpaints
    if case.kind != "SD 2.x":  # whose single files pad prompts with another token
        assert torch.equal(latents(first), latents(second))


def test_a_file_of_sd2_predicts_epsilon(case: Case) -> None:
    """As Stability's: no weight is looked at, whatever the spread that shows v-prediction."""
    if case.kind != "SD 2.x":
        return
    found = open_checkpoint(case.file)
    assert found.configs["scheduler"]["prediction_type"] == "epsilon"
    assert found.configs["unet"]["sample_size"] == 64
    note = "prediction type epsilon: as the inpainting models of all families"
    assert note in found.notes


def test_what_is_converted_is_diffusers_inpainting_pipeline(case: Case, tmp_path: Path) -> None:
    place = case.folder if case.kind == "SDXL" else case.folder / "tokenizer"
    done = convert(case.file, tmp_path / "back", choices=Choices(tokenizer=place))
    assert done.layout == "folder"
    index = json.loads((tmp_path / "back" / "model_index.json").read_text("utf-8"))
    assert index["_class_name"] == KINDS[case.kind].__name__
    pipe = KINDS[case.kind].from_pretrained(tmp_path / "back", local_files_only=True)
    want = open_checkpoint(case.folder).tensors["unet"]
    assert all(torch.equal(want[key], value) for key, value in pipe.unet.state_dict().items())


def test_a_lora_of_the_plain_model(case: Case, tmp_path: Path) -> None:
    """Its change of conv_in is one of the latent's channels; the five others stay."""
    out = {"SD 1.x": 32, "SD 2.x": 64, "SDXL": 64}[case.kind]
    down, up = torch.randn(2, 4, 3, 3), torch.randn(out, 2, 1, 1)
    names = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(2.0)}
    save_file({f"lora_unet_conv_in.{k}": v for k, v in names.items()}, tmp_path / "a.safetensors")
    plain = Editor.from_pretrained(case.folder).models.unet.conv_in.weight
    loras = [(tmp_path / "a.safetensors", 0.5)]
    merged = Editor.from_pretrained(case.folder, loras=loras).models.unet.conv_in.weight
    change = 0.5 * torch.einsum("or,rcyx->ocyx", up[..., 0, 0], down)
    assert torch.equal(merged[:, 4:], plain[:, 4:])
    assert (merged[:, :4] - plain[:, :4] - change).abs().max() <= 1e-5


def test_a_difference_of_the_plain_model(case: Case, tmp_path: Path) -> None:
    out = {"SD 1.x": 32, "SD 2.x": 64, "SDXL": 64}[case.kind]
    diff = torch.randn(out, 4, 3, 3)
    save_file({"lora_unet_conv_in.diff": diff}, tmp_path / "a.safetensors")
    plain = Editor.from_pretrained(case.folder).models.unet.conv_in.weight
    merged = Editor.from_pretrained(case.folder, loras=[tmp_path / "a.safetensors"])
    change = merged.models.unet.conv_in.weight - plain
    assert (change[:, :4] - diff).abs().max() <= 1e-5 and not change[:, 4:].any()


@pytest.mark.parametrize("config", [SD1, SD2])
def test_the_full_size_has_what_the_masks_channels_add(config: UNetConfig) -> None:
    """5 more channels into 320 by a kernel of 3x3: weights and FLOPs, and nothing else."""
    wide = replace(config, in_channels=CHANNELS)
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in UNet(one).parameters()) for one in (config, wide)]
    assert sizes[1] - sizes[0] == 5 * 320 * 9 == 14_400
    costs = [flops.unet(one, 64, 64).flops for one in (config, wide)]
    assert costs[1] - costs[0] == 2 * 5 * 320 * 9 * 64 * 64
    assert find_family(wide) == f"{find_family(config)}, inpainting"


def test_info_says_that_it_inpaints(
    checkpoint_inpaint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(checkpoint_inpaint)]) == 0
    assert "family        Stable Diffusion of another shape, inpainting" in capsys.readouterr().out


def test_the_catalogue_has_one_of_each_family() -> None:
    found = {entry.family for entry in CATALOGUE if "inpaint" in entry.id}
    assert found == {"Stable Diffusion 1.x", "Stable Diffusion 2.x", "Stable Diffusion XL"}


def test_another_painter_is_refused_by_name(checkpoint_inpaint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for one in checkpoint_inpaint.iterdir():
        (folder / one.name).symlink_to(one)
    index = {"_class_name": "PaintByExamplePipeline"}
    (folder / "model_index.json").write_text(json.dumps(index), "utf-8")
    with pytest.raises(ValueError, match="is a PaintByExamplePipeline: Paint-by-Example models"):
        Editor.from_pretrained(folder)
    index["_class_name"] = "StableDiffusionInpaintPipeline"
    (folder / "model_index.json").write_text(json.dumps(index), "utf-8")
    assert Editor.from_pretrained(folder).models.inpaints
