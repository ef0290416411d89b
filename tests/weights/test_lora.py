"""LoRA files of every form: merged as diffusers with peft merges them, or refused in a sentence."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, PeftModel, get_peft_model, inject_adapter_in_model
from peft.utils import get_peft_model_state_dict
from torch import Tensor

from mdp_lite.checkpoint.config_files import read_clip_config, read_unet_config
from mdp_lite.models.clip import CLIPTextEncoder, CLIPTextEncoders
from mdp_lite.models.condition import find_states
from mdp_lite.models.unet import UNet
from mdp_lite_weights.lora import Delta, merge_deltas, read_lora, read_loras
from support.letters import END
from support.lora_files import (
    ALL,
    BOUND,
    CONVS,
    SOME,
    Factors,
    Weights,
    attention,
    diffusers,
    factors,
    kohya,
    ldm,
    list_parts,
    long_name,
    ours,
    peft,
    pipeline_of,
    processors,
    same_change,
    shapes,
    weights,
    write,
)
from support.lora_files import (
    UNET as UNET_ENDS,
)

X, T = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)), torch.tensor(7)
IDS = torch.tensor([[0, 4, 5, 6, 7, END, END, END]])
Files = list[tuple[Path, float]]


@pytest.fixture(scope="module", params=["SD 1.x", pytest.param("SDXL", marks=pytest.mark.slow)])
def pipe(request: pytest.FixtureRequest) -> Any:
    return pipeline_of(request.param)


@pytest.fixture(scope="module")
def pairs(pipe: StableDiffusionPipeline) -> Factors:
    return factors(pipe)


def run(pipe: Any, found: Weights) -> list[Tensor]:
    """What our own models make of the weights: the condition, and the noise in X."""
    with torch.device("meta"):
        texts = {
            part: CLIPTextEncoder(read_clip_config(part, getattr(pipe, part).config.to_dict()))
            for part in list_parts(pipe)[1:]
        }
        unet = UNet(read_unet_config(json.loads(pipe.unet.to_json_string())))
    for part, model in {**texts, "unet": unet}.items():
        model.load_state_dict(found[part], assign=True)
    text, *second = texts.values()
    encode = CLIPTextEncoders(text, *second, eos=END) if second else text
    with torch.no_grad():
        c = encode(torch.stack([IDS] * 2, dim=1) if second else IDS)
        return [find_states(c, unet.config.extra_dim), unet(X, T, c)]


def run_theirs(pipe: Any) -> list[Tensor]:
    """The same of their models, with sizes of 0 for SDXL."""
    with torch.no_grad():
        if len(list_parts(pipe)) == 2:
            c = pipe.text_encoder(IDS).last_hidden_state
            return [c, pipe.unet(X, T, c).sample]
        one, two = (
            encode(IDS, output_hidden_states=True)
            for encode in (pipe.text_encoder, pipe.text_encoder_2)
        )
        c = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], dim=-1)
        added = {"text_embeds": two[0], "time_ids": torch.zeros(1, 6)}
        return [c, pipe.unet(X, T, c, added_cond_kwargs=added).sample]


def theirs(pipe: Any, files: Files) -> tuple[list[Tensor], Weights]:
    """Outputs of their models with peft's layers in them, and the weights once these are fused."""
    pipe = copy.deepcopy(pipe)
    names = [f"lora{i}" for i in range(len(files))]
    config = {} if "text_encoder_2" in list_parts(pipe) else {"unet_config": pipe.unet.config}
    for name, (path, _) in zip(names, files, strict=True):
        pipe.load_lora_weights(str(path), adapter_name=name, **config)
    pipe.set_adapters(names, [strength for _, strength in files])
    outputs = run_theirs(pipe)
    parts = [part for part in list_parts(pipe) if hasattr(getattr(pipe, part), "peft_config")]
    pipe.fuse_lora(components=parts, adapter_names=names)
    pipe.unload_lora_weights()
    return outputs, weights(pipe)


def write_peft(pipe: Any, folder: Path, old: bool = False, **settings: Any) -> Path:
    """Adapters that peft makes and diffusers saves, as its training scripts do."""
    torch.manual_seed(5)
    pipe = copy.deepcopy(pipe)
    layers, metadata = {}, {}
    for part in list_parts(pipe):
        names, model = TARGETS[part.removesuffix("_2")], getattr(pipe, part)
        pattern = (
            {"alpha_pattern": PATTERNS[part.removesuffix("_2")]}
            if settings.get("lora_alpha") == 7
            else {}
        )
        inject_adapter_in_model(LoraConfig(target_modules=names, **settings, **pattern), model)
        found = {k: 0.2 * torch.randn(t.shape) for k, t in get_peft_model_state_dict(model).items()}
        layers[f"{part}_lora_layers"] = convert_state_dict_to_diffusers(found) if old else found
        metadata[f"{part}_lora_adapter_metadata"] = model.peft_config["default"].to_dict()
    pipe.save_lora_weights(folder, **layers, **({} if old else metadata))
    return folder / "pytorch_lora_weights.safetensors"


TARGETS = {
    "unet": ["attn1.to_q", "attn2.to_v", "attn1.to_out.0"],
    "text_encoder": ["q_proj", "fc1"],
}
DEEP = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
PATTERNS = {"unet": {DEEP: 9, "to_q": 2}, "text_encoder": {"0.self_attn.q_proj": 3}}
LCM = UNET_ENDS + CONVS  # what LCM-LoRA has
CASES: dict[str, Callable[[Path, Any, Factors], Files]] = {
    "kohya": lambda at, pipe, pairs: [(write(at, kohya(factors(pipe, blocks=ALL))), 1.0)],
    "kohya, alpha": lambda at, pipe, pairs: [(write(at, kohya(pairs, 1.5)), 0.7)],
    "kohya, convolutions": lambda at, pipe, pairs: [
        (write(at, kohya(factors(pipe, blocks=(*SOME, "time_emb", "conv_in"), ends=LCM), 8.0)), 0.7)
    ],
    "kohya, rank 1": lambda at, pipe, pairs: [(write(at, kohya(factors(pipe, 1), 2.0)), -0.6)],
    "kohya, LDM": lambda at, pipe, pairs: [(write(at, ldm(factors(pipe, blocks=ALL), 2.0)), 0.9)],
    "peft": lambda at, pipe, pairs: [(write(at, peft(pairs)), 0.5)],
    "transformers 5": lambda at, pipe, pairs: [(write(at, peft(pairs, prefix=False)), 0.5)],
    "diffusers": lambda at, pipe, pairs: [(write(at, diffusers(pairs)), 1.2)],
    "processors": lambda at, pipe, pairs: [(write(at, processors(attention(pairs))), 0.8)],
    "one part": lambda at, pipe, pairs: [
        (write(at, peft({k: v for k, v in pairs.items() if k[0] == "unet"})), 0.8)
    ],
    "half": lambda at, pipe, pairs: [
        (write(at, {k: t.half() for k, t in kohya(pairs, 3.0).items()}), 1.0)
    ],
    "three files": lambda at, pipe, pairs: [
        (write(at, kohya(pairs, 1.0)), 0.8),
        (write(at, peft(factors(pipe, 2, seed=9))), -0.3),
        (write(at, diffusers(attention(factors(pipe, 8, seed=4)))), 0.2),
    ],
    "write_peft": lambda at, pipe, pairs: [(write_peft(pipe, at, r=4, lora_alpha=6), 0.7)],
    "write_peft, patterns": lambda at, pipe, pairs: [
        (write_peft(pipe, at, r=4, lora_alpha=7), 1.0)
    ],
    "write_peft, rslora": lambda at, pipe, pairs: [
        (write_peft(pipe, at, r=4, lora_alpha=6, use_rslora=True), 0.4)
    ],
    "write_peft, old": lambda at, pipe, pairs: [
        (write_peft(pipe, at, True, r=4, lora_alpha=4), 0.7)
    ],
}


@pytest.mark.representative(
    "kohya, convolutions",
    "kohya, LDM",
    "diffusers",
    "processors",
    "three files",
    "write_peft, patterns",
)
@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")  # peft's of a second file
@pytest.mark.parametrize("case", CASES)
def test_a_lora_does_what_diffusers_and_peft_make_of_it(
    case: str, pipe: Any, pairs: Factors, tmp_path: Path
) -> None:
    agree(pipe, CASES[case](tmp_path, pipe, pairs))


def test_a_model_with_linear_projections(tmp_path: Path) -> None:
    """SD 2.x has matrices where SD 1.x has 1x1 convolutions."""
    pipe = pipeline_of("SD 2.x")
    agree(pipe, [(write(tmp_path, kohya(factors(pipe), 3.0)), 0.8)])


def agree(pipe: Any, files: Files) -> None:
    deltas = read_loras(files, shapes(pipe))
    got = ours(pipe, deltas)
    outputs, want = theirs(pipe, files)
    assert same_change(pipe, got, want) == sum(map(len, deltas.values())) > 50
    for mine, other in zip(run(pipe, got), outputs, strict=True):
        assert (mine - other).abs().max() <= BOUND * other.abs().max()


def test_names_without_a_part(pipe: Any, pairs: Factors, tmp_path: Path) -> None:
    """The first scripts write_peft the UNet's attention alone."""
    found = {place: pair for place, pair in attention(pairs).items() if place[0] == "unet"}
    path = write(tmp_path, processors(found, prefix=False))
    other = copy.deepcopy(pipe)
    other.unet.load_lora_adapter(str(path), prefix=None)
    other.unet.fuse_lora()
    other.unet.unload_lora()
    got = ours(pipe, read_loras([(path, 1.0)], shapes(pipe)))
    assert same_change(pipe, got, weights(other)) == len(found)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks it
@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_folder_that_peft_saved(part: str, pipe: Any, tmp_path: Path) -> None:
    config = LoraConfig(r=2, lora_alpha=5, target_modules=["to_k", "q_proj"])
    model = get_peft_model(copy.deepcopy(getattr(pipe, part)), config)
    for key, tensor in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(tensor)
    model.save_pretrained(tmp_path)
    other = copy.deepcopy(pipe)
    loaded = PeftModel.from_pretrained(getattr(other, part), tmp_path)
    setattr(other, part, loaded.merge_and_unload())
    path = tmp_path / "adapter_model.safetensors"
    got = ours(pipe, read_loras([(path, 1.0)], shapes(pipe)))
    assert same_change(pipe, got, weights(other)) > 1
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(ValueError, match="needs the adapter_config.json that peft wrote"):
        read_lora(path, 1.0, shapes(pipe))


def test_every_module_has_its_own_alpha(pipe: Any, pairs: Factors, tmp_path: Path) -> None:
    """By kohya's formula: diffusers gives attention the commonest alpha of the file instead."""
    tensors = kohya(pairs, 1.0)
    alphas = [key for key in tensors if key.endswith(".alpha")]
    tensors |= {key: torch.tensor(1.0 + i) for i, key in enumerate(alphas)}
    found = read_lora(write(tmp_path, tensors), 0.5, shapes(pipe))
    for i, place in enumerate(pairs):
        key = f"{long_name(place)}.weight"
        delta = found[place[0]][key]
        assert (delta.scale, delta.strength) == ((1.0 + i) / 4, 0.5)


def test_strength_zero_changes_no_bit(pipe: Any, pairs: Factors, tmp_path: Path) -> None:
    found = read_lora(write(tmp_path, kohya(pairs)), 0, shapes(pipe))
    for part, deltas in found.items():
        for key, delta in deltas.items():
            weight = weights(pipe)[part][key].clone()
            weight[0] = -0.0
            got = merge_deltas(weight, [delta])
            assert torch.equal(got.view(torch.int32), weight.view(torch.int32))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_merging_is_in_float32_and_leaves_the_weight(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    down, up, weight = torch.randn(3, 8), torch.randn(6, 3), torch.randn(6, 8).to(dtype)
    before = weight.clone()
    half = {"down": down.half(), "up": up.bfloat16()}
    deltas = [Delta("LoRA", {"down": down, "up": up}, 1.0, 0.5), Delta("LoRA", half, 0.25, -1.0)]
    got = merge_deltas(weight, deltas)
    want = weight.double() + 0.5 * up.double() @ down.double()
    want -= 0.25 * up.bfloat16().double() @ down.half().double()
    assert got.dtype == torch.float32 and torch.equal(weight, before)
    assert (got - want).abs().max() < 1e-5
