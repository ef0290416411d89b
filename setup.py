"""Everything is declared in pyproject.toml; a native kernel, once there is one, is built here."""

from setuptools import setup

setup()
