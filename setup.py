"""What pyproject.toml can't say: the native kernel, the wheel's tag, the index page's text."""

import os
import platform
import re
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

KERNELS = "kernels/mdp_lite_kernels/"
ATTENTION = Extension(
    "mdp_lite_kernels._attention",
    [KERNELS + "attention.c"],
    depends=[KERNELS + "attention_path.h", KERNELS + "attention_vector.h"],
    extra_compile_args=["-O3", "-g0"],  # no -march: the library chooses as it runs
    optional=True,  # without a compiler the wheel is pure, attention is torch's, and a run says so
)
NATIVE = os.name == "posix" and platform.machine() in ("x86_64", "AMD64")
LINK = re.compile(r"!?\[([^\]]+)\]\((?!https?:|#)([^)\s]+)\)")
WHERE = "\nPaths in this text are those of the source distribution.\n"


class PlainLibrary(build_ext):
    """A shared library for ctypes: no Python symbols, so one name for every version of Python."""

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + ".so"

    def build_extension(self, ext: Extension) -> None:
        """Build it, or leave none: the library of an earlier build may be of another source."""
        Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        super().build_extension(ext)

    def copy_extensions_to_source(self) -> None:
        """The same in the source tree, for an editable install."""
        for ext in self.extensions:
            (Path(KERNELS) / self.get_ext_filename(ext.name.split(".")[-1])).unlink(missing_ok=True)
        super().copy_extensions_to_source()


class OneWheel(bdist_wheel):
    """One wheel for every Python 3: for one platform with the kernel, for all without it."""

    def run(self) -> None:
        self.run_command("build")
        if not self._library():
            self.distribution.ext_modules = []
            self.root_is_pure = True
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """py3-none, and the oldest glibc that has the kernel's symbols, 2.17 at least."""
        _, _, machine = super().get_tag()
        library = self._library()
        glibc = re.findall(rb"\bGLIBC_2\.(\d+)", library.read_bytes()) if library else []
        if glibc:
            machine = f"manylinux_2_{max(17, *map(int, glibc))}_{platform.machine()}"
        return "py3", "none", machine

    def _library(self) -> Path | None:
        built = self.get_finalized_command("build_ext")
        path = Path(built.get_ext_fullpath(ATTENTION.name))
        return path if self.distribution.has_ext_modules() and path.is_file() else None


def describe() -> str:
    """README.md for a page outside the repository: a path beside a link's words, not a link."""
    text = Path(__file__).with_name("README.md").read_text("utf-8")
    return LINK.sub(_name_path, text) + WHERE


def _name_path(link: re.Match[str]) -> str:
    words, path = link.groups()
    return f"`{path}`" if words == path else f"{words} (`{path}`)"


setup(
    ext_modules=[ATTENTION] if NATIVE else [],
    cmdclass={"build_ext": PlainLibrary, "bdist_wheel": OneWheel},
    long_description=describe(),
    long_description_content_type="text/markdown",
)
