"""The options of `mdp-lite app`; they are read before gradio is imported."""

import argparse

from mdp_lite.cli.argument_types import parse_whole


def add_app_options(sub: argparse.ArgumentParser) -> None:
    """The address of the page, and who may reach it."""
    group = sub.add_argument_group("page")
    group.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    group.add_argument(
        "--port", type=parse_whole, metavar="N", help="default: 7860, or the next free port"
    )
    group.add_argument(
        "--share", action="store_true", help="a public link through gradio's servers, for a week"
    )
