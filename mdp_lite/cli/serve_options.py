"""The options of `mdp-lite serve`; mdp_lite/serve/settings.py checks them."""

import argparse

from mdp_lite.cli.argument_types import parse_number, parse_whole


def add_serve_options(sub: argparse.ArgumentParser) -> None:
    """The address of the service, its users and its limits."""
    group = sub.add_argument_group("service")
    group.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    group.add_argument("--port", type=parse_whole, default=8000, metavar="N", help="default: 8000")
    group.add_argument("--alias", default="mdp-lite", help="the model's name for clients")
    group.add_argument(
        "--key-file", metavar="FILE",
        help="API keys, one a line (or the variable MDP_LITE_API_KEYS, separated by commas)",
    )  # fmt: skip
    group.add_argument(
        "--open", action="store_true", help="accept everybody who reaches the host, without a key"
    )
    group.add_argument(
        "--origin", action="append", default=[], metavar="URL",
        help="a page whose scripts browsers let call the service; can be given several times",
    )  # fmt: skip
    group.add_argument(
        "--app", action="store_true",
        help="serve the page of mdp-lite app too, under /app (needs the extra [app])",
    )  # fmt: skip
    _add_limit_options(group)
    _add_replica_options(sub.add_argument_group("on a Ray cluster (--engine ray)"))


def _add_limit_options(group: "argparse._ArgumentGroup") -> None:
    """Batching, limits, and what happens to pictures."""
    group.add_argument(
        "--rows", type=parse_whole, metavar="N",
        help="the most UNet rows of a call; 0: every picture has its own calls (default: 0 on a "
        "CPU)",
    )  # fmt: skip
    group.add_argument(
        "--limit", action="append", default=[], metavar="NAME=VALUE",
        help="a limit that the operations guide lists; can be given several times",
    )  # fmt: skip
    group.add_argument(
        "--no-metadata", dest="metadata", action="store_false",
        help="do not write the settings into pictures",
    )  # fmt: skip
    group.add_argument(
        "--drain", type=parse_number, default=30.0, metavar="SECONDS",
        help="after SIGTERM, the time for requests that have begun (default: 30)",
    )  # fmt: skip
    group.add_argument(
        "--safety-hook", metavar="MODULE:FUNCTION",
        help="a function that gets a list of pictures and returns which of them to withhold",
    )  # fmt: skip


def _add_replica_options(group: "argparse._ArgumentGroup") -> None:
    """How many replicas there are, what each uses, and when another one is started."""
    group.add_argument(
        "--replicas", type=parse_whole, metavar="N", help="the fewest replicas (default: 1)"
    )
    group.add_argument(
        "--max-replicas", type=parse_whole, metavar="N",
        help="the most, started as work waits (default: as --replicas)",
    )  # fmt: skip
    group.add_argument(
        "--replica-rows", type=parse_whole, metavar="N",
        help="waiting UNet rows of each replica above which another one starts (default: 2000)",
    )  # fmt: skip
    group.add_argument(
        "--replica-cpus", type=parse_whole, metavar="N", help="CPU cores of each (default: 1)"
    )
    group.add_argument(
        "--replica-gpus", type=parse_whole, metavar="N",
        help="GPUs of each (default: 1 if this machine has one)",
    )  # fmt: skip
