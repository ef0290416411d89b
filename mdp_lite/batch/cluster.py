"""The same batch on a Ray cluster: units stream through a pool of workers, outcomes come back.

Workers write the pictures, so a folder that all machines reach has to lie at one path on each; the
driver alone writes the manifest. A unit whose worker is lost goes to another one, which finds what
is written. One worker has one engine: a GPU, or some cores of a CPU.
"""

import json
import logging
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mdp_lite.batch import manifest
from mdp_lite.batch.cells import Values
from mdp_lite.batch.rows import Start, Target, Unit, Wanted
from mdp_lite.batch.work import Outcome, Station, identity

BLOCK = 32  # units, at most, whose outcomes come back together
SPARE = 2  # logical cores beside the workers', for what Ray itself runs


class Worker:
    """One engine, in a process of its own; it works as the driver does, from the same folder."""

    def __init__(self, folder: str, args: Namespace, base: Path) -> None:
        os.chdir(folder)
        torch.set_num_threads(args.worker_cpus)
        editor, known = opened(args), manifest.read(args.output)
        how = (known, args.retry_failed, args.rows)
        self.at = Station(editor, identity(editor), base, args.output, *how)

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """A unit, as to_text says it, to its outcomes."""
        return {"outcomes": json.dumps(resolve_inversion(self.at, from_text(row["unit"])))}


def check_ray() -> None:
    """That Ray is there, or a sentence on what is missing."""
    try:
        import ray.data  # pyright: ignore[reportMissingImports]  # noqa: F401
    except ImportError as error:
        more = "pip install 'mdp-lite[ray]'"
        raise ValueError(f"engine ray needs more: {more} ({error})") from None


def streamed(args: Namespace, base: Path, units: list[Unit]) -> Iterator[list[Outcome]]:
    """What becomes of units, in the order in which they are done."""
    import ray  # pyright: ignore[reportMissingImports]

    with _cluster(args):
        workers = args.workers or _workers(args.worker_cpus)
        gpus = 1 if ray.cluster_resources().get("GPU", 0) and args.device != "cpu" else 0
        blocks = max(1, min(len(units), max(8 * workers, len(units) // BLOCK)))
        rows = ray.data.from_items(
            [{"unit": to_text(unit)} for unit in units], override_num_blocks=blocks
        )
        done = rows.map(
            Worker,
            fn_constructor_args=(os.getcwd(), args, base),
            compute=ray.data.ActorPoolStrategy(size=min(workers, blocks)),
            num_cpus=args.worker_cpus,
            num_gpus=gpus,
        )
        for row in done.iter_rows():
            yield [Outcome(*one) for one in json.loads(row["outcomes"])]


def to_text(unit: Unit) -> str:
    """A unit as JSON: Ray's blocks hold texts and numbers."""
    wanted = [[one.row, one.name, asdict(one.target)] for one in unit.wanted]
    return json.dumps([asdict(unit.start), wanted])


def from_text(text: str) -> Unit:
    """The unit of to_text, equal to the one it was."""
    start, wanted = json.loads(text)
    return Unit(Start(**start), tuple(_wanted(*one) for one in wanted))


def _wanted(row: int, name: str, said: Values) -> Wanted:
    told: Values = {"box": said["box"] and tuple(said["box"])}
    return Wanted(row, name, Target(**said | told))


def _workers(cpus: int) -> int:
    """One for each GPU of the cluster, or as many as its cores are enough for."""
    import ray  # pyright: ignore[reportMissingImports]

    there = ray.cluster_resources()
    return int(there.get("GPU", 0)) or max(1, int(there.get("CPU", 1) - SPARE) // cpus)


@contextmanager
def _cluster(args: Namespace) -> Iterator[None]:
    """The cluster of RAY_ADDRESS, or one of this machine for as long as the batch runs."""
    import ray  # pyright: ignore[reportMissingImports]

    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False, logging_level="ERROR")
    else:
        cores = max(os.cpu_count() or 1, (args.workers or 1) * args.worker_cpus)
        ray.init(
            num_cpus=cores + SPARE, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR",
        )  # fmt: skip
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False  # the batch has its own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
