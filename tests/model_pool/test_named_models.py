"""Models by name: aliases, what a command line and a folder list, and what they refuse."""

from pathlib import Path

import pytest

from mdp_lite.cli.model_options import CheckpointOptions, EngineOptions, ModelOptions
from mdp_lite.cli.values import read_gigabytes
from mdp_lite.model_pool.specs import choose_alias, list_folder, read_named_models, read_specs
from mdp_lite.names import BadInput
from support.checkpoints import write_checkpoint

ENGINE = EngineOptions()


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("tiny", "tiny"),
        ("org/name", "org/name"),
        ("/models/sd15", "sd15"),
        ("models/deep/sd15.safetensors", "sd15"),
        ("/models/my model (new)", "my-model--new-"),
        ("/models/Modèle", "Mod-le"),
        ("/", "model"),
    ],
)
def test_a_model_is_called_by_its_last_name(name: str, alias: str) -> None:
    assert choose_alias(name) == alias


def test_models_are_named_on_the_command_line(tmp_path: Path) -> None:
    odd = tmp_path / "a=b"
    odd.mkdir()
    texts = ["tiny", "photo=/models/sd", "org/name", str(odd), "eq=/a=b"]
    assert read_named_models(texts) == [
        ("tiny", "tiny"), ("photo", "/models/sd"), ("org/name", "org/name"), ("a-b", str(odd)),
        ("eq", "/a=b"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["=x", "name=", "a b=x", "é=x", "x" * 129 + "=y"])
def test_a_wrong_name_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"model must be \[NAME=\]MODEL"):
        read_named_models([text])


def test_two_models_need_two_names() -> None:
    with pytest.raises(BadInput, match="another name, got a, a"):
        read_named_models(["a=x", "a=y"])


def test_a_folder_lists_its_models(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "sd")
    (tmp_path / "empty").mkdir()
    (tmp_path / "indexed").mkdir()
    (tmp_path / "indexed" / "model_index.json").write_text("{}")
    for name in ("one.safetensors", "notes.txt", "old.ckpt"):
        (tmp_path / name).touch()
    base = ModelOptions(
        name="first", device="cpu", cache="sources", lora=(("own", 1.0),),
        checkpoint=CheckpointOptions(offline=True),
    )  # fmt: skip
    found = read_specs([], tmp_path, base, ENGINE)
    assert [one.alias for one in found] == ["indexed", "one", "sd"]
    assert {one.model.cache for one in found} == {"sources"}
    assert all(one.model.checkpoint.offline and one.model.lora == () for one in found)
    assert found[2].read_facts().size == (32, 32)
    with pytest.raises(BadInput, match="models must have model folders or .safetensors files"):
        list_folder(tmp_path / "empty", base, ENGINE)


@pytest.mark.parametrize(
    ("text", "size"), [("12", 12), ("12GB", 12), ("1.5 gb", 1.5), ("500MB", 0.5), ("0.25", 0.25)]
)
def test_sizes_are_in_gigabytes(text: str, size: float) -> None:
    assert read_gigabytes(text) == size


@pytest.mark.parametrize("text", ["GB", "twelve", "12 TB", "1,5", "-"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        read_gigabytes(text)
