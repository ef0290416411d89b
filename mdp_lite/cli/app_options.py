"""The arguments of `mdp-lite app`, read before gradio is imported."""

import argparse

from mdp_lite.cli.argument_types import whole


def hosting(sub: argparse.ArgumentParser) -> None:
    """Where the page is served, and who may reach it."""
    group = sub.add_argument_group("page")
    group.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine alone")
    group.add_argument(
        "--port", type=whole, metavar="N", help="default: 7860, or the next that is free"
    )
    group.add_argument(
        "--share", action="store_true", help="a public link through gradio's servers, for a week"
    )
