"""SSD-1B, Segmind Vega and KOALA: SDXL's UNet with fewer transformers, against diffusers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from mdp_lite.checkpoint.config_files import read_unet_config
from mdp_lite.editor import Editor
from mdp_lite.models.condition import pack
from mdp_lite.models.unet import UNet
from mdp_lite.names import BadCheckpoint
from mdp_lite_weights import keys
from mdp_lite_weights.convert import convert
from mdp_lite_weights.files import Choices, open_checkpoint
from support.diffusers_pipelines import randomise
from support.sdxl import ddim
from support.sdxl_files import PROJECTION, SIZES, TEXT, TEXT_2, WIDTHS, small_xl

ORDER = "reverse_transformer_layers_per_block"
DEPTHS = "transformer_layers_per_block"
BASE: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "cross_attention_dim": TEXT + TEXT_2,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 2,
    "projection_class_embeddings_input_dim": PROJECTION + SIZES,
    "use_linear_projection": True,
    "sample_size": 128,
}
SMALL = BASE | {
    "attention_head_dim": [width // 64 for width in WIDTHS],
    "block_out_channels": list(WIDTHS),
}
# How many transformers each has beside each residual block, and what its middle is. The first four
# agree with the UNets that ComfyUI knows by their tensors (Comfy-Org/ComfyUI,
# comfy/model_detection.py: transformer_depth, transformer_depth_output from its end on, and
# transformer_depth_middle, which is -1 for a middle of one resnet and -2 for none).
COMFY = {
    "SSD-1B": ([0, 0, 2, 2, 4, 4], [0, 0, 0, 1, 1, 2, 10, 4, 4], -1),
    "Vega": ([0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1, 2, 2, 2], -1),
    "KOALA-700M": ([0, 2, 5], [0, 0, 2, 2, 5, 5], -2),
    "KOALA-1B": ([0, 2, 6], [0, 0, 2, 2, 6, 6], 6),
}
SHAPES: dict[str, dict[str, Any]] = {
    "SSD-1B": {
        DEPTHS: [0, [2, 2], [4, 4]],
        ORDER: [[4, 4, 10], [2, 1, 1], 0],
        "mid_block_type": "UNetMidBlock2D",
    },
    "Vega": {
        DEPTHS: [0, [1, 1], [2, 2]],
        ORDER: [[2, 2, 2], [1, 1, 1], 0],
        "mid_block_type": "UNetMidBlock2D",
    },
    "KOALA-700M": {DEPTHS: [0, 2, 5], "layers_per_block": 1, "mid_block_type": None},
    "KOALA-1B": {DEPTHS: [0, 2, 6], "layers_per_block": 1},
    "uneven downwards": {DEPTHS: [1, [3, 1], 2], ORDER: [[1, 2, 3], 2, 1]},
    "lists with a full middle": {DEPTHS: [1, 2, [3, 1]], ORDER: [1, 1, 1]},
}
FULL = BASE | {
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "projection_class_embeddings_input_dim": 2816,
}
SDXL_COUNT = 2_567_463_684


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.representative("Vega")
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_a_prediction(shape: str) -> None:
    torch.manual_seed(1)
    theirs = randomise(UNet2DConditionModel(**SMALL | SHAPES[shape]), 1).eval()
    raw = json.loads(theirs.to_json_string())
    ours = UNet(read_unet_config(raw)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, t = torch.randn(2, 4, 8, 12), torch.tensor(431)
    states, pooled = torch.randn(2, 5, TEXT + TEXT_2), torch.randn(2, PROJECTION)
    sizes = torch.tensor([[64, 96, 0, 0, 64, 96]] * 2).float()
    added = {"text_embeds": pooled, "time_ids": sizes}
    want = theirs(x, t, states, added_cond_kwargs=added).sample
    got = ours(x, t, pack(states, pooled, sizes))
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()


@pytest.mark.representative("SSD-1B", "Vega")
@pytest.mark.parametrize("shape", SHAPES)
def test_the_full_size_has_the_keys_of_diffusers(shape: str) -> None:
    with torch.device("meta"):
        theirs = UNet2DConditionModel(**FULL | SHAPES[shape])
        ours = UNet(read_unet_config(FULL | SHAPES[shape]))
    want = {key: tensor.shape for key, tensor in theirs.state_dict().items()}
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == want
    assert 0 < count(ours) == count(theirs) < SDXL_COUNT


def test_the_small_ones_have_the_sizes_in_their_names() -> None:
    """SSD-1B is half of SDXL: 1.3 billion; Vega has 0.75, KOALA 0.78 and 1.16."""
    with torch.device("meta"):
        counts = {name: count(UNet(read_unet_config(FULL | SHAPES[name]))) for name in SHAPES}
    billions = {name: round(number / 1e9, 2) for name, number in counts.items()}
    assert (billions["SSD-1B"], billions["Vega"]) == (1.33, 0.75)
    assert (billions["KOALA-700M"], billions["KOALA-1B"]) == (0.78, 1.16)


@pytest.mark.parametrize("shape", COMFY)
def test_the_depths_are_those_that_comfyui_knows(shape: str) -> None:
    config = read_unet_config(SMALL | SHAPES[shape])
    with torch.device("meta"):
        model = UNet(config)
    down, up, middle = COMFY[shape]
    layers = config.layers_per_block
    assert _depths_of(model.down_blocks, layers) == down
    assert _depths_of(model.up_blocks, layers + 1)[::-1] == up
    assert len(model.mid_block.resnets) == {-2: 0, -1: 1}.get(middle, 2)
    found = [len(one.transformer_blocks) for one in model.mid_block.attentions]
    assert found == ([middle] if middle > 0 else [])


def _depths_of(blocks: Any, layers: int) -> list[int]:
    """Transformer layers beside each resnet; 0 where there are none."""
    found = []
    for block in blocks:
        depths = [len(one.transformer_blocks) for one in block.attentions]
        found += depths or [0] * layers
    return found


KOALA_KEYS = {  # ComfyUI's count of a level's blocks: one resnet, then the one that halves
    "down_blocks.0.resnets.0.norm1.weight": "input_blocks.1.0.in_layers.0.weight",
    "down_blocks.0.downsamplers.0.conv.bias": "input_blocks.2.0.op.bias",
    "down_blocks.1.attentions.0.norm.weight": "input_blocks.3.1.norm.weight",
    "down_blocks.2.attentions.0.norm.weight": "input_blocks.5.1.norm.weight",
    "up_blocks.0.attentions.1.norm.weight": "output_blocks.1.1.norm.weight",
    "up_blocks.0.upsamplers.0.conv.bias": "output_blocks.1.2.conv.bias",
    "up_blocks.1.upsamplers.0.conv.bias": "output_blocks.3.2.conv.bias",
    "up_blocks.2.resnets.1.norm1.weight": "output_blocks.5.0.in_layers.0.weight",
}


@pytest.mark.parametrize("shape", ["KOALA-700M", "KOALA-1B"])
def test_koalas_keys_in_a_single_file(shape: str) -> None:
    """Each level has one layer, so the blocks have other numbers than SDXL's."""
    with torch.device("meta"):
        names = list(UNet(read_unet_config(SMALL | SHAPES[shape])).state_dict())
    ldm = [keys.ldm_unet_key(name, keys.XL_LEVELS, 1) for name in names]
    assert len(set(ldm)) == len(names) and keys.count_layers(ldm, keys.XL_LEVELS) == 1
    assert [keys.unet_key(key, keys.XL_LEVELS, 1) for key in ldm] == names
    assert all(ldm[names.index(name)] == key for name, key in KOALA_KEYS.items())


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["SSD-1B", "Vega", "KOALA-700M", "KOALA-1B"])
def test_a_picture_and_the_single_file(shape: str, tmp_path: Path) -> None:
    """Latents are diffusers', and the file has the folder's bits.

    These latents reach 31, where diffusers' own float32 is 1e-4 from its float64.
    """
    theirs = small_xl()
    torch.manual_seed(2)
    theirs.unet = randomise(UNet2DConditionModel(**SMALL | SHAPES[shape]), 5)
    folder, file = tmp_path / "folder", tmp_path / "file" / "model.safetensors"
    theirs.save_pretrained(folder)
    theirs.scheduler = ddim(theirs)
    theirs.set_progress_bar_config(disable=True)
    editor = Editor.from_pretrained(folder, "cpu")
    source = editor.generate("a b", 3, 4, 2.0, width=64, height=80)
    latent = theirs(
        "a b", width=64, height=80, num_inference_steps=4, guidance_scale=2.0,
        generator=torch.Generator().manual_seed(3), output_type="latent",
    ).images  # fmt: skip
    assert (source.path.x[-1] - latent).abs().max() <= 1e-5 * latent.abs().max()
    convert(folder, file)
    options = {"tokenizer": folder}
    single = Editor.from_pretrained(file, "cpu", **options)
    again = single.generate("a b", 3, 4, 2.0, width=64, height=80)
    assert torch.equal(again.path.x, source.path.x)
    edits = [one.edit(s, "c d") for one, s in ((editor, source), (single, again))]
    assert torch.equal(edits[0].latent, edits[1].latent)
    convert(file, tmp_path / "back", choices=Choices(tokenizer=folder))
    back = open_checkpoint(tmp_path / "back").configs["unet"]
    assert read_unet_config(back).up_depths == editor.models.unet.config.up_depths


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "lists without the way up": ({DEPTHS: [0, [2, 2], 4]}, f"unet: {ORDER} must be given where"),
    "too short": ({DEPTHS: [0, [2], 4], ORDER: [4, 2, 0]}, f"unet: {DEPTHS} of a CrossAttnDown"),
    "none where a block attends": (
        {DEPTHS: [1, 0, 4]},
        f"unet: {DEPTHS} of a CrossAttnDownBlock2D",
    ),
    "too few": ({DEPTHS: [1, 2, 4], ORDER: [4, 2]}, f"unet: {ORDER} must have 3 entries, got 2"),
    "another middle": (
        {"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"},
        "unet: mid_block_type 'UNetMidBlock2DSimpleCrossAttn' is not supported, want",
    ),
    "other numbers of layers": ({"layers_per_block": [2, 1, 2]}, "unet: layers_per_block must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_needs_another_block_is_refused(case: str) -> None:
    change, message = BAD[case]
    with pytest.raises(BadCheckpoint, match=message.replace("'", ".")) as error:
        read_unet_config(SMALL | change)
    assert "\n" not in str(error.value)
