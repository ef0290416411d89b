"""The same batch on a Ray cluster: units go to a pool of workers, outcomes come back.

Workers write the pictures, so the output folder must be at the same path on all machines. Only the
driver writes the manifest. If a worker is lost, its unit goes to another one, which finds what was
already written. Each worker has one model: on a GPU, or on some cores of a CPU.
"""

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mdp_lite.batch.columns import EntryValues
from mdp_lite.batch.entries import BatchEdit, BatchUnit, SourceSpec, TargetSpec
from mdp_lite.batch.manifest import read_sizes
from mdp_lite.batch.work import BatchContext, Outcome, identify_model, process_unit
from mdp_lite.cli.commands.batch import BatchOptions
from mdp_lite.cli.loading import open_editor
from mdp_lite.names import BadInput, MissingExtra
from mdp_lite.pipeline.xl import XLCondition, from_settings

BLOCK = 32  # units, at most, whose outcomes come back together
CONNECT_SECONDS = 5.0  # for the first answer of a cluster
SPARE_CORES = 2  # logical cores beside the workers', for what Ray itself runs


class Worker:
    """One model in its own process, which works from the same folder as the driver."""

    def __init__(self, folder: str, args: BatchOptions, base: Path) -> None:
        os.chdir(folder)
        torch.set_num_threads(args.worker.worker_cpus)
        editor, sizes = open_editor(args.model, args.engine), read_sizes(args.output)
        self.context = BatchContext(
            editor, identify_model(editor), base, args.output, sizes, args.retry_failed, args.rows
        )

    def __call__(self, item: dict[str, Any]) -> dict[str, str]:
        """Process a unit in the form of unit_to_text; the outcomes are a text too."""
        outcomes = process_unit(self.context, text_to_unit(item["unit"]))
        return {"outcomes": json.dumps(outcomes)}


def check_ray() -> None:
    """Raise MissingExtra if Ray is not installed."""
    try:
        import ray.data  # pyright: ignore[reportMissingImports]  # noqa: F401
    except ImportError as error:
        more = "pip install 'mdp-lite[ray]'"
        raise MissingExtra(f"engine ray needs more: {more} ({error})") from None


def check_cluster() -> None:
    """Raise MissingExtra without Ray, BadInput if nothing answers at the host of RAY_ADDRESS."""
    check_ray()
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except OSError as error:
            got = f"{address!r} ({error.strerror or error})"
            raise BadInput(f"RAY_ADDRESS must be that of a running cluster, got {got}") from None


def stream_outcomes(
    args: BatchOptions, base: Path, units: list[BatchUnit]
) -> Iterator[list[Outcome]]:
    """Process units on the cluster; yields the outcomes of a unit as soon as it is done."""
    import ray  # pyright: ignore[reportMissingImports]

    with _start_cluster(args):
        workers = args.worker.workers or _count_workers(args.worker.worker_cpus)
        gpus = 1 if ray.cluster_resources().get("GPU", 0) and args.model.device != "cpu" else 0
        blocks = max(1, min(len(units), max(8 * workers, len(units) // BLOCK)))
        items = ray.data.from_items(
            [{"unit": unit_to_text(unit)} for unit in units], override_num_blocks=blocks
        )
        done = items.map(
            Worker,
            fn_constructor_args=(os.getcwd(), args, base),
            compute=ray.data.ActorPoolStrategy(size=min(workers, blocks)),
            num_cpus=args.worker.worker_cpus,
            num_gpus=gpus,
        )
        for item in done.iter_rows():
            yield [Outcome(*one) for one in json.loads(item["outcomes"])]


def unit_to_text(unit: BatchUnit) -> str:
    """A unit as JSON, because Ray's blocks hold texts and numbers."""
    edits = [[one.number, one.name, asdict(one.target)] for one in unit.edits]
    return json.dumps([asdict(unit.source), edits])


def text_to_unit(text: str) -> BatchUnit:
    """The unit of unit_to_text, equal to the original."""
    source, edits = json.loads(text)
    spec = SourceSpec(**source | {"xl": _build_xl(source)})
    return BatchUnit(spec, tuple(_build_edit(*one) for one in edits))


def _build_edit(number: int, name: str, target: EntryValues) -> BatchEdit:
    box: EntryValues = {"box": target["box"] and tuple(target["box"])}  # JSON made it a list
    settings: EntryValues = target | box | {"xl": _build_xl(target)}
    return BatchEdit(number, name, TargetSpec(**settings))


def _build_xl(spec: EntryValues) -> XLCondition:
    """What SDXL reads, from the fields that are given."""
    return from_settings({name: value for name, value in spec["xl"].items() if value is not None})


def _count_workers(cpus: int) -> int:
    """One worker for each GPU of the cluster, or as many as its cores allow."""
    import ray  # pyright: ignore[reportMissingImports]

    resources = ray.cluster_resources()
    return int(resources.get("GPU", 0)) or max(
        1, int(resources.get("CPU", 1) - SPARE_CORES) // cpus
    )


@contextmanager
def _start_cluster(args: BatchOptions) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or start one on this machine while the batch runs."""
    import ray  # pyright: ignore[reportMissingImports]

    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False, logging_level="ERROR")
    else:
        cores = max(os.cpu_count() or 1, (args.worker.workers or 1) * args.worker.worker_cpus)
        ray.init(
            num_cpus=cores + SPARE_CORES, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR",
        )  # fmt: skip
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False  # the batch has its own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
