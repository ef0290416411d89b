"""The engine's packages: what they compute, that no compiler runs, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.engine import aot, packages
from mdp_lite.engine.engine import choose_attention
from mdp_lite.engine.packages import Shape
from mdp_lite.models.transformer import SDPA
from support.places import ROOT
from support.small_unet import CPU, HEIGHT, WIDTH, inputs, open_packages, write_small

ROWS = 2  # of the one package that is compiled
BOUND = 1e-5  # of float32 against the eager model, relative to the largest value


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("aot") / "model")


@pytest.fixture(scope="module")
def small(model: Path) -> Editor:
    return Editor.from_pretrained(model, "cpu", engine="eager")


@pytest.fixture(scope="module")
def package_folder(model: Path) -> tuple[Path, dict[str, Any]]:
    """A folder into which the command wrote a package, and its JSON output."""
    folder = model.parent / "packages"
    size = ("--height", str(4 * HEIGHT), "--width", str(4 * WIDTH))
    line = command(model, folder, "--rows", str(ROWS), "--json", *size)
    roots = os.pathsep.join(str(ROOT / room) for room in (".", "kernels", "weights"))
    quick = {"TORCHINDUCTOR_VEC_ISA_OK": "1", "AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL": "O0"}
    env = os.environ | quick | {"PYTHONPATH": roots, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "mdp_lite", *line]
    done = subprocess.run(line, cwd=model.parent, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"compiling 2 UNet rows of {HEIGHT}x{WIDTH} cells" in done.stderr
    return folder, json.loads(done.stdout)


@pytest.fixture
def folder(package_folder: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(package_folder[0], tmp_path / "packages")


def command(model: Path, folder: Path, *more: str) -> list[str]:
    return ["compile", "--model", str(model), "--device", "cpu", "-o", str(folder), *more]


@torch.no_grad()
def eager(editor: Editor, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    return editor.models.unet.float()(x, t, c, SDPA)


def assert_near(got: Tensor, want: Tensor, bound: float = BOUND) -> None:
    assert got.shape == want.shape
    assert float((got - want).abs().max() / want.abs().max()) < bound


@pytest.mark.slow
def test_an_edit_by_packages_is_the_edit(model: Path, small: Editor, package_folder: Any) -> None:
    ahead = Editor.from_pretrained(model, "cpu", packages=package_folder[0])
    where = {"num_inference_steps": 4, "width": 4 * WIDTH, "height": 4 * HEIGHT}
    source, same = (one.generate("a red house", 3, **where) for one in (small, ahead))
    assert_near(same.path.x, source.path.x, 1e-4)
    for variant in ("epsilon", "beta"):
        a, b = (one.edit(source, "a boat", variant, t_max=3, t_m=1) for one in (small, ahead))
        assert_near(b.latent, a.latent, 1e-4)
    assert ahead.runner.engine.mode == "aot"
    with pytest.raises(ValueError, match="want a package for 8x8 cells .*, got those for 6x4"):
        ahead.generate("a red house", 3, 4)


@pytest.mark.slow
def test_aot_without_packages_or_with_anothers_is_refused(
    checkpoint: Path, package_folder: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="engine aot needs packages, the folder that"):
        Editor.from_pretrained(checkpoint, "cpu", engine="aot")
    with pytest.raises(ValueError, match="was made for model .*, want .*: make one here"):
        Editor.from_pretrained(checkpoint, "cpu", packages=package_folder[0])
    with pytest.raises(ValueError, match=r"no packages in '.*empty': make one here"):
        Editor.from_pretrained(checkpoint, "cpu", engine="aot", packages=tmp_path / "empty")


@pytest.mark.slow
def test_the_command_reports_what_it_wrote(package_folder: tuple[Path, dict[str, Any]]) -> None:
    folder, report = package_folder
    (file,), (size,), (shape,) = report["files"], report["bytes"], report["shapes"]
    assert Path(file).parent == folder and Path(file).is_file() and report["seconds"][0] > 0
    assert shape["rows"] == ROWS and (shape["height"], shape["width"]) == (HEIGHT, WIDTH)
    (package,) = packages.read_packages(folder)
    content = [path for path in package.code_folder.rglob("*") if path.is_file()]
    assert size == sum(path.stat().st_size for path in content)
    assert {path.suffix for path in content} == {".so", ".json"}
    assert report["made_for"] == asdict(package.target)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_the_eager_model_in_float32(
    package_folder: tuple[Path, dict[str, Any]], small: Editor, rows: int
) -> None:
    run, (x, t, c) = open_packages(package_folder[0], small), inputs(small, rows)
    assert run.counts(HEIGHT, WIDTH, c.shape[1]) == [ROWS]
    assert_near(run(x, t, c), eager(small, x, t, c))
    assert_near(run(x, t[0], c), eager(small, x, t[0], c))


@pytest.mark.slow
def test_inputs_that_lie_otherwise(
    package_folder: tuple[Path, dict[str, Any]], small: Editor
) -> None:
    run, (x, t, c) = open_packages(package_folder[0], small), inputs(small, ROWS)
    aside = (x.to(memory_format=torch.channels_last), t.int(), c.mT.contiguous().mT)
    assert not aside[0].is_contiguous() and not aside[2].is_contiguous()
    assert torch.equal(run(*aside), run(x, t, c))


@pytest.mark.slow
def test_two_threads_at_once(package_folder: tuple[Path, dict[str, Any]], small: Editor) -> None:
    run, calls = (
        open_packages(package_folder[0], small),
        [inputs(small, ROWS, seed) for seed in range(40)],
    )
    want = [eager(small, *one) for one in calls]
    with ThreadPoolExecutor(2) as pool:
        for got, right in zip(pool.map(lambda one: run(*one), calls), want, strict=True):
            assert_near(got, right)


SCRIPT = """
import sys
started = []
sys.addaudithook(lambda event, args: started.append(event) if event in (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork") else None)
import torch
from pathlib import Path
from mdp_lite.editor import Editor
from support.small_unet import inputs, open_packages
model, folder = map(Path, sys.argv[1:])
small = Editor.from_pretrained(model, "cpu", engine="eager")
before, started[:] = list(started), []
torch.save(open_packages(folder, small)(*inputs(small, 2)), "out.pt")
print(started)
"""


@pytest.mark.slow
def test_no_compiler_and_no_process(
    package_folder: tuple[Path, dict[str, Any]], small: Editor, model: Path, tmp_path: Path
) -> None:
    roots = os.pathsep.join(str(ROOT / room) for room in ("tests", ".", "kernels", "weights"))
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "none")}
    env = {"PATH": "/nonexistent", "PYTHONPATH": roots, "OMP_NUM_THREADS": "1", **cache}
    line = [sys.executable, "-c", SCRIPT, str(model), str(package_folder[0])]
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
    assert [one for one in (tmp_path / "none").rglob("*") if one.is_file()] == []
    got = torch.load(tmp_path / "out.pt", weights_only=True)
    assert_near(got, eager(small, *inputs(small, ROWS)))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.slow
@pytest.mark.parametrize("harm", [flip, cut, Path.unlink])
def test_damaged_code_is_refused(folder: Path, small: Editor, harm: Callable[[Path], None]) -> None:
    harm(next(folder.rglob("*.so")))
    run = open_packages(folder, small)
    with pytest.raises(ValueError, match="package .* is damaged, a file of it is not as it was"):
        run(*inputs(small, ROWS))


@pytest.mark.slow
def test_other_cells_and_other_inputs_are_refused(
    package_folder: tuple[Path, dict[str, Any]], small: Editor
) -> None:
    run, (x, t, c) = open_packages(package_folder[0], small), inputs(small, ROWS)
    with pytest.raises(ValueError, match="want a package for 4x6 cells .* got those for 6x4"):
        run(x.mT, t, c)
    with pytest.raises(ValueError, match="a package's inputs must be"):
        run(x.double(), t, c)
    with pytest.raises(ValueError, match="a package's inputs must be"):
        run(x, t, c[..., 1:])


def test_a_compilation_that_fails_leaves_nothing(
    small: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("the compiler broke")

    monkeypatch.setattr(aot, "_build", fail)
    unet, shape = small.models.unet, Shape(1, 4, 4, 4)
    target = aot.package_target(unet, CPU, SDPA, "0" * 64)
    with pytest.raises(RuntimeError, match="the compiler broke"):
        aot.compile_package(unet, SDPA, shape, target, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "packages"
    assert main(command(model, out, "--rows", "1,2", "--dry-run")) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"would write {out / '1x8x8x'}") and f"{out / '2x8x8x'}" in second
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--rows", "0"], "--rows must be 1 or more, got 0"),
        (["--width", "30"], "width must be a multiple of 4"),
        ([], "compile needs a C++ compiler (g++, or what CXX names), got no missing++"),
    ],
)
def test_bad_compilations(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], sentence: str,
    says_one_line: Callable[[str], None],
) -> None:  # fmt: skip
    monkeypatch.setenv("CXX", "cc" if more else "missing++")
    assert main(command(model, tmp_path, *more)) == 2
    says_one_line(sentence)


def test_an_output_that_is_a_file(model: Path, says_one_line: Callable[[str], None]) -> None:
    file = model / "mdp_lite.json"
    assert main(command(model, file)) == 2
    says_one_line("output must be a folder that can be written, got ")


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_the_bundled_model(tmp_path: Path, dtype: str, bound: float) -> None:
    editor = Editor.from_pretrained("tiny", "cpu", dtype, engine="eager")
    unet, attend = editor.models.unet, choose_attention(CPU, traced=True)
    target, shape = aot.package_target(unet, CPU, attend, "0" * 64), Shape(2, 16, 16, 24)
    aot.compile_package(unet, attend, shape, target, tmp_path)
    run = aot.open_packages(tmp_path, unet, CPU, attend, "0" * 64)
    x, t, c = torch.randn(2, 4, 16, 16), torch.tensor(500), torch.randn(2, 24, 128)
    x, c = (rows.to(unet.conv_in.weight.dtype) for rows in (x, c))
    got = run(x, t, c).float()
    assert_near(got, eager(editor, x.float(), t, c.float()), bound)


@pytest.mark.slow
def test_weights_outside_are_the_models_own(model: Path, tmp_path: Path) -> None:
    """As on a GPU: a package of code only, which reads the weights of the model, not a copy."""
    editor = Editor.from_pretrained(model, "cpu", engine="eager")
    unet, calls = editor.models.unet, inputs(editor, ROWS)
    shape = Shape(ROWS, HEIGHT, WIDTH, calls[2].shape[1])
    target = replace(aot.package_target(unet, CPU, SDPA, "0" * 64), weights="outside, contiguous")
    package = aot.compile_package(unet, SDPA, shape, target, tmp_path)
    run = aot.Packages({shape: package}, unet, CPU)
    assert_near(run(*calls), eager(editor, *calls))
    with torch.no_grad():
        unet.conv_out.weight.mul_(2)
    assert_near(run(*calls), eager(editor, *calls))
