"""LoRA's relatives: each merged as peft merges it, or by its formula where peft has none.

The kind is "a change of a weight that is a function of a few small tensors": LoRA and its
convolutions, LoHa, LoKr, DoRA, (IA)3, a whole difference; for matrices and kernels, biases and
norms, with factors whole or with a core, in the names of peft, LyCORIS and ComfyUI.
"""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from mdp_lite_weights.lora import merge_deltas, read_lora, read_loras
from support.lora_files import ours, pipeline, pipeline_of, same_change, shapes, weights, write

LINEAR = ["mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "time_embedding.linear_1"]
CONV = [
    *("conv_in", "mid_block.resnets.0.conv1", "down_blocks.0.downsamplers.0.conv"),
    *("down_blocks.1.resnets.0.conv_shortcut", "mid_block.attentions.0.proj_in"),
    *("mid_block.resnets.1.time_emb_proj",),
]
BOTH = LINEAR + CONV
FORWARD = [LINEAR[0], "mid_block.resnets.0.conv1", "mid_block.attentions.0.proj_in"]
DEEP = {"mid_block.resnets.0.conv1": 12, "to_q": 3}

CONFIGS: dict[str, Any] = {
    "LoRA of convolutions": LoraConfig(r=4, lora_alpha=6, target_modules=BOTH),
    "ranks and alphas": LoraConfig(
        r=4, lora_alpha=6, rank_pattern={"conv_in": 2}, alpha_pattern=DEEP, target_modules=BOTH
    ),
    "DoRA": LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=BOTH),
    "DoRA, rslora": LoraConfig(r=9, use_dora=True, use_rslora=True, target_modules=BOTH),
    "LoHa": LoHaConfig(r=4, alpha=6, target_modules=BOTH),
    "LoHa, core": LoHaConfig(r=3, alpha=6, use_effective_conv2d=True, target_modules=BOTH),
    "LoHa, patterns": LoHaConfig(r=3, alpha_pattern=DEEP, rank_pattern=DEEP, target_modules=BOTH),
    "LoKr": LoKrConfig(r=3, alpha=5, target_modules=BOTH),
    "LoKr, core": LoKrConfig(r=2, alpha=5, use_effective_conv2d=True, target_modules=BOTH),
    "LoKr, both": LoKrConfig(r=1, alpha=5, decompose_both=True, target_modules=BOTH),
    "LoKr, whole": LoKrConfig(r=99, alpha=5, rank_pattern={"to_q": 77}, target_modules=BOTH),
    "LoKr, factor": LoKrConfig(r=2, alpha=1, decompose_factor=4, target_modules=BOTH),
    "(IA)3": IA3Config(target_modules=BOTH, feedforward_modules=FORWARD),
    "(IA)3, a pattern": IA3Config(target_modules=BOTH, feedforward_modules=r".*(conv1|to_q)"),
    "(IA)3, outputs": IA3Config(target_modules=BOTH, feedforward_modules=[]),
}


@pytest.fixture(scope="module", params=["SD 1.x", pytest.param("SDXL", marks=pytest.mark.slow)])
def both(request: pytest.FixtureRequest) -> Any:
    return pipeline_of(request.param)


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    return pipeline()


def train(model: Any, config: Any, folder: Path, name: str = "default") -> None:
    """Save what peft would after training: every tensor of the adapter moved at random."""
    torch.manual_seed(5)
    model = get_peft_model(copy.deepcopy(model), copy.deepcopy(config), adapter_name=name)
    for tensor in model.parameters():
        if tensor.requires_grad:
            tensor.data = tensor.data * 0.7 + 0.2 * torch.randn(tensor.shape)
    model.save_pretrained(folder)


@pytest.mark.representative(
    "ranks and alphas", "DoRA, rslora", "LoHa, core", "LoKr, both", "(IA)3, a pattern"
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks it
@pytest.mark.parametrize("case", CONFIGS)
def test_what_peft_saves_is_merged_as_by_peft(case: str, both: Any, tmp_path: Path) -> None:
    train(both.unet, CONFIGS[case], tmp_path)
    other = copy.deepcopy(both)
    other.unet = PeftModel.from_pretrained(other.unet, tmp_path).merge_and_unload()
    path = tmp_path / "adapter_model.safetensors"
    found = read_loras([(path, 1.0)], shapes(both))
    changed = same_change(both, ours(both, found), weights(other))
    assert changed == len(found["unet"]) >= len(BOTH)


@pytest.mark.covering(1)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("case", ["DoRA", "LoHa, core", "LoKr, both", "(IA)3"])
@pytest.mark.parametrize("name", ["default", "my_style"])
def test_names_of_adapters(case: str, name: str, pipe: Any, tmp_path: Path) -> None:
    """A state dict that a script saved itself has the adapter's name before the ending."""
    train(pipe.unet, CONFIGS[case], tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    want = ours(pipe, read_loras([(path, 1.0)], shapes(pipe)))
    tensors = {}
    for key, tensor in load_file(path).items():
        at, dot, end = key.partition(".weight")
        tensors[f"{at}.{name}{dot}{end}"] = tensor
    save_file(tensors, path)
    got = ours(pipe, read_loras([(path, 1.0)], shapes(pipe)))
    assert same_change(pipe, got, want) >= len(BOTH)


def rand(*shape: int) -> Tensor:
    return torch.randn(shape) * 0.3


NAME, KEY = "lora_unet_mid_block_resnets_0_conv1", "mid_block.resnets.0.conv1.weight"
TEXT, TEXT_KEY = (
    "lora_te_text_model_encoder_layers_0_mlp_fc1",
    "text_model.encoder.layers.0.mlp.fc1.weight",
)


def change(kind: str, w: Tensor, f: dict[str, Tensor]) -> Tensor:
    """The weight with each kind's change at strength 1, as LyCORIS' paper and code have it."""
    w, f = w.double(), {role: tensor.double() for role, tensor in f.items()}
    core = lambda t, a, b: torch.einsum("ijkl,ip,jr->prkl", t, a, b)  # noqa: E731
    if kind in ("LoCon", "LoCon, by output", "LoCon, by input"):
        rank, alpha = len(f["lora_down.weight"]), f["alpha"]
        up, down = f["lora_up.weight"].flatten(1), f["lora_down.weight"].flatten(1)
        v = w + alpha / rank * (up @ down).view(w.shape)
        if kind == "LoCon":
            return v
        dims = (0, 2, 3) if kind.endswith("input") else (1, 2, 3)
        return f["dora_scale"] * v / v.pow(2).sum(dims, keepdim=True).sqrt()
    if kind == "LoCon, core":
        up, down = f["lora_up.weight"].flatten(1), f["lora_down.weight"].flatten(1)
        return w + f["alpha"] / len(down) * core(f["lora_mid.weight"], up.T, down)
    if kind == "LoHa":
        halves = [f[f"hada_w{i}_a"] @ f[f"hada_w{i}_b"].flatten(1) for i in (1, 2)]
        return w + f["alpha"] / 3 * (halves[0] * halves[1]).view(w.shape)
    if kind == "LoKr":
        two = (f["lokr_w2_a"] @ f["lokr_w2_b"].flatten(1)).view(-1, *f["lokr_w2_b"].shape[1:])
        return w + f["alpha"] / 3 * torch.kron(f["lokr_w1"][:, :, None, None], two)
    if kind == "LoKr, whole":  # LyCORIS has no rank here, so the scale is 1
        return w + torch.kron(f["lokr_w1"][:, :, None, None], f["lokr_w2"])
    if kind == "(IA)3, inputs":
        return w * (1 + f["weight"])
    if kind == "(IA)3, outputs":
        return w * (1 + f["weight"].transpose(0, 1))
    return w + f["diff"]


def files() -> dict[str, dict[str, Tensor]]:
    torch.manual_seed(1)
    alpha = {"alpha": torch.tensor(2.0)}
    locon = alpha | {"lora_down.weight": rand(4, 64, 3, 3), "lora_up.weight": rand(64, 4, 1, 1)}
    return {
        "LoCon": locon,
        "LoCon, by output": locon | {"dora_scale": 1 + rand(64, 1, 1, 1)},
        "LoCon, by input": locon | {"dora_scale": 1 + rand(1, 64, 1, 1)},
        "LoCon, core": alpha
        | {
            "lora_down.weight": rand(4, 64, 1, 1),
            "lora_mid.weight": rand(4, 4, 3, 3),
            "lora_up.weight": rand(64, 4, 1, 1),
        },
        "LoHa": alpha
        | {f"hada_w{i}_a": rand(64, 3) for i in (1, 2)}
        | {f"hada_w{i}_b": rand(3, 64, 3, 3) for i in (1, 2)},
        "LoKr": alpha
        | {"lokr_w1": rand(4, 8), "lokr_w2_a": rand(16, 3), "lokr_w2_b": rand(3, 8, 3, 3)},
        "LoKr, whole": alpha | {"lokr_w1": rand(4, 8), "lokr_w2": rand(16, 8, 3, 3)},
        "(IA)3, inputs": {"weight": rand(1, 64, 1, 1), "on_input": torch.tensor(1)},
        "(IA)3, outputs": {"weight": rand(1, 64, 1, 1), "on_input": torch.tensor(0)},
        "difference": {"diff": rand(64, 64, 3, 3)},
    }


@pytest.mark.parametrize("kind", files())
@pytest.mark.parametrize("strength", [1.0, 0.6, -0.5])
def test_what_lycoris_writes_is_merged_by_its_formula(
    kind: str, strength: float, pipe: Any, tmp_path: Path
) -> None:
    """A strength s moves each weight by s of its way, (IA)3 and DoRA too."""
    factors = files()[kind]
    path = write(tmp_path, {f"{NAME}.{role}": tensor for role, tensor in factors.items()})
    found = read_lora(path, strength, shapes(pipe))
    w = weights(pipe)["unet"][KEY]
    want = w + strength * (change(kind, w, factors) - w)
    got = merge_deltas(w, [found["unet"][KEY]])
    assert (got - want).abs().max() <= 1e-5 * (want - w).abs().max()


@pytest.mark.parametrize("kind", files())
def test_strength_zero_changes_no_bit(kind: str, pipe: Any, tmp_path: Path) -> None:
    path = write(tmp_path, {f"{NAME}.{role}": tensor for role, tensor in files()[kind].items()})
    w = weights(pipe)["unet"][KEY].clone()
    w[0] = -0.0
    got = merge_deltas(w, [read_lora(path, 0.0, shapes(pipe))["unet"][KEY]])
    assert torch.equal(got.view(torch.int32), w.view(torch.int32))


def test_differences_of_biases_and_norms(pipe: Any, tmp_path: Path) -> None:
    """ComfyUI and LyCORIS write them beside the LoRA of the same module."""
    tensors = {
        f"{NAME}.lora_down.weight": rand(4, 64, 3, 3),
        f"{NAME}.lora_up.weight": rand(64, 4, 1, 1),
        f"{NAME}.diff_b": rand(64),
        "diffusion_model.out.0.diff": rand(32),
        "diffusion_model.out.0.diff_b": rand(32),
        "lora_unet_mid_block_resnets_0_norm1.w_norm": rand(64),
        "lora_unet_mid_block_resnets_0_norm1.b_norm": rand(64),
        f"{TEXT}.diff": rand(64, 32),
    }
    found = read_lora(write(tmp_path, tensors), 0.5, shapes(pipe))
    names = {
        "mid_block.resnets.0.conv1.bias": f"{NAME}.diff_b",
        "conv_norm_out.weight": "diffusion_model.out.0.diff",
        "conv_norm_out.bias": "diffusion_model.out.0.diff_b",
        "mid_block.resnets.0.norm1.weight": "lora_unet_mid_block_resnets_0_norm1.w_norm",
        "mid_block.resnets.0.norm1.bias": "lora_unet_mid_block_resnets_0_norm1.b_norm",
    }
    assert set(found["unet"]) == {*names, KEY} and set(found["text_encoder"]) == {TEXT_KEY}
    for key, name in names.items():
        w = weights(pipe)["unet"][key]
        assert torch.allclose(merge_deltas(w, [found["unet"][key]]), w + 0.5 * tensors[name])


def test_two_kinds_in_one_file_and_two_files_on_one_weight(pipe: Any, tmp_path: Path) -> None:
    """Files are merged in their order: a DoRA takes its norm after those before it."""
    first, second = files()["LoHa"], files()["LoCon, by output"]
    paths = [
        write(tmp_path, {f"{NAME}.{role}": tensor for role, tensor in one.items()})
        for one in (first, second)
    ]
    found = read_loras([(path, 1.0) for path in paths], shapes(pipe))
    w = weights(pipe)["unet"][KEY]
    want = change("LoCon, by output", change("LoHa", w, first), second)
    assert (merge_deltas(w, found["unet"][KEY]) - want).abs().max() < 1e-5
    mixed = {f"{NAME}.{role}": tensor for role, tensor in first.items()}
    mixed |= {f"{TEXT}.lora_down.weight": rand(2, 32), f"{TEXT}.lora_up.weight": rand(64, 2)}
    read = read_lora(write(tmp_path, mixed), 1.0, shapes(pipe))
    assert read["unet"][KEY].kind == "LoHa" and read["text_encoder"][TEXT_KEY].kind == "LoRA"


def test_settings_of_a_header_are_for_loha_too(pipe: Any, tmp_path: Path) -> None:
    tensors = {f"unet.{KEY[:-7]}.{role}": t for role, t in files()["LoHa"].items()}
    del tensors[f"unet.{KEY[:-7]}.alpha"]
    settings = {"unet.peft_type": "LOHA", "unet.alpha": 6, "unet.r": 3}
    path = write(tmp_path, tensors, {"lora_adapter_metadata": json.dumps(settings)})
    assert read_lora(path, 1.0, shapes(pipe))["unet"][KEY].scale == 2.0
