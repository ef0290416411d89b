"""Weight files chosen part by part: variants that only some parts have, shards with leftovers.

The kind: a folder is filled by several saves. Not every part was saved in every variant, and an
earlier save left files behind. What diffusers and transformers would read of it is read.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mdp_lite.editor import Editor
from mdp_lite.names import BadCheckpoint
from mdp_lite_weights import Choices, open_checkpoint, open_vae
from mdp_lite_weights.convert import convert
from mdp_lite_weights.folder import choose_files
from support.ldm import WEIGHTS, Tensors, write_folder

Parts = dict[str, Tensors]
PARTS = tuple(WEIGHTS)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Parts]:
    folder = tmp_path_factory.mktemp("parts") / "plain"
    return folder, write_folder(folder)


@pytest.fixture
def copy(plain: tuple[Path, Parts], tmp_path: Path) -> tuple[Path, Parts]:
    return Path(shutil.copytree(plain[0], tmp_path / "copy")), plain[1]


def equal(got: Tensors, want: Tensors) -> bool:
    return set(got) == set(want) and all(torch.equal(got[key], want[key]) for key in want)


def add_variant(folder: Path, part: str, parts: Parts, variant: str) -> Tensors:
    """The file of a variant, with other numbers than the plain one."""
    tensors = {key: tensor + 0.5 for key, tensor in parts[part].items()}
    stem = WEIGHTS[part].removesuffix(".safetensors")
    save_file(tensors, folder / part / f"{stem}.{variant}.safetensors")
    return tensors


# --- variants ----------------------------------------------------------------------------------

SOME = [("unet",), ("vae",), ("text_encoder",), ("unet", "text_encoder"), PARTS]


@pytest.mark.parametrize("variant", ["fp16", "non_ema", "ema"])
@pytest.mark.parametrize("have", SOME, ids=" ".join)
def test_a_variant_of_some_parts(
    variant: str, have: tuple[str, ...], copy: tuple[Path, Parts]
) -> None:
    folder, parts = copy
    made = {part: add_variant(folder, part, parts, variant) for part in have}
    found = open_checkpoint(folder, Choices(variant=variant))
    for part, tensors in found.tensors.items():
        assert equal(tensors, made.get(part, parts[part]))
    assert len(found.files) == len(set(found.files))
    told = [note for note in found.notes if "has none" in note]
    assert told == [
        f"variant {variant}: {part} has none, {WEIGHTS[part]} is read"
        for part in PARTS
        if part not in have
    ]


def test_a_part_without_variant_and_plain_file_is_read_in_fp16(copy: tuple[Path, Parts]) -> None:
    folder, parts = copy
    unet = add_variant(folder, "unet", parts, "non_ema")
    vae = add_variant(folder, "vae", parts, "fp16")
    (folder / "vae" / WEIGHTS["vae"]).unlink()
    found = open_checkpoint(folder, Choices(variant="non_ema"))
    assert equal(found.tensors["unet"], unet) and equal(found.tensors["vae"], vae)
    assert (
        "variant non_ema: vae has none, diffusion_pytorch_model.fp16.safetensors is read"
        in found.notes
    )


def test_the_hub_is_asked_for_the_same_files() -> None:
    names = {f"{part}/{file}" for part, file in WEIGHTS.items()}
    half = "unet/diffusion_pytorch_model.fp16.safetensors"
    want = names - {f"unet/{WEIGHTS['unet']}"} | {half}
    assert set(choose_files(names | {half}, "fp16")) == want
    with pytest.raises(ValueError, match="no part has the variant 'fp16'"):
        choose_files(names, "fp16")


def test_a_variant_in_pickles_alone_is_for_convert(copy: tuple[Path, Parts]) -> None:
    folder, parts = copy
    other = {key: tensor + 0.5 for key, tensor in parts["unet"].items()}
    torch.save(other, folder / "unet/diffusion_pytorch_model.fp16.bin")
    with pytest.raises(BadCheckpoint, match=r"found unet/.*fp16.bin, a pickle, .*mdp-lite convert"):
        Editor.from_pretrained(folder, variant="fp16")
    out = folder.parent / "out"
    convert(folder, out, choices=Choices(variant="fp16"))
    assert equal(open_checkpoint(out).tensors["unet"], other)  # not the plain safetensors


def test_another_vae_falls_back_too(plain: tuple[Path, Parts], copy: tuple[Path, Parts]) -> None:
    folder, parts = copy
    add_variant(folder, "unet", parts, "fp16")
    models = Editor.from_pretrained(folder, variant="fp16", vae=plain[0]).models
    assert equal(models.vae.state_dict(), parts["vae"])
    assert f"variant fp16: the other VAE has none, {WEIGHTS['vae']} is read" in models.notes
    assert equal(open_vae(plain[0] / "vae", Choices(variant="fp16"))[1], parts["vae"])


# --- shards ------------------------------------------------------------------------------------


def write_shards(folder: Path, part: str) -> list[Path]:
    """The part's tensors plus 1 as shards, beside its plain file."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    kind = CLIPTextModel if part == "text_encoder" else UNet2DConditionModel
    model, plain = kind.from_pretrained(folder / part), (folder / part / WEIGHTS[part])
    with torch.no_grad():
        for weight in model.parameters():
            weight += 1
    whole = plain.read_bytes()
    model.save_pretrained(folder / part, max_shard_size="200KB")
    plain.write_bytes(whole)
    return sorted((folder / part).glob("*-of-*.safetensors"))


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_shards_beside_a_whole_file(part: str, copy: tuple[Path, Parts]) -> None:
    """diffusers reads the shards then, transformers the file: each part as its library reads it."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    folder, _ = copy
    assert len(write_shards(folder, part)) >= 2
    kind = CLIPTextModel if part == "text_encoder" else UNet2DConditionModel
    theirs = kind.from_pretrained(folder / part).state_dict()
    found = open_checkpoint(folder)
    ours = found.tensors[part]
    assert all(
        torch.equal(ours.get(key, ours.get(f"text_model.{key}")), t) for key, t in theirs.items()
    )
    assert any(f"{part} holds a whole file and shards" in note for note in found.notes)


def test_an_index_whose_shards_are_gone(copy: tuple[Path, Parts]) -> None:
    folder, parts = copy
    for path in write_shards(folder, "unet"):
        path.unlink()
    assert equal(open_checkpoint(folder).tensors["unet"], parts["unet"])


def test_what_an_earlier_save_left_in_shards(copy: tuple[Path, Parts]) -> None:
    """A shard of another count, a second copy of a tensor, an old counter in the index."""
    folder, parts = copy
    shards = write_shards(folder, "text_encoder")
    (folder / "text_encoder" / WEIGHTS["text_encoder"]).unlink()
    save_file({"old": torch.ones(1)}, folder / "text_encoder/model-00001-of-00099.safetensors")
    first = load_file(shards[0])
    key = next(iter(first))
    save_file(load_file(shards[-1]) | {key: first[key] * 9}, shards[-1])
    index = folder / "text_encoder/model.safetensors.index.json"
    data = json.loads(index.read_text("utf-8"))
    data["weight_map"]["text_model.embeddings.position_ids"] = shards[0].name
    index.write_text(json.dumps(data), "utf-8")
    want = {key: tensor + 1 for key, tensor in parts["text_encoder"].items()}
    assert equal(open_checkpoint(folder).tensors["text_encoder"], want)
