"""The UNet compiled ahead by AOTInductor, for machines and starts that are not to wait for it.

On a CPU the weights lie in the package, packed as its convolutions want them; on a GPU it is code
alone and reads the model's own. Shapes: b rows, y x cells, l tokens, d context_dim.
"""

import os
import platform
import shutil
import tempfile
import threading
import warnings
import zipfile
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn

from mdp_lite.engine import packages
from mdp_lite.engine.graphs import pad_to_bucket
from mdp_lite.engine.packages import Made, Package, Shape
from mdp_lite.models.transformer import SDPA, Attend
from mdp_lite.models.unet import UNet
from mdp_lite.names import BadInput
from mdp_lite.version import __version__

MODEL = "model"  # AOTInductor's name of the one model in a package
WITHIN = "within"  # where the weights of a package for a CPU are


class Packages:
    """A denoiser of the shapes that packages are for; any number of threads may call it at once.

    A call of other rows is split and filled up to those that there are.
    """

    def __init__(self, found: dict[Shape, Package], unet: UNet, device: torch.device) -> None:
        self._found, self._unet, self._device = found, unet, device
        self._dtype = unet.conv_in.weight.dtype
        self._loaded: dict[Shape, Any] = {}
        # One call at a time: code that waits for its turn holds the interpreter, and the one whose
        # turn it is needs that for an operator of ours. A CPU or a GPU runs one at a time anyway.
        self._turn = threading.Lock()

    def counts(self, height: int, width: int, tokens: int) -> list[int]:
        """For how many rows there are packages, of latents (b, 4, height, width)."""
        return sorted(one.rows for one in self._found if one[1:] == (height, width, tokens))

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x); else a ValueError."""
        self._check(x, c)
        cells = (x.shape[2], x.shape[3], c.shape[1])
        counts = self.counts(*cells)
        if not counts:
            known = ", ".join("x".join(map(str, one[1:3])) for one in self._found)
            got = f"{cells[0]}x{cells[1]} cells and {cells[2]} tokens"
            raise BadInput(f"want a package for {got}, got those for {known}: {packages.REMAKE}")
        times = t.float().expand(len(x))  # as the embedding reads them, one for each row
        parts = [
            self._run(next(n for n in counts if n >= len(one[0])), *one)
            for one in zip(*(rows.split(counts[-1]) for rows in (x, times, c)), strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _check(self, x: Tensor, c: Tensor) -> None:
        """The code reads memory as that of the inputs it was compiled for."""
        config = self._unet.config
        got = (x.dtype, c.dtype, x.device.type, x.shape[1], c.shape[2], len(c))
        kind = self._device.type
        want = (self._dtype, self._dtype, kind, config.in_channels, config.cross_attention_dim)
        if got != (*want, len(x)):
            raise BadInput(f"a package's inputs must be {(*want, len(x))}, got {got}")

    def _run(self, count: int, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        shape = Shape(count, x.shape[2], x.shape[3], c.shape[1])
        whole = [one.contiguous() for one in pad_to_bucket(x, t, c, (count,))]
        with self._turn:
            if shape not in self._loaded:
                self._loaded[shape] = _load(self._found[shape], self._unet, self._device)
            return self._loaded[shape].run(whole)[0][: len(x)]


def open_packages(
    folder: Path, unet: UNet, device: torch.device, attend: Attend, model: str
) -> Packages:
    """The packages of a folder that were made for this UNet of the model with this hash, here.

    They are read as they are called for. Raises ValueError where there are none.
    """
    made = made_for(unet, device, attend, model)
    return Packages(packages.matching(packages.found(folder), made), unet, device)


def made_for(unet: UNet, device: torch.device, attend: Attend, model: str) -> Made:
    """What a package of this UNet has to be made for, with the model's content hash."""
    return Made(
        mdp_lite=__version__,
        torch=torch.__version__,
        device=machine(device),
        dtype=str(unet.conv_in.weight.dtype).removeprefix("torch."),
        model=model,
        attention="torch" if attend is SDPA else "native",
        weights=WITHIN if device.type == "cpu" else f"outside, {_layout(unet)}",
    )


def machine(device: torch.device) -> str:
    """The kind of machine: code for one CPU may stop another, or be slow there."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return f"cuda {torch.cuda.get_device_name(device)} sm_{major}{minor}"
    able = torch.cpu.get_capabilities()
    names = sorted(name for name, has in able.items() if has is True)
    features = sha256(" ".join(names).encode()).hexdigest()[:8]
    best = torch.backends.cpu.get_cpu_capability()
    return f"{device.type} {platform.machine()} {best} (features {features})"


def need_compiler() -> None:
    """Raises ValueError where there is no C++ compiler for AOTInductor to call."""
    name = os.environ.get("CXX", "g++")
    if shutil.which(name) is None:
        raise BadInput(f"compile needs a C++ compiler (g++, or what CXX names), got no {name}")


@torch.no_grad()
def compiled(unet: UNet, attend: Attend, shape: Shape, made: Made, folder: Path) -> Package:
    """Compile calls of one shape, which takes a minute or several, and keep that in a folder.

    An older package for the same is replaced. Raises ValueError where there is no C++ compiler.
    """
    need_compiler()
    place = packages.fresh(folder, made, shape)
    try:
        with tempfile.TemporaryDirectory() as beside:
            whole = Path(beside) / f"{MODEL}.pt2"
            _build(unet, attend, shape, whole, made.weights == WITHIN)
            _unpack(whole, place)
        return packages.keep(place, made, shape)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


class _Call(nn.Module):
    """What is exported: one call of the UNet, and how it attends."""

    def __init__(self, unet: UNet, attend: Attend) -> None:
        super().__init__()
        self.unet, self.attend = unet, attend

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return self.unet(x, t, c, self.attend)


def _build(unet: UNet, attend: Attend, shape: Shape, to: Path, within: bool) -> None:
    from torch._inductor import aoti_compile_and_package  # takes a second to import

    like = unet.conv_in.weight
    x = like.new_zeros(shape.rows, unet.config.in_channels, shape.height, shape.width)
    t = torch.zeros(shape.rows, device=like.device)
    c = like.new_zeros(shape.rows, shape.tokens, unet.config.cross_attention_dim)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch to itself
        call = torch.export.export(_Call(unet, attend), (x, t, c), strict=False)
        aoti_compile_and_package(
            call, package_path=str(to), inductor_configs=_options(like, within)
        )


def _options(like: Tensor, within: bool) -> dict[str, Any]:
    """How Inductor compiles for a device."""
    where = {"freezing": within, "aot_inductor.package_constants_in_so": within}
    if like.device.type == "cuda":  # each kernel is tried in several forms, the fastest is kept
        tuned = ("max_autotune", "conv_1x1_as_mm", "coordinate_descent_tuning")
        return where | dict.fromkeys(tuned, True) | {"triton.cudagraphs": False}
    return where | {
        "cpp.threads": os.cpu_count() or 1,
        "cpp.dynamic_threads": True,  # as many as the process that runs it has
        "aot_inductor.precompile_headers": False,  # half a minute, which pays for many packages
    }


def _unpack(whole: Path, place: Path) -> None:
    """The machine code and what goes with it; sources stay behind."""
    with zipfile.ZipFile(whole) as archive:
        for entry in archive.infolist():
            parts = PurePosixPath(entry.filename).parts[1:]  # the first is the package's name
            if parts[:1] == ("data",) and not entry.filename.endswith((".cpp", ".h", "/")):
                to = place.joinpath(*parts)
                to.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, open(to, "xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)


def _load(package: Package, unet: UNet, device: torch.device) -> Any:
    """The code in place, not by torch._inductor, which would look for a compiler."""
    packages.verify(package)
    index = -1 if device.type == "cpu" else device.index or 0
    loader = torch._C._aoti.AOTIModelPackageLoader  # type: ignore[attr-defined]
    try:
        code = loader(str(package.place), MODEL, False, 1, index)
        if package.made.weights != WITHIN:
            known = {f"unet.{name}": weight for name, weight in unet.named_parameters()}
            wanted = {name: known[name].detach() for name in code.get_constant_fqns()}
            code.load_constants(wanted, False, False, True)  # the model's own, not copies
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        name = package.path.name
        raise BadInput(f"package {name} does not load ({reason}): {packages.REMAKE}") from None
    return code


def _layout(unet: UNet) -> str:
    """How the weights of convolutions lie: code that reads them was compiled for that."""
    like = unet.conv_in.weight
    return "contiguous" if like.is_contiguous() else "channels last"
