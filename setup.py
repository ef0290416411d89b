"""Everything is declared in pyproject.toml; a native kernel, once there is one, is built from here."""

from setuptools import setup

setup()
