"""Whole models by their hub ids, from a cache as the library lays it out."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.names import BadCheckpoint
from mdp_lite_weights.files import TOKENIZER
from support.hub_cache import write_snapshot
from support.ldm import single, write_folder, write_single

MODEL = "org/model"


def files_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_a_model_by_its_id(cache: Path, checkpoint: Path, editor: Editor) -> None:
    snapshot = write_snapshot(cache, MODEL, files_of(checkpoint))
    found = Editor.from_pretrained(MODEL, "cpu")
    assert found.models.name == MODEL and found.models.folder == snapshot
    want = editor.generate("a red house", seed=3, num_inference_steps=2)
    got = found.generate("a red house", seed=3, num_inference_steps=2)
    assert torch.equal(got.path.x, want.path.x)


def test_a_revision_is_pinned(cache: Path, checkpoint: Path) -> None:
    old = files_of(checkpoint)
    new = old | {"mdp_lite.json": b'{"num_inference_steps": 33}'}
    first = write_snapshot(cache, MODEL, old, ref="v1")
    second = write_snapshot(cache, MODEL, new)
    steps = [
        Editor.from_pretrained(MODEL, revision=revision).models.defaults.num_inference_steps
        for revision in (None, "main", "v1", first.name, second.name)
    ]
    assert steps == [33, 33, 10, 10, 33]
    with pytest.raises(ValueError, match=r"org/model \(revision v2\) is not in the cache"):
        Editor.from_pretrained(MODEL, revision="v2")


def test_what_is_missing_is_named_with_the_cache(
    cache: Path, checkpoint: Path, says_one_line: Callable[[str], None]
) -> None:
    assert main(["generate", "a", "--model", "org/other", "--offline"]) == 2
    says_one_line(f"org/other (revision main) is not in the cache {cache}")
    some = {n: data for n, data in files_of(checkpoint).items() if not n.startswith("unet/diff")}
    write_snapshot(cache, MODEL, some)
    assert main(["info", MODEL]) == 2
    says_one_line("unet must hold diffusion_pytorch_model.safetensors; found config.json")


@pytest.mark.parametrize("name", ["org/../model", "org/model/../../x.safetensors", "../org/model"])
def test_no_name_leads_out_of_the_cache(name: str, cache: Path, checkpoint: Path) -> None:
    write_snapshot(cache, MODEL, files_of(checkpoint))
    outside = cache.parent / "x.safetensors"
    outside.write_bytes(b"")
    with pytest.raises(ValueError, match="want|must be"):
        Editor.from_pretrained(name)


@pytest.mark.parametrize("bad", [{"revision": "../main"}, {"token": "two words"}])
def test_a_bad_revision_or_token_is_refused(cache: Path, bad: dict[str, str]) -> None:
    with pytest.raises(BadCheckpoint, match=f"{next(iter(bad))} must be"):
        Editor.from_pretrained(MODEL, **bad)


def test_a_pickle_is_refused_before_it_is_fetched(cache: Path) -> None:
    with pytest.raises(ValueError, match="model/v1-5.ckpt is a pickle, which is never loaded"):
        Editor.from_pretrained("org/model/v1-5.ckpt")


def test_a_single_file_takes_its_tokenizer_from_the_hub(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    path = write_single(tmp_path / "model.safetensors", single(write_folder(folder)))
    write_snapshot(cache, MODEL, {"model.safetensors": path.read_bytes()})
    with pytest.raises(ValueError, match=f"holds no tokenizer.*{TOKENIZER}.* not in the cache"):
        Editor.from_pretrained(f"{MODEL}/model.safetensors")
    write_snapshot(cache, TOKENIZER, files_of(folder / "tokenizer"))
    got = Editor.from_pretrained(f"{MODEL}/model.safetensors").runner.condition("a red house")
    assert torch.equal(got, Editor.from_pretrained(folder).runner.condition("a red house"))


def test_add_ons_from_the_hub(cache: Path, checkpoint: Path) -> None:
    vae = files_of(checkpoint / "vae")
    write_snapshot(cache, "org/vae", vae)
    word = {"emb_params": torch.ones(1, 16)}
    write_snapshot(cache, "org/word", {"sub/sks.safetensors": save(word)})
    found = Editor.from_pretrained(
        checkpoint, vae="org/vae", embeddings=["org/word/sub/sks.safetensors"]
    )
    table = found.models.text_encoder.text_model.embeddings.token_embedding.weight
    assert torch.equal(table[-1], torch.ones(16))
