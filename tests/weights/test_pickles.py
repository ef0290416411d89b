"""Pickled checkpoints: what torch.save wrote is read as tensors, by one module alone."""

import ast
import collections
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mdp_lite_weights.pickles import read_pickle
from support.places import ROOT

A, B = torch.arange(12.0).reshape(3, 4), torch.ones(5, dtype=torch.float16)


def same(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> bool:
    return set(got) == set(want) and all(
        got[key].dtype == want[key].dtype and torch.equal(got[key], want[key]) for key in want
    )


@pytest.fixture
def lightning() -> Iterator[types.ModuleType]:
    """A module by Lightning's name, there while a file is written and gone when it is read."""
    names = ["pytorch_lightning", "pytorch_lightning.callbacks"]
    module = types.ModuleType(f"{names[1]}.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    modules = {name: types.ModuleType(name) for name in names} | {module.__name__: module}
    assert not set(modules) & set(sys.modules)
    sys.modules.update(modules)
    yield module
    for name in modules:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_lightning_checkpoint(tmp_path: Path, lightning: Any, zipped: bool) -> None:
    callback = lightning.ModelCheckpoint
    instance = callback()
    instance.best = np.arange(3)
    found = {
        "callbacks": {callback: {"best_model_score": np.float64(0.5), "self": instance}},
        "epoch": 3,
        "global_step": 875000,
        "pytorch-lightning_version": "1.4.2",
        "optimizer_states": [{"state": {0: {"exp_avg": A}}}],
        "state_dict": collections.OrderedDict(a=A, b=B),
    }
    path = tmp_path / "model.ckpt"
    torch.save(found, path, _use_new_zipfile_serialization=zipped)
    for name in [name for name in sys.modules if name.startswith("pytorch_lightning")]:
        del sys.modules[name]
    assert b"model_checkpoint ModelCheckpoint" in path.read_bytes().replace(b"\n", b" ")
    got = read_pickle(path)
    assert same(got.tensors, {"a": A, "b": B})
    version = {"pytorch-lightning_version": "1.4.2"}
    assert got.metadata == {"epoch": "3", "global_step": "875000"} | version
    assert not [name for name in sys.modules if name.startswith("pytorch_lightning")]


def test_plain_state_dicts_of_every_kind_of_number(tmp_path: Path) -> None:
    dtypes = (torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.float8_e4m3fn)
    want = {str(dtype): torch.tensor([0.0, 1.0]).to(dtype) for dtype in dtypes}
    want["parameter"] = nn.Parameter(A)
    torch.save(want, tmp_path / "plain.bin")
    got = read_pickle(tmp_path / "plain.bin").tensors
    assert type(got["parameter"]) is torch.Tensor and not got["parameter"].requires_grad
    assert same(
        {k: v.float() for k, v in got.items()},
        {k: v.float() for k, v in want.items()} | {"parameter": A},
    )
    assert all(got[key].dtype == want[key].dtype for key in want)


def test_shared_and_turned_tensors_can_be_written_as_safetensors(tmp_path: Path) -> None:
    want = {"whole": A, "part": A[1:], "again": A, "turned": A.T}
    torch.save(want, tmp_path / "shared.pt")
    got = read_pickle(tmp_path / "shared.pt").tensors
    save_file(got, tmp_path / "shared.safetensors")
    assert same(load_file(tmp_path / "shared.safetensors"), want)


def compress(source: Path, target: Path) -> None:
    """The same archive with its files compressed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry.filename))


def test_a_packed_archive_is_not_mapped(tmp_path: Path) -> None:
    torch.save({"a": A, "b": B}, tmp_path / "a.ckpt")
    compress(tmp_path / "a.ckpt", tmp_path / "b.ckpt")
    mapped = torch.load(tmp_path / "b.ckpt", mmap=True, weights_only=True)
    assert not torch.equal(mapped["a"], A)  # why: torch reads the packed bytes as numbers
    assert same(read_pickle(tmp_path / "b.ckpt").tensors, {"a": A, "b": B})


def parameter_dict(tensor: torch.Tensor) -> nn.ParameterDict:
    return nn.ParameterDict({"*": nn.Parameter(tensor)})


@pytest.mark.parametrize("params", [lambda t: {"*": t}, parameter_dict], ids=["A1111", "authors"])
def test_an_embedding(tmp_path: Path, params: Callable[[torch.Tensor], Any]) -> None:
    found = {
        "string_to_token": {"*": torch.tensor(265)},
        "string_to_param": params(A),
        "name": "a-cat",
        "step": 500,
        "sd_checkpoint": None,
    }
    torch.save(found, tmp_path / "cat.pt")
    got = read_pickle(tmp_path / "cat.pt")
    assert same(got.tensors, {"emb_params": A})
    assert got.metadata == {"name": "a-cat", "step": "500"}


def test_a_diffusers_embedding(tmp_path: Path) -> None:
    torch.save({"<cat>": nn.Parameter(B)}, tmp_path / "learned_embeds.bin")
    got = read_pickle(tmp_path / "learned_embeds.bin")
    assert same(got.tensors, {"<cat>": B}) and got.metadata == {}


def test_only_convert_may_read_pickles() -> None:
    """The reader is imported by one module, and every module that is not it stays away."""
    users = [
        path.name
        for room in ("mdp_lite", "weights", "kernels", "benchmarks")
        for path in sorted((ROOT / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom | ast.Import)
        and "pickles" in f"{getattr(node, 'module', '')} {[alias.name for alias in node.names]}"
    ]
    assert set(users) <= {"convert.py"}
