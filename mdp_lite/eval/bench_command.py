"""The command `mdp-lite bench`: it passes the work on to one of the benchmarks."""

from collections.abc import Callable
from pathlib import Path

from mdp_lite.cli.commands.bench import BenchOptions, EditBenchOptions, PieOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.reports import Report
from mdp_lite.eval.edits_command import bench_edits
from mdp_lite.eval.inversion_command import bench_inversion
from mdp_lite.eval.pie_command import CSV, RESULTS, bench_pie
from mdp_lite.eval.speed import bench_speed
from mdp_lite.names import BadInput
from mdp_lite.pictures import images

BENCHES: dict[str, Callable[[BenchOptions, Console], Report]] = {
    "speed": bench_speed,
    "edits": bench_edits,
    "pie": bench_pie,
    "inversion": bench_inversion,
}


def bench(args: BenchOptions, console: Console) -> Report:
    """Time the engine's modes, or compare inversions or methods of editing.

    Raises BadInput for options of another benchmark.
    """
    if args.what != "edits" and args.edits != EditBenchOptions():
        raise BadInput(f"bench {args.what} takes no kinds, split, short, guidance scale or sheet")
    if args.what != "pie" and args.pie != PieOptions():
        raise BadInput(f"bench {args.what} takes no data, results, clip or dino")
    for path in list_outputs(args):
        images.check_output(path, None)
    return BENCHES[args.what](args, console)


def list_outputs(args: BenchOptions) -> list[Path]:
    """The files that a benchmark would write at its end."""
    table = (args.pie.results or RESULTS) / CSV if args.what == "pie" else None
    return [path for path in (args.output, args.edits.sheet, table) if path]
