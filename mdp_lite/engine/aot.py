"""The UNet compiled ahead of time by AOTInductor, so that a start does not wait for a compiler.

On a CPU a package holds the weights, packed for its convolutions; on a GPU it holds only code,
which reads the model's weights. Shapes: b rows, y x cells, l tokens, d context_dim.
"""

import os
import platform
import shutil
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from mdp_lite.engine import packages
from mdp_lite.engine.packages import BuildTarget, Package, Shape
from mdp_lite.engine.unet_calls import pad_to_bucket
from mdp_lite.models.conv import lay_plain
from mdp_lite.models.transformer import SDPA, Attend
from mdp_lite.models.unet import UNet
from mdp_lite.names import BadInput, CannotWrite
from mdp_lite.version import __version__

MODEL = "model"  # AOTInductor's name of the only model in a package
INSIDE = "within"  # the package itself holds the weights, as on a CPU
METADATA = "_metadata"  # in the name of a JSON file, after the name of the source
# Whether torch loads the folder of a package: 2.13 does, 2.11 wants an archive.
READS_FOLDERS = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13)


class Packages:
    """A denoiser for the shapes of its packages; any number of threads may call it at once.

    A call with another number of rows is split and padded to the row counts of the packages.
    """

    def __init__(self, packages_: dict[Shape, Package], unet: UNet, device: torch.device) -> None:
        self._packages, self._unet, self._device = packages_, unet, device
        self._dtype = unet.conv_in.weight.dtype
        self._loaded: dict[Shape, Any] = {}
        # One call at a time: code that waits inside a package holds the GIL, which the running call
        # needs for our operator. A CPU or a GPU runs one call at a time anyway.
        self._lock = threading.Lock()

    def counts(self, height: int, width: int, tokens: int) -> list[int]:
        """The row counts of the packages for latents (b, 4, height, width)."""
        return sorted(one.rows for one in self._packages if one[1:] == (height, width, tokens))

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x).

        Raises BadInput if there is no package for these cells and tokens.
        """
        self._check(x, c)
        cells = (x.shape[2], x.shape[3], c.shape[1])
        counts = self.counts(*cells)
        if not counts:
            known = ", ".join("x".join(map(str, one[1:3])) for one in self._packages)
            got = f"{cells[0]}x{cells[1]} cells and {cells[2]} tokens"
            raise BadInput(f"want a package for {got}, got those for {known}: {packages.REBUILD}")
        times = t.float().expand(
            len(x)
        )  # float32 and one for each row, as the packages were compiled
        parts = [
            self._run(next(n for n in counts if n >= len(one[0])), *one)
            for one in zip(*(rows.split(counts[-1]) for rows in (x, times, c)), strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _check(self, x: Tensor, c: Tensor) -> None:
        """Raises BadInput for inputs that the compiled code would misread."""
        config = self._unet.config
        got = (x.dtype, c.dtype, x.device.type, x.shape[1], c.shape[2], len(c))
        kind = self._device.type
        want = (self._dtype, self._dtype, kind, config.in_channels, config.cross_attention_dim)
        if got != (*want, len(x)):
            raise BadInput(f"a package's inputs must be {(*want, len(x))}, got {got}")

    def _run(self, count: int, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        shape = Shape(count, x.shape[2], x.shape[3], c.shape[1])
        inputs = [one.contiguous() for one in pad_to_bucket(x, t, c, (count,))]
        with self._lock:
            if shape not in self._loaded:
                self._loaded[shape] = _load(self._packages[shape], self._unet, self._device)
            return self._loaded[shape].run(inputs)[0][: len(x)]


def open_packages(
    folder: Path, unet: UNet, device: torch.device, attend: Attend, model: str
) -> Packages:
    """The packages of a folder for this UNet, device and attention; model is the content hash.

    Each is loaded at its first call. Raises BadInput if there are none.
    """
    target = package_target(unet, device, attend, model)
    matches = packages.match_packages(packages.read_packages(folder), target)
    return Packages(matches, unet, device)


def package_target(unet: UNet, device: torch.device, attend: Attend, model: str) -> BuildTarget:
    """The target that a package for this UNet must have; model is the content hash."""
    return BuildTarget(
        mdp_lite=__version__,
        torch=torch.__version__,
        device=machine(device),
        dtype=str(unet.conv_in.weight.dtype).removeprefix("torch."),
        model=model,
        attention="torch" if attend is SDPA else "native",
        weights=INSIDE if device.type == "cpu" else f"outside, {_layout(unet)}",
    )


def machine(device: torch.device) -> str:
    """The kind of machine: code for one CPU may crash on another, or be slow there."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return f"cuda {torch.cuda.get_device_name(device)} sm_{major}{minor}"
    capabilities = torch.cpu.get_capabilities()
    names = sorted(name for name, has in capabilities.items() if has is True)
    features = sha256(" ".join(names).encode()).hexdigest()[:8]
    best = torch.backends.cpu.get_cpu_capability()
    return f"{device.type} {platform.machine()} {best} (features {features})"


def need_compiler() -> None:
    """Raises BadInput if there is no C++ compiler, which AOTInductor calls."""
    name = os.environ.get("CXX", "g++")
    if shutil.which(name) is None:
        raise BadInput(f"compile needs a C++ compiler (g++, or what CXX names), got no {name}")


@torch.no_grad()
def compile_package(
    unet: UNet, attend: Attend, shape: Shape, target: BuildTarget, folder: Path
) -> Package:
    """Compile calls of one shape, in a minute or more, and save them as a package in a folder.

    It replaces an older package for the same, once it is whole. Raises BadInput if there is no C++
    compiler, CannotWrite if the disk is full, say.
    """
    need_compiler()
    lay_plain(unet)
    code_folder = packages.create_folder(folder, target, shape)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            archive = Path(temporary) / f"{MODEL}.pt2"
            _build(unet, attend, shape, archive, target.weights == INSIDE)
            _unpack(archive, code_folder)
        return packages.save_package(code_folder, target, shape)
    except BaseException:
        shutil.rmtree(code_folder, ignore_errors=True)
        raise


class _ExportedUNet(nn.Module):
    """The module that is exported: one call of the UNet with its attention function."""

    def __init__(self, unet: UNet, attend: Attend) -> None:
        super().__init__()
        self.unet, self.attend = unet, attend

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return self.unet(x, t, c, self.attend)


def _build(unet: UNet, attend: Attend, shape: Shape, path: Path, inside: bool) -> None:
    from torch._inductor import aoti_compile_and_package  # takes a second to import

    like = unet.conv_in.weight
    x = like.new_zeros(shape.rows, unet.config.in_channels, shape.height, shape.width)
    t = torch.zeros(shape.rows, device=like.device)
    c = like.new_zeros(shape.rows, shape.tokens, unet.config.cross_attention_dim)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        call = torch.export.export(_ExportedUNet(unet, attend), (x, t, c), strict=False)
        aoti_compile_and_package(
            call, package_path=str(path), inductor_configs=_options(like, inside)
        )


def _options(like: Tensor, inside: bool) -> dict[str, Any]:
    """Inductor's options for the device of a tensor; inside: the package holds the weights."""
    weights = {"freezing": inside, "aot_inductor.package_constants_in_so": inside}
    if like.device.type == "cuda":  # try each kernel in several forms, use the fastest
        tuning = ("max_autotune", "conv_1x1_as_mm", "coordinate_descent_tuning")
        return weights | dict.fromkeys(tuning, True) | {"triton.cudagraphs": False}
    return weights | {
        "cpp.threads": os.cpu_count() or 1,
        "cpp.dynamic_threads": True,  # as many as the running process has
        "aot_inductor.precompile_headers": False,  # half a minute; pays only for many packages
    }


def _unpack(archive: Path, code_folder: Path) -> None:
    """Extract the machine code and its metadata, but not the sources. Raises CannotWrite."""
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            parts = PurePosixPath(entry.filename).parts[1:]  # the first is the package's name
            if parts[:1] == ("data",) and not entry.filename.endswith((".cpp", ".h", "/")):
                path = code_folder.joinpath(*parts)
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with file.open(entry) as source, open(path, "xb") as copy:
                        shutil.copyfileobj(source, copy, 1 << 20)
                except OSError as error:
                    raise CannotWrite(error.errno, error.strerror, str(path)) from None


def _load(package: Package, unet: UNet, device: torch.device) -> Any:
    """Load the code of a package, without torch._inductor, which would look for a compiler."""
    packages.verify(package)
    index = -1 if device.type == "cpu" else device.index or 0
    loader = torch._C._aoti.AOTIModelPackageLoader  # type: ignore[attr-defined]
    try:
        with _loadable(package.code_folder) as path:
            code = loader(str(path), MODEL, False, 1, index)
        if package.target.weights != INSIDE:
            known = {f"unet.{name}": weight for name, weight in unet.named_parameters()}
            wanted = {name: known[name].detach() for name in code.get_constant_fqns()}
            code.load_constants(wanted, False, False, True)  # the model's own, not copies
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        name = package.path.name
        raise BadInput(f"package {name} does not load ({reason}): {packages.REBUILD}") from None
    return code


@contextmanager
def _loadable(code_folder: Path) -> Iterator[Path]:
    """The folder, or for older torch an archive of it, which torch unpacks once more."""
    if READS_FOLDERS:
        yield code_folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / f"{MODEL}.pt2"
        with zipfile.ZipFile(archive, "x") as file:  # stored, not compressed
            for path in sorted(filter(Path.is_file, code_folder.rglob("*"))):
                name = Path(MODEL) / path.relative_to(code_folder)
                file.write(path, name)
                if path.stem.endswith(METADATA):  # it is looked for by the name of its source
                    file.writestr(
                        str(name.with_name(path.stem.removesuffix(METADATA) + ".cpp")), ""
                    )
        yield archive


def _layout(unet: UNet) -> str:
    """The memory format of the convolutions' weights, for which the code was compiled."""
    like = unet.conv_in.weight
    return "contiguous" if like.is_contiguous() else "channels last"
