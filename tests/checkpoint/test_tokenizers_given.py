"""tokenizer=FOLDER beside an SDXL file: both tokenizers of the folder are taken, not only one."""

import shutil
from pathlib import Path

import pytest

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.editor import Editor
from mdp_lite.names import BadCheckpoint
from mdp_lite_weights.convert import convert
from mdp_lite_weights.files import Choices
from support.letters import tokenizer
from support.sdxl_files import small_xl

PROMPT = "a b"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose second tokenizer pads with a letter, which no default does."""
    top = tmp_path_factory.mktemp("given")
    pipe = small_xl()
    pipe.tokenizer_2 = tokenizer("c</w>")
    pipe.save_pretrained(top / "folder")
    convert(top / "folder", top / "file" / "model.safetensors")
    return top / "folder"


def ids(model: Path, given: Path | None) -> list[list[int]]:
    editor = Editor.from_pretrained(model, "cpu", tokenizer=given)
    return editor.models.tokenizer.ids(PROMPT)[0]


def test_both_are_taken(folder: Path, tmp_path: Path) -> None:
    file = folder.parent / "file" / "model.safetensors"
    assert ids(file, folder) == ids(folder, None)
    alone = Path(shutil.copytree(folder / "tokenizer", tmp_path / "alone"))
    assert ids(file, alone)[0] == ids(folder, None)[0]
    assert ids(file, alone)[1] != ids(folder, None)[1]  # the default pad


def test_the_given_one_replaces_that_of_a_folder(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    tokenizer("d</w>").save_pretrained(other / "tokenizer_2")
    assert ids(folder, other)[1] == ids(other, None)[1] != ids(folder, None)[1]
    ours, theirs = (
        Editor.from_pretrained(folder, "cpu", tokenizer=one).models for one in (None, other)
    )
    assert model_hash(ours.origin) != model_hash(theirs.origin)


def test_a_converted_file_gets_both(folder: Path, tmp_path: Path) -> None:
    file = folder.parent / "file" / "model.safetensors"
    convert(file, tmp_path / "back", choices=Choices(tokenizer=folder))
    assert ids(tmp_path / "back", None) == ids(folder, None)


def test_a_folder_without_any_takes_the_given_ones(folder: Path, tmp_path: Path) -> None:
    """As `convert` writes one where it finds no tokenizer."""
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    for name in ("tokenizer", "tokenizer_2"):
        shutil.rmtree(bare / name)
    assert ids(bare, folder) == ids(folder, None)
    with pytest.raises(BadCheckpoint, match="tokenizer must hold vocab.json .* got nothing"):
        ids(bare, None)
