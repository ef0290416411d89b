"""What a second reviewer of the command met: letters of streams, names in errors, dry runs."""

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import mdp_lite
from mdp_lite import BadInput, CannotWrite, Editor
from mdp_lite.__main__ import main
from mdp_lite.cli.streams import escape_unknown_letters, name_stream
from mdp_lite.engine.packages import read_packages

WORDS = ["--source-prompt", "a", "--prompt", "b", "--steps", "2", "--device", "cpu"]


@pytest.mark.parametrize(
    "name, said",
    [("日本.png", "\\u65e5"), pytest.param("n\udcff.png", "\\udcff", marks=pytest.mark.slow)],
)
def test_a_file_name_that_the_terminal_can_t_show_is_escaped(
    tmp_path: Path, name: str, said: str
) -> None:
    program = "import sys; from mdp_lite.__main__ import main; sys.exit(main(sys.argv[1:]))"
    words = ["generate", "a", "--steps", "1", "--dry-run", "-o", os.fsencode(tmp_path / name)]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii:strict"},
    )  # fmt: skip
    assert done.returncode == 0 and said.encode() in done.stdout, done.stderr


def test_streams_that_are_no_files_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    escape_unknown_letters()


def test_a_file_that_can_t_be_written_is_not_called_stdout() -> None:
    with pytest.raises(CannotWrite, match="/proc/x can't be written"), name_stream(sys.stdout):
        raise FileNotFoundError(2, "No such file or directory", "/proc/x")


def test_the_error_of_a_full_disk_is_public(editor: Editor) -> None:
    assert "CannotWrite" in mdp_lite.__all__ and "CannotWrite" in (mdp_lite.__doc__ or "")
    source = editor.generate("a", 0, 1)
    with pytest.raises(mdp_lite.CannotWrite):
        editor.save_source(source, "/proc/a.safetensors")


@pytest.mark.parametrize("content", [None, b"", b"GIF89a", b"nothing"])
def test_a_mask_that_can_t_be_read_is_called_one(
    checkpoint: Path, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str],
    editor: Editor,
) -> None:  # fmt: skip
    mask = tmp_path / "mask.png"
    if content is not None:
        mask.write_bytes(content)
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    words = ["edit", str(tmp_path / "a.png"), "--prompt", "b", "--model", str(checkpoint)]
    assert main([*words, "--mask", str(mask), "--steps", "2", "--device", "cpu"]) == 2
    assert "mdp-lite: mask must be a PNG, JPEG or WebP" in capsys.readouterr().err
    source = editor.generate("a", 0, 1)
    with pytest.raises(BadInput, match="^mask must be a PNG"):
        editor.edit(source, "b", mask=mask)


def test_a_port_in_use_fails_the_dry_run(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1])
        words = ["serve", "--port", port, "--dry-run", "--model", str(checkpoint)]
        assert main([*words, "--device", "cpu"]) == 2
    assert f"can't listen on 127.0.0.1:{port}" in capsys.readouterr().err


def test_no_paste_needs_a_mask(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", *WORDS, "--no-paste"]) == 2
    assert "--no-paste needs a mask" in capsys.readouterr().err


def test_too_many_steps_say_how_many_are_possible(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["edit", "--source-prompt", "a", "--prompt", "b", "--device", "cpu"]
    assert main([*words, "--steps", "1000", "--dry-run"]) == 2
    assert "must be at most 999 with this model, got 1000" in capsys.readouterr().err


def test_packages_are_looked_for_where_the_user_said() -> None:
    with pytest.raises(BadInput, match="no packages in '/nope/deeper'"):
        read_packages(Path("/nope/deeper"))
