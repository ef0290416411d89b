"""The peers' table: the same weights through mdp_lite, diffusers, OpenVINO and others, on a CPU.

    python -m benchmarks.peers --make-environments FOLDER              # once, a quarter of an hour
    python -m benchmarks.peers --size sd15 --models FOLDER --environments FOLDER
    python -m benchmarks.peers --size tiny                             # a minute, means nothing

Every peer is a process with the model loaded, in its own environment. They take turns at each piece
of work, and the order flips every round; only one computes at a time. Before that each output is
compared with float32 diffusers; beyond its bound it is not the same work. A peer that is not
installed or fails has a reason instead. Sections go to peers.json as they are measured. --works and
--peers take some, and the others stay. Table and plot are made from that file (--only-report).
"""

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.environments import make_environments
from benchmarks.peers.figures import describe_processor, merge, summarize
from benchmarks.peers.job import make_job, make_toy_job, want_output, write_single_file
from benchmarks.peers.measure import Measured, Quiet, Setup, measure_starts, measure_work
from benchmarks.peers.peers import PEERS, TOYS, Peer
from benchmarks.peers.plot import draw
from benchmarks.peers.table import WORKS, to_markdown
from benchmarks.record import RESULTS, Recorder, format_command, highest, limits
from benchmarks.sides import Model, config, flops, model_of
from mdp_lite.engine import flops as cost
from mdp_lite.eval.resources import read_memory
from mdp_lite.files import atomic

CPU, LIMITED = torch.device("cpu"), (torch.bfloat16, torch.float32)


def read_options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    add = parser.add_argument
    add("--size", default="tiny", help="tiny (bundled), sd15 (random), toy, or a folder")
    add("--models", type=Path, default=Path("models"), help="where sd15 and conversions are, 15 GB")
    add("--environments", type=Path, help="the folder that --make-environments filled")
    add("--make-environments", type=Path, metavar="FOLDER", help="make them, then end")
    add("--works", type=lambda text: text.split(","), default=list(WORKS), help=", ".join(WORKS))
    add(
        "--peers", type=lambda text: text.split(","), help="by name; mdp_lite eager is always there"
    )
    add("--rounds", type=int, default=7)
    add("--steps", type=int, default=12, help="of the whole edit")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--limit", type=float, default=1800, help="seconds after which a silent peer is given up")
    add("--memory", type=float, help="GB that the peers of a group may use together")
    add(
        "--quiet", metavar="COMMAND", help="a command that waits for a quiet machine, see README.md"
    )
    add("--only-report", action="store_true", help="table and plot of what the file has")
    add("--output", type=Path, default=RESULTS / "peers.json")
    return parser.parse_args(words)


def choose_peers(args: argparse.Namespace) -> list[Peer]:
    """The anchor first; a name that does not exist is an error."""
    known = TOYS if args.size == "toy" else PEERS
    names = args.peers or [peer.name for peer in known]
    unknown = set(names) - {peer.name for peer in known}
    if unknown:
        raise SystemExit(f"--peers must be of {', '.join(p.name for p in known)}, got {unknown}")
    return [known[0], *(peer for peer in known[1:] if peer.name in names)]


def count_flops(model: Model, work: str) -> int | None:
    """The FLOPs of a UNet call or of half a VAE, counted on the meta device."""
    if work.startswith("step"):
        return flops(model, int(work.split()[1]))
    settings, _, vae = config(model)
    side = settings.latent_size[0] * vae.factor
    return getattr(cost, work)(vae, side, side).flops if work in ("encode", "decode") else None


def read_file(path: Path) -> dict[str, Any]:
    """The sections that were measured so far."""
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def read_peaks(path: Path, model: Model, peers: Sequence[Peer]) -> dict[str, float]:
    """The bytes that each peer had resident at most when it started cold.

    Twice the weights for a peer of which that was not measured.
    """
    sides = read_file(path).get(f"start {model.name}", {}).get("sides", {})
    guess = 2.0 * sum(one.stat().st_size for one in model.folder.rglob("*.safetensors"))
    return {peer.name: guess for peer in peers} | {k: one["peak"] for k, one in sides.items()}


def find_work(
    setup: Setup, work: str, peers: list[Peer], peaks: dict[str, float], toy: bool
) -> Measured:
    """Measure one piece of work."""
    if work == "start":
        return measure_starts(setup, peers)
    if work == "editor":  # the same code as "edit" and more around it: tests hold its result
        ours = [peer for peer in peers if peer.ours]
        return measure_work(setup, work, ours, peaks, dict.fromkeys([p.name for p in ours]))
    wants = {
        peer.name: want_output(setup, "picture" if peer.makes_pictures else work, toy)
        for peer in peers
    }
    return measure_work(setup, work, peers, peaks, wants)


def measure(args: argparse.Namespace, recorder: Recorder, setup: Setup, model: Model) -> None:
    """Measure the works that are asked for, and store each in its section."""
    peers, toy = choose_peers(args), args.size == "toy"
    for work in args.works:
        peaks = read_peaks(recorder.path, model, peers)
        setup.quiet.hold()
        kinds = () if toy else LIMITED
        before = limits(kinds, CPU)
        found = find_work(setup, work, peers, peaks, toy)
        setup.quiet.hold()
        best = highest(before, limits(kinds, CPU))
        setup.quiet.release()
        rates = {str(dtype).removeprefix("torch."): one.rate for dtype, one in best.items()}
        count = None if toy else count_flops(model, work)
        figures = summarize(found, peers, peers[0].name, count, rates)
        figures |= {"processor": describe_processor(), "rounds": args.rounds, "limits": rates}
        figures |= {"threads": args.threads, "steps": args.steps}
        section = f"{work} {model.name}"
        if args.peers and section in (known := read_file(recorder.path)):
            figures = merge(known[section], figures, peers[0].name)
        recorder.store(section, figures)


def report(args: argparse.Namespace, name: str) -> None:
    """The table and the plot of what the file has on one model."""
    data = read_file(args.output)
    peers = TOYS if args.size == "toy" else PEERS
    settings = describe(data, name)
    page = to_markdown(data, name, peers, settings)
    atomic.write(args.output.with_suffix(".md"), page.encode())
    draw(data, name, peers, settings, args.output.with_suffix(".png"))
    print(page)


def describe(data: dict[str, Any], name: str) -> str:
    """The model, the processor, threads, steps and date of the newest section."""
    sections = [one for key, one in data.items() if key.endswith(f" {name}")]
    last = max(sections, key=lambda one: one["date"])
    on = last["machine"]
    return (
        f"{name}, {on['cores']} cores of {last['processor']}, {last['threads']} threads, "
        f"torch {on['torch']}, edits in {last['steps']} steps, {last['date'][:10]}"
    )


def prepare(args: argparse.Namespace, model: Model, folder: Path) -> None:
    """Write the job, and the model as one file if a peer wants it."""
    if args.size == "toy":
        return make_toy_job(folder)
    make_job(model, folder, args.steps)
    if any(peer.makes_pictures for peer in choose_peers(args)):
        write_single_file(model, folder)
    gc.collect()


def run(args: argparse.Namespace, command: str) -> None:
    """Measure unless only the report is wanted, then write the table and the plot."""
    toy = args.size == "toy"
    model = Model("toy", Path("toy"), CPU) if toy else model_of(args.size, args.models, CPU)
    folder = (args.models / "peers" / model.name).absolute()
    if not args.only_report:
        torch.set_num_threads(args.threads)
        prepare(args, model, folder)
        _, free = read_memory()
        most = args.memory * 1e9 if args.memory else 0.8 * (free or 16e9)
        recorder = Recorder(args.output, command, args.rounds, CPU)
        measure(args, recorder, Setup(
            model.folder.absolute(), folder, args.steps, args.environments, args.threads,
            args.rounds, args.limit, most, Quiet(args.quiet),
        ), model)  # fmt: skip
    report(args, model.name)


def main(words: Sequence[str] | None = None) -> None:
    """Make environments, or measure and report."""
    args = read_options(words)
    if args.make_environments:
        failed = make_environments(args.make_environments)
        raise SystemExit("\n".join(f"{name}: {why}" for name, why in failed.items()) or None)
    run(args, format_command("peers", sys.argv[1:] if words is None else words))


if __name__ == "__main__":
    main()
