"""Scores by networks against their equations, on random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mdp_lite.eval.perception import load_clip, load_dino, score_perception
from train_tiny.tokens import write_tokenizer

TEXTS = ("a red house", "a blue boat")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of 16 channels, whole: weights, tokenizer and image processor."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    part = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2}  # fmt: skip
    vision = {**part, "image_size": 32, "patch_size": 8}
    write_tokenizer(folder, ("a", "red", "house", "blue", "boat"))
    words = CLIPTokenizer.from_pretrained(folder)
    ends = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    text = {**part, **ends, "vocab_size": len(words), "max_position_embeddings": 26}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)  # type: ignore[call-arg]
    model = CLIPModel(config)
    for encoder in (model.text_model, model.vision_model):
        for weight in encoder.parameters():
            torch.nn.init.normal_(weight)  # far apart, so that texts and pictures differ
    model.save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessor(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(1)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=224, patch_size=32,
    )  # fmt: skip
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def picture(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(small).resize((64, 64), Image.Resampling.BILINEAR)


def test_similarity_is_the_cosine_of_projections(clip_folder: Path) -> None:
    from transformers import CLIPModel, CLIPProcessor

    model = CLIPModel.from_pretrained(clip_folder).eval()
    processor = CLIPProcessor.from_pretrained(clip_folder)
    score, found = load_clip(str(clip_folder)), []
    for seed in range(4):
        for text in TEXTS:
            inputs = processor(text=[text], images=[picture(seed)], return_tensors="pt")
            with torch.no_grad():
                a = model.visual_projection(
                    model.vision_model(inputs["pixel_values"]).pooler_output
                )
                text_inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
                b = model.text_projection(model.text_model(**text_inputs).pooler_output)
            cosine = (a @ b.T).item() / (a.norm() * b.norm()).item()
            found.append(cosine)
            assert score(picture(seed), text) == pytest.approx(100 * max(cosine, 0), abs=1e-3)
    assert min(found) < 0 < max(found)  # cosines below and above 0 occur


def structure_oracle(folder: Path, pictures: list[Image.Image], scale: float) -> float:
    """Structure distance as PIE-Bench's code computes it if scale is 1, step by step.

    Pixels of 0..255 as floats, the shorter side to 224 (a tensor is not rounded), ImageNet's mean
    and deviation, all keys of the last layer with the heads concatenated, their cosines.
    """
    from transformers import ViTModel

    model = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    layer, found = model.layers[-1], []
    for one in pictures:
        levels = np.asarray(one).astype(np.float32) * scale
        planes = [Image.fromarray(levels[..., k]) for k in range(3)]
        x = np.stack([np.asarray(p.resize((224, 224), Image.Resampling.BILINEAR)) for p in planes])
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        x = (x - mean[:, None, None]) / std[:, None, None]
        with torch.no_grad():
            hidden = model.layers[0](model.embeddings(torch.from_numpy(x)[None].float()))
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            k = layer.attention.k_proj(layer.layernorm_before(hidden))[0]
        norm = k.norm(dim=1)
        found.append((k @ k.T) / (norm[:, None] * norm))
    return (found[0] - found[1]).square().mean().item()


@pytest.mark.parametrize("side", [64, 512])
def test_structure_is_the_distance_of_keys_by_the_protocol(dino_folder: Path, side: int) -> None:
    distance = load_dino(str(dino_folder))
    pair = [picture(seed).resize((side, side), Image.Resampling.BICUBIC) for seed in (0, 1)]
    want = structure_oracle(dino_folder, pair, 1)
    assert distance(*pair) == pytest.approx(want, rel=1e-3)
    assert want > 1e-4 and distance(pair[0], pair[0]) == 0
    usual = structure_oracle(dino_folder, pair, 1 / 255)
    assert not 1 / 2 < want / usual < 2  # pixels of 0..1, as DINO was trained, are far away


def test_the_part_is_the_edited_picture_where_the_mask_is(
    clip_folder: Path, dino_folder: Path
) -> None:
    clip, dino = load_clip(str(clip_folder)), load_dino(str(dino_folder))
    mask = np.zeros((64, 64), np.bool_)
    mask[:20] = True
    found = score_perception(clip, dino, picture(0), picture(1), mask, TEXTS)
    black = np.array(picture(1))
    black[20:] = 0
    want = {
        "structure_distance": dino(picture(0), picture(1)),
        "clip_similarity_source_image": clip(picture(0), TEXTS[0]),
        "clip_similarity_target_image": clip(picture(1), TEXTS[1]),
        "clip_similarity_target_image_edit_part": clip(Image.fromarray(black), TEXTS[1]),
    }
    assert found == want
    nothing = score_perception(clip, None, picture(0), picture(1), np.zeros_like(mask), TEXTS)
    assert nothing["clip_similarity_target_image_edit_part"] == "nan"
    assert score_perception(None, None, picture(0), picture(1), mask, TEXTS) == {}


def test_a_missing_network_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^clip must be a CLIPModel of transformers, got "):
        load_clip(str(tmp_path))
    with pytest.raises(ValueError, match="^dino must be a ViTModel of transformers, got "):
        load_dino(str(tmp_path))
