"""Everything is declared in pyproject.toml but the native kernel, built where a compiler is."""

import os
import platform

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class PlainLibrary(build_ext):
    """A shared library for ctypes: no Python symbols, so one name for every version of Python."""

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + ".so"


KERNELS = "kernels/mdp_lite_kernels/"
ATTENTION = Extension(
    "mdp_lite_kernels._attention",
    [KERNELS + "attention.c"],
    depends=[KERNELS + "attention_path.h", KERNELS + "attention_vector.h"],
    extra_compile_args=["-O3", "-g0"],  # no -march: the library chooses as it runs
    optional=True,  # without a compiler there is a notice, and attention is torch's
)
NATIVE = os.name == "posix" and platform.machine() in ("x86_64", "AMD64")

setup(ext_modules=[ATTENTION] if NATIVE else [], cmdclass={"build_ext": PlainLibrary})
