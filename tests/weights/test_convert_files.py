"""Conversions of files: dtypes, plans without writing, add-ons, the bundled model, the hub."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mdp_lite.editor import Editor
from mdp_lite_weights import Choices, Hub, open_checkpoint
from mdp_lite_weights.convert import convert
from mdp_lite_weights.embeddings import read_embeddings
from support.hub_cache import write_snapshot
from support.ldm import Tensors, single, write_folder, write_single


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of SD 2.x's build."""
    path = tmp_path_factory.mktemp("models") / "new"
    write_folder(path, openclip=True)
    return path


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    """The same as a single file, with an average of the weights and a step count beside it."""
    tensors = single(open_checkpoint(folder).tensors, openclip=True)
    tensors |= {"model_ema.decay": torch.ones(1), "model_ema.num_updates": torch.tensor(7)}
    return write_single(folder.parent / "new.safetensors", tensors, note="a finetune")


def equal(got: Tensors, want: Tensors) -> bool:
    return set(got) == set(want) and all(
        got[key].dtype == want[key].dtype and torch.equal(got[key], want[key]) for key in want
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_another_dtype(folder: Path, file: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    text = folder / "text_encoder" / "config.json"
    config = json.loads(text.read_text("utf-8"))
    text.write_text(json.dumps(config | {"torch_dtype": "float32"}), "utf-8")
    done = convert(folder, tmp_path / "folder", dtype)
    for part, tensors in open_checkpoint(folder).tensors.items():
        cast = {key: tensor.to(dtype) for key, tensor in tensors.items()}
        assert equal(open_checkpoint(done.out).tensors[part], cast)
    config = json.loads((done.out / "text_encoder" / "config.json").read_text("utf-8"))
    assert config["torch_dtype"] == str(dtype).removeprefix("torch.")
    convert(file, tmp_path / "file.safetensors", dtype)
    cast = {k: t.to(dtype) if t.is_floating_point() else t for k, t in load_file(file).items()}
    assert equal(load_file(tmp_path / "file.safetensors"), cast)
    assert cast["model_ema.num_updates"].dtype == torch.int64


def test_a_copy_keeps_the_header(file: Path, tmp_path: Path) -> None:
    convert(file, tmp_path / "a.safetensors")
    convert(file, tmp_path / "b.safetensors", choices=Choices(prediction_type="v_prediction"))
    for name, more in (("a", {}), ("b", {"modelspec.prediction_type": "v"})):
        with safe_open(tmp_path / f"{name}.safetensors", "pt") as found:
            assert found.metadata() == {"note": "a finetune"} | more
    assert equal(load_file(tmp_path / "a.safetensors"), load_file(file))


def test_others_may_read_what_is_written(folder: Path, file: Path, tmp_path: Path) -> None:
    (tmp_path / "any").touch()
    want = (tmp_path / "any").stat().st_mode
    convert(folder, tmp_path / "folder")
    convert(file, tmp_path / "file.safetensors")
    modes = {path.stat().st_mode for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "all").mkdir()
    assert modes == {want}
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "all").stat().st_mode


def test_a_plan_writes_nothing(folder: Path, file: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    for name, out in (
        (folder, "a"),
        (file, "b"),
        (folder, "c.safetensors"),
        (file, "d.safetensors"),
    ):
        plan = convert(name, tmp_path / "new" / out, torch.float16, dry_run=True)
        assert not list(tmp_path.iterdir())
        done = convert(
            name, tmp_path / "new" / out, torch.float16, progress=lambda *at: steps.append(at)
        )
        assert plan == done
        for path, size in done.weights.items():
            written = done.out / path if done.layout == "folder" else done.out
            with open(written, "rb") as opened:
                header = int.from_bytes(opened.read(8), "little")
            assert os.path.getsize(written) == 8 + header + size
        total = sum(done.weights.values())
        assert steps[-1] == (total, total) and len(steps) == len(done.weights)
        steps.clear()
        assert [path.name for path in done.out.parent.iterdir()] == [out]
        shutil.rmtree(tmp_path / "new")


def test_pickles_that_are_no_checkpoint(tmp_path: Path) -> None:
    lora = {"lora_unet_a.lora_down.weight": torch.ones(2, 3), "lora_unet_a.alpha": torch.ones(())}
    torch.save(lora, tmp_path / "lora.pt")
    convert(tmp_path / "lora.pt", tmp_path / "lora.safetensors")
    assert equal(load_file(tmp_path / "lora.safetensors"), lora)
    vectors = torch.randn(2, 8)
    torch.save({"string_to_param": {"*": vectors}, "name": "a-cat"}, tmp_path / "x.pt")
    convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    [read] = read_embeddings(tmp_path / "x.safetensors")
    assert read.token == "a-cat" and torch.equal(read.vectors, vectors)


def test_the_bundled_model(tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    convert("tiny", tmp_path / "tiny")
    want, got = open_checkpoint("tiny"), open_checkpoint(tmp_path / "tiny")
    assert all(equal(got.tensors[part], want.tensors[part]) for part in want.tensors)
    assert got.defaults == want.defaults and got.configs == want.configs
    ours, theirs = (Editor.from_pretrained(name) for name in (tmp_path / "tiny", "tiny"))
    assert ours.generate("a red house", 1, 2).image == theirs.generate("a red house", 1, 2).image
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "tiny", local_files_only=True)
    assert (
        pipe.tokenizer("a red house").input_ids == theirs.models.tokenizer.ids("a red house")[0][:5]
    )


def test_without_a_tokenizer(file: Path, tmp_path: Path) -> None:
    done = convert(file, tmp_path / "out", choices=Choices(hub=Hub(local_files_only=True)))
    assert done.notes[-1].startswith("without a tokenizer: new.safetensors holds no tokenizer")
    assert not (done.out / "tokenizer").exists()
    assert json.loads((done.out / "model_index.json").read_text())["tokenizer"] == [None, None]


def test_a_tokenizer_beside_the_file(folder: Path, file: Path, tmp_path: Path) -> None:
    save_file(load_file(file), tmp_path / "new.safetensors")
    (tmp_path / "tokenizer").symlink_to(folder / "tokenizer")
    torch.save({"state_dict": load_file(file)}, tmp_path / "new.ckpt")
    for name in ("new.safetensors", "new.ckpt"):
        done = convert(tmp_path / name, tmp_path / f"from {name[4:]} file")
        assert (done.out / "tokenizer" / "vocab.json").is_file()
        assert Editor.from_pretrained(done.out).models.tokenizer.clip.pad_token == "!"


def test_pickles_on_the_hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    contents = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*")}
    files = {
        name: path.read_bytes() for name, path in contents.items() if path.suffix != ".safetensors"
    }
    stems = {"text_encoder": "pytorch_model", "unet": "diffusion_pytorch_model"}
    for part, stem in (stems | {"vae": "diffusion_pytorch_model"}).items():
        torch.save(open_checkpoint(folder).tensors[part], tmp_path / "pickle")
        files[f"{part}/{stem}.bin"] = (tmp_path / "pickle").read_bytes()
    cache = tmp_path / "cache"
    write_snapshot(cache, "org/old", files)
    torch.save(load_file(folder / "vae" / "diffusion_pytorch_model.safetensors"), tmp_path / "v")
    write_snapshot(cache, "org/file", {"vae.pt": (tmp_path / "v").read_bytes()})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    choices = Choices(hub=Hub(local_files_only=True))
    done = convert("org/old", tmp_path / "out", choices=choices)
    assert done.name == "org/old"
    want = open_checkpoint(folder).tensors
    assert all(equal(open_checkpoint(done.out).tensors[part], want[part]) for part in want)
    convert("org/file/vae.pt", tmp_path / "vae.safetensors", choices=choices)
    assert equal(load_file(tmp_path / "vae.safetensors"), want["vae"])
