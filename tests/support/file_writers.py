"""Every way in which mdp_lite writes files, for tests of what may go wrong meanwhile."""

import io
import json
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mdp_lite.batch import manifest, work
from mdp_lite.batch.entries import BatchEdit, BatchTask, TargetSpec
from mdp_lite.checkpoint.load import convert
from mdp_lite.editor import Editor
from mdp_lite.engine import aot, packages
from mdp_lite.engine.packages import BuildTarget, Shape
from mdp_lite.eval.figures_file import write_figures
from mdp_lite.files import atomic
from mdp_lite.models.transformer import SDPA
from mdp_lite.pictures import images
from mdp_lite.pictures.output import write_picture
from mdp_lite.pictures.sheets import sheet
from mdp_lite.serve.recipes import RecipeStore
from mdp_lite.serve.settings import Limits
from mdp_lite.serve.work import PromptRecipe
from mdp_lite.store import source_file
from mdp_lite.store.cache import Cache
from support.file_faults import State, Writer, read_files

KEY = "0" * 64
TARGET = BuildTarget("0", "2", "cpu x", "float32", "a" * 64, "torch", "within")
SHAPE = Shape(1, 2, 3, 4)


def noise(version: int, side: int = 96) -> Image.Image:
    pixels = np.random.default_rng(version).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def build_writers(editor: Editor, checkpoint: Path, patch: pytest.MonkeyPatch) -> dict[str, Writer]:
    """All writers by name. Patched: no code is compiled, a package holds 100 kB of something."""
    sources = [editor.generate("a house", seed, 2) for seed in range(2)]
    edits = [editor.edit(one, "a boat") for one in sources]
    unet = checkpoint / "unet" / "diffusion_pytorch_model.safetensors"
    patch.setattr(aot, "need_compiler", lambda: None)
    patch.setattr(aot, "_build", partial(link_archive, checkpoint.parent))
    plain = {name: Writer(partial(write_as, name)) for name in ("a.png", "a.jpg", "a.webp")}
    return {
        **{f"picture {name}": one for name, one in plain.items()},
        "sheet": Writer(lambda f, v: images.save_png(sheet([[("a", noise(v))]]), f / "s.png", {})),
        "several files": Writer(write_several),
        "source": Writer(lambda f, v: source_file.save(sources[v], f / "a.safetensors")),
        "cache entry": Writer(lambda f, v: Cache(f).put(KEY, sources[v]), raises=False),
        "batch": Writer(partial(write_batch, editor, sources, edits), read_batch),
        "converted file": Writer(
            lambda f, v: convert(unet, f / "a.safetensors"), fresh=True
        ),
        "converted folder": Writer(lambda f, v: convert(checkpoint, f / "model"), fresh=True),
        "package": Writer(partial(write_package, editor), read_packages),
        "figures": Writer(lambda f, v: write_figures(f / "a.json", {}, {"a": figures(v)})),
        "recipe": Writer(partial(write_recipe, editor), read_recipes),
    }  # fmt: skip


def write_as(name: str, folder: Path, version: int) -> None:
    write_picture(noise(version), folder / name, {"prompt": "a house", "seed": version})


def write_several(folder: Path, version: int) -> None:
    atomic.write_each((folder / f"{k}.png", images.png_bytes(noise(version), {})) for k in range(3))


def figures(version: int) -> Any:
    return {f"method {k}": {"score": [float(k + version)] * 50} for k in range(50)}


def write_batch(
    editor: Editor, sources: list[Any], edits: list[Any], folder: Path, version: int
) -> None:
    """The last step of a batch: a picture, then its line in the manifest."""
    with manifest.open_manifest(folder) as opened:
        context = work.BatchContext(editor, "", folder, folder, opened.sizes)
        task = BatchTask(BatchEdit(1, "a", TargetSpec("a boat")), "key", "a.png")
        outcome = work._write_edit(context, task, sources[version], edits[version])
        assert outcome.record is not None
        opened.append([outcome.record])


def read_batch(folder: Path) -> State:
    """The pictures, and the first line of the manifest; a kill may cut the last one short."""
    files = read_files(folder)
    lines = files.pop(manifest.NAME, b"")
    assert isinstance(lines, bytes)
    whole = [json.loads(line) for line in lines.splitlines(keepends=True) if line.endswith(b"}\n")]
    return {**files, "first line": whole[0]} if whole else files


def link_archive(folder: Path, unet: Any, attend: Any, shape: Any, path: Path, inside: Any) -> None:
    """Instead of the compiler: the archive that it would write, which is not what is tested."""
    path.symlink_to(folder / "archive.pt2")


def write_archive(path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in ("model.so", "model.json"):
            file.writestr(f"unet/data/{name}", np.random.default_rng(0).bytes(50_000))
    path.write_bytes(out.getvalue())


def write_package(editor: Editor, folder: Path, version: int) -> None:
    target = replace(TARGET, mdp_lite=str(version))
    aot.compile_package(editor.models.unet, SDPA, SHAPE, target, folder)


def read_packages(folder: Path) -> State:
    """Packages that can be used; each must be whole."""
    found = packages.read_packages(folder) if folder.is_dir() else []
    for one in found:
        packages.verify(one)
    return {one.path.name: (one.target, sorted(one.files)) for one in found}


def write_recipe(editor: Editor, folder: Path, version: int) -> None:
    recipe = PromptRecipe(f"a house, {version}" * 200, version, None, None, "", None)
    RecipeStore(Cache(folder), editor.runner, Limits()).put("id", "", recipe)


def read_recipes(folder: Path) -> State:
    return read_files(folder / "recipes")
