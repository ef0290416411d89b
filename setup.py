"""What pyproject.toml can't say: the native kernels, the wheel's tag, the index page's text."""

import os
import platform
import re
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

KERNELS = "kernels/mdp_lite_kernels/"
FLAGS = ["-O3", "-g0"]  # no -march: a library chooses as it runs


def describe_kernel(name: str, *headers: str) -> Extension:
    """Without a compiler the wheel is pure, its work is torch's, and a run says so."""
    depends = [f"{KERNELS}{header}.h" for header in headers]
    name, source = f"mdp_lite_kernels._{name}", f"{KERNELS}{name}.c"
    return Extension(name, [source], depends=depends, extra_compile_args=FLAGS, optional=True)


EXTENSIONS = [
    describe_kernel("attention", "attention_path", "attention_vector"),
    describe_kernel("group_norm", "group_norm_path", "attention_vector"),
]
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
    """One wheel for every Python 3: for one platform with a kernel, for all without one."""

    def run(self) -> None:
        self.run_command("build")
        if not self._libraries():
            self.distribution.ext_modules = []
            self.root_is_pure = True
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """py3-none, and the oldest glibc that has the kernels' symbols, 2.17 at least."""
        _, _, machine = super().get_tag()
        code = b"".join(library.read_bytes() for library in self._libraries())
        glibc = re.findall(rb"\bGLIBC_2\.(\d+)", code)
        if glibc:
            machine = f"manylinux_2_{max(17, *map(int, glibc))}_{platform.machine()}"
        return "py3", "none", machine

    def _libraries(self) -> list[Path]:
        built = self.get_finalized_command("build_ext")
        paths = [Path(built.get_ext_fullpath(one.name)) for one in EXTENSIONS]
        return [path for path in paths if self.distribution.has_ext_modules() and path.is_file()]


def describe() -> str:
    """README.md for a page outside the repository: a path beside a link's words, not a link."""
    text = Path(__file__).with_name("README.md").read_text("utf-8")
    return LINK.sub(_name_path, text) + WHERE


def _name_path(link: re.Match[str]) -> str:
    words, path = link.groups()
    return f"`{path}`" if words == path else f"{words} (`{path}`)"


setup(
    ext_modules=EXTENSIONS if NATIVE else [],
    cmdclass={"build_ext": PlainLibrary, "bdist_wheel": OneWheel},
    long_description=describe(),
    long_description_content_type="text/markdown",
)
