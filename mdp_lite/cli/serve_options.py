"""The arguments of `mdp-lite serve`; what they set is in mdp_lite/serve/settings.py."""

import argparse

from mdp_lite.cli.argument_types import number, whole


def serving(sub: argparse.ArgumentParser) -> None:
    """Where the service listens, who may use it, and how much of it."""
    group = sub.add_argument_group("service")
    group.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine alone")
    group.add_argument("--port", type=whole, default=8000, metavar="N", help="default: 8000")
    group.add_argument("--alias", default="mdp-lite", help="the model's name for clients")
    group.add_argument(
        "--key-file", metavar="FILE",
        help="API keys, one a line (or: the variable MDP_LITE_API_KEYS, with commas)",
    )  # fmt: skip
    group.add_argument(
        "--open", action="store_true", help="let everybody in who reaches the host, without a key"
    )
    group.add_argument(
        "--origin", action="append", default=[], metavar="URL",
        help="pages that browsers may call from; may be given several times",
    )  # fmt: skip
    group.add_argument(
        "--app", action="store_true", help="the page of mdp-lite app too, under /app (extra [app])"
    )
    _using(group)
    spreading(sub.add_argument_group("on a Ray cluster (--engine ray)"))


def _using(group: "argparse._ArgumentGroup") -> None:
    """How much there may be at once, and what becomes of pictures."""
    group.add_argument(
        "--rows", type=whole, metavar="N",
        help="UNet rows of a call, at most; 0: each picture alone (default: 0 on a CPU)",
    )  # fmt: skip
    group.add_argument(
        "--limit", action="append", default=[], metavar="NAME=VALUE",
        help="one of the limits in the operations guide; may be given several times",
    )  # fmt: skip
    group.add_argument(
        "--no-metadata", dest="metadata", action="store_false",
        help="leave out of pictures how they were made",
    )  # fmt: skip
    group.add_argument(
        "--drain", type=number, default=30.0, metavar="SECONDS",
        help="for requests to end in after SIGTERM (default: 30)",
    )  # fmt: skip
    group.add_argument(
        "--safety-hook", metavar="MODULE:FUNCTION",
        help="called with a list of pictures; says of each whether to hold it back",
    )  # fmt: skip


def spreading(group: "argparse._ArgumentGroup") -> None:
    """How many replicas there are, what each takes, and when another one is started."""
    group.add_argument("--replicas", type=whole, metavar="N", help="at least (default: 1)")
    group.add_argument(
        "--max-replicas", type=whole, metavar="N",
        help="at most, as work waits (default: as --replicas)",
    )  # fmt: skip
    group.add_argument(
        "--replica-rows", type=whole, metavar="N",
        help="UNet rows that wait for each, above which another is started (default: 2000)",
    )  # fmt: skip
    group.add_argument("--replica-cpus", type=whole, metavar="N", help="cores of each (default: 1)")
    group.add_argument(
        "--replica-gpus", type=whole, metavar="N",
        help="GPUs of each (default: 1 if this machine has one)",
    )  # fmt: skip
