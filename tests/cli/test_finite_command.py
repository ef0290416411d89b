"""A model whose numbers are not finite: every command says so in one line and writes nothing."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
from safetensors.torch import load_file, save_file

from mdp_lite.__main__ import FAILED, main
from support.inverting import PROMPT, picture

TARGET = "a blue boat"
PICTURE = picture()
FROM = ["--steps", "4", "--quiet"]
COMMANDS = {
    "generate": ["generate", PROMPT],
    "invert": ["invert", "in.png"],
    "edit": ["edit", "in.png", "--source-prompt", PROMPT, "--prompt", TARGET],
    "sweep": ["sweep", "in.png", "--source-prompt", PROMPT, "--prompt", TARGET],
}


@pytest.fixture(scope="module")
def spoilt(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint on disk whose UNet holds a NaN."""
    folder = copytree(checkpoint, tmp_path_factory.mktemp("spoilt") / "model")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = {key: tensor.clone() for key, tensor in load_file(path).items()}
    tensors["conv_out.bias"][0] = float("nan")
    path.unlink()
    save_file(tensors, path)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_says_so_and_writes_nothing(
    command: str, spoilt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    says_one_line: Callable[[str], None],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    PICTURE.save("in.png")
    out = ["-o", "out" if command == "sweep" else "out.png"]
    code = main([*COMMANDS[command], "--model", str(spoilt), *out, *FROM])
    assert code == FAILED
    says_one_line("mdp-lite: NotFinite: the model's prediction is not finite")
    assert [path.name for path in tmp_path.rglob("*")] == ["in.png"]
