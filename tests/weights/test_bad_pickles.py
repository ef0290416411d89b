"""Pickles that must not be read: nothing in any of them is run, and each gets one sentence."""

import contextlib
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mdp_lite_weights.pickles import read_pickle

A = torch.arange(12.0).reshape(3, 4)


class Payload:
    """Runs a function when an unguarded pickle is loaded."""

    def __init__(self, function: Callable[..., Any], *given: Any, state: Any = None) -> None:
        self.reduced = (function, given) if state is None else (function, given, state)

    def __reduce__(self) -> Any:
        return self.reduced


def shell(marker: Path) -> Payload:
    return Payload(os.system, f"echo run > {marker}")


def source(marker: Path) -> Payload:
    return Payload(eval, f"open({str(marker)!r}, 'w').close()")


def inner_load(marker: Path) -> Payload:
    """torch's own way around the guard: it loads what it is given without weights_only."""
    return Payload(torch.storage._load_from_bytes, pickle.dumps(source(marker), 2))


def rebuild(marker: Path) -> Payload:
    """A function on torch's list that calls one which is not."""
    given = (os.system, torch.Tensor, (f"echo run > {marker}",), None)
    return Payload(torch._tensor._rebuild_from_type_v2, *given)


def attribute(marker: Path) -> Payload:
    return Payload(getattr, source(marker), "close")


PAYLOADS: dict[str, tuple[Callable[[Path], Payload], str]] = {
    "a shell": (shell, "posix.system"),
    "source code": (source, "eval"),
    "a load inside": (inner_load, "torch.storage._load_from_bytes"),
    "a call by torch": (rebuild, "posix.system"),
    "an attribute": (attribute, "getattr"),
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "alone": lambda payload: payload,
    "in the state dict": lambda payload: {"state_dict": {"a": A, "b": payload}},
    "beside it": lambda payload: {"state_dict": {"a": A}, "callbacks": [payload]},
    "as a key": lambda payload: {"a": A, (payload,): 1},
    "in an embedding": lambda payload: {"string_to_param": {"*": payload}},
    "given to a stand-in": lambda payload: {"a": A, "b": Payload(np.dtype, "f8", state=payload)},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("forced", [False, True])
def test_no_payload_is_run(
    name: str, place: str, forced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forced:  # the environment asks torch to load without the guard
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    make, asked = PAYLOADS[name]
    marker = tmp_path / "run"
    for zipped in (True, False):
        path = tmp_path / f"evil{zipped}.ckpt"
        content = PLACES[place](make(marker))
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        want = f"^{path} asks for '{asked}', which is not on the list"
        with pytest.raises(ValueError, match=want):
            read_pickle(path)
        assert not marker.exists()


@pytest.mark.parametrize("name", PAYLOADS)
def test_the_payloads_would_run(name: str, tmp_path: Path) -> None:
    """That nothing was run above means something only because each of them can be run."""
    payload = pickle.dumps(PAYLOADS[name][0](tmp_path / "run"), 2)
    with contextlib.suppress(Exception):  # some of them fail once they have done it
        pickle.loads(payload)
    assert (tmp_path / "run").exists()


def archive(path: Path, content: bytes) -> None:
    """A file such as torch.save writes, but with any pickle inside."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_by_other_means_than_torch(protocol: int, tmp_path: Path) -> None:
    for make in (shell, source):
        content = pickle.dumps({"a": make(tmp_path / "run")}, protocol)
        (tmp_path / "raw.pt").write_bytes(content)
        archive(tmp_path / "archive.pt", content)
        for name in ("raw.pt", "archive.pt"):
            with pytest.raises(ValueError, match=f"^{tmp_path}/{name} (must|asks|is damaged)"):
                read_pickle(tmp_path / name)
    assert not (tmp_path / "run").exists()


CALLS = {  # the same call of os.system in opcodes that torch.save does not write
    "INST": b"(S'echo run > {}'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'echo run > {}'\no.",
    "by a stand-in's name": (
        b"\x80\x02cpytorch_lightning.callbacks.model_checkpoint\nos.system\n"
        b"X\x01\x00\x00\x00a\x85R."
    ),
    "by a stand-in's attribute": b"\x80\x02cnumpy\ndtype.__init__.__globals__\n.",
}


@pytest.mark.parametrize("name", CALLS)
def test_hand_made_opcodes(name: str, tmp_path: Path) -> None:
    content = CALLS[name].replace(b"{}", str(tmp_path / "run").encode())
    archive(tmp_path / "made.pt", content)
    with pytest.raises(ValueError, match="(is damaged|is not on the list)"):
        read_pickle(tmp_path / "made.pt")
    assert not (tmp_path / "run").exists()


def save(content: Any) -> Callable[[Path], Any]:
    return lambda path: torch.save(content, path)


def cut(path: Path) -> None:
    torch.save({"a": A}, path)
    os.truncate(path, 900)


def cut_old(path: Path) -> None:
    torch.save({"a": A}, path, _use_new_zipfile_serialization=False)
    os.truncate(path, 200)


def torchscript(path: Path) -> None:
    archive(path, b"")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/constants.pkl", b"")


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "hello")


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "torch.save wrote, got an empty file"),
    "web page": (lambda path: path.write_text("\n<!DOCTYPE html>"), "wrote, got a web page"),
    "LFS pointer": (lambda path: path.write_text(LFS), "wrote, got a Git LFS pointer (git lfs"),
    "safetensors": (lambda path: save_file({"a": A}, path), "wrote, got a safetensors file"),
    "text": (lambda path: path.write_text("hello"), "wrote, got a file of another kind"),
    "cut off": (cut, "is cut off or damaged"),
    "cut off, old": (cut_old, "is damaged, or not written by torch.save"),
    "TorchScript": (torchscript, "is a TorchScript program, want a file of tensors"),
    "another zip": (other_zip, "is a zip archive without a checkpoint in it"),
    "nothing": (save({}), "must hold tensors by name, found none"),
    "a tensor alone": (save(A), "must hold tensors by name, found none"),
    "numbers alone": (save({"state_dict": {}, "epoch": 1}), "tensors by name, found none"),
    "a list": (save({"a": [A]}), "'a' must be a tensor, got a list"),
    "two models": (save({"unet": {"a": A}, "vae": {}}), "'unet' must be a tensor, got a dict"),
    "nothing by name": (save({"a": None}), "'a' must be a tensor, got a NoneType"),
    "a numpy array": (save({"a": np.ones(2)}), "'a' must be a tensor, got no plain data"),
    "hypernetwork": (save({320: A}), "must hold tensors by name, got the key 320"),
    "sparse": (save({"a": A.to_sparse()}), "'a' must be plain numbers, got torch.float32"),
    "complex": (save({"a": A * 1j}), "'a' must be plain numbers, got torch.complex64"),
    "no place": (save({"a": A.to("meta")}), "torch.strided, on meta"),
    "two vectors": (
        save({"string_to_param": {"*": A, "b": A}}),
        "string_to_param must hold one embedding",
    ),
    "no vectors": (save({"string_to_param": 1}), "string_to_param must hold one embedding"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_holds_no_checkpoint(name: str, tmp_path: Path) -> None:
    make, sentence = BAD[name]
    make(tmp_path / "bad.bin")
    with pytest.raises(ValueError) as raised:
        read_pickle(tmp_path / "bad.bin")
    text = str(raised.value)
    assert text.startswith(f"{tmp_path}/bad.bin") and sentence in text and "\n" not in text


def test_every_cut_gives_one_sentence(tmp_path: Path) -> None:
    for zipped in (True, False):
        torch.save({"a": A}, tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
        whole = (tmp_path / "whole.pt").read_bytes()
        for end in range(0, len(whole), 37):
            (tmp_path / "cut.pt").write_bytes(whole[:end])
            with pytest.raises(ValueError, match=f"^{tmp_path}/cut.pt (must|is|asks) [^\n]*$"):
                read_pickle(tmp_path / "cut.pt")
