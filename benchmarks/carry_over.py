"""Whether settings that were chosen on the first bundled model hold on the second.

    python -m benchmarks.carry_over --work FOLDER [--pictures 64] [--tuning 20] [--steps 12]

Every method of `mdp-lite bench edits` edits pictures of both models' worlds at the settings chosen
on the first, unchanged: both cases, the ten kinds that both worlds have. Then, apart, the second
model's settings are chosen anew: on its tune split, among the candidates that the first model's
were chosen from, by right and kept over both cases together; they are measured on the same edits.

FOLDER gets every figure of every edit, from which a run that was stopped goes on. The tables go to
results/carry_over.json and .md, or where --out says; seconds are in neither, so two runs are equal.
"""

import argparse
from pathlib import Path

from benchmarks.carry_over_tables import Carried, Plain, Retuned, compare_models, format_page
from benchmarks.record import RESULTS
from mdp_lite.cli.commands.bench import BenchOptions, EditBenchOptions
from mdp_lite.cli.console import Console, open_console
from mdp_lite.cli.model_options import ModelOptions, RunOptions
from mdp_lite.eval.edit_batches import CASES
from mdp_lite.eval.edits import KINDS
from mdp_lite.eval.edits_command import EDITS, STEPS, EditsBench, build_job, measure_missing
from mdp_lite.eval.figures_file import read_figures, to_json, write_figures
from mdp_lite.eval.inversions import Sections
from mdp_lite.eval.methods import ANCHORS, build_candidates, build_methods
from mdp_lite.files import atomic
from mdp_lite.names import DTYPES, BadInput

TUNING = 20  # edits of each kind that settings are chosen on
LOCAL, INVERTED = " local leash", " inverted"
SIDES = ("first", "second")
# What known figures must have in common with those that are measured.
EQUAL = ("edits", "split", "first_seed", "steps", "guidance", "model", "dtype", "device")
Candidates = dict[str, dict[str, dict[str, str]]]  # method -> setting -> case -> candidate's name
Figures = dict[str, Sections]  # "real color" -> method -> measure -> one number an edit


def list_candidates(n: int) -> Candidates:
    """The settings to choose from, for each method that has some, by case.

    A candidate counts if it starts from the same source as its method.
    """
    found: Candidates = {}
    for case in CASES:
        methods = build_methods(case, n)
        for label, candidate in build_candidates(case, n).items():
            name, setting = name_method(label), label.removesuffix(INVERTED)
            if name in methods and methods[name].source == candidate.source:
                found.setdefault(name, {}).setdefault(setting, {})[case] = label
    return {name: settings for name, settings in found.items() if len(settings) > 1}


def name_method(label: str) -> str:
    """The method of a candidate; that of "mdp-x 12/4 leash inverted" is mdp-x-inverted."""
    if LOCAL in label:
        return "mdp-local"
    return label.split()[0] + ("-inverted" if label.endswith(INVERTED) else "")


def choose_settings(tuned: Figures, candidates: Candidates) -> dict[str, str]:
    """For each method the setting that is right and kept most often over its cases together."""
    return {
        name: max(settings, key=lambda setting: share_of_both(tuned, settings[setting]))
        for name, settings in candidates.items()
    }


def share_of_both(tuned: Figures, labels: dict[str, str]) -> float:
    """The share of edits that are right and kept, over all cases that a setting has."""
    values = [
        value
        for name, section in tuned.items()
        for case, label in labels.items()
        if name.startswith(f"{case} ")
        for value in section[label]["both"]
    ]
    return sum(values) / len(values)


def open_job(args: argparse.Namespace, side: str, split: str, file: str) -> EditsBench:
    """The edits of one model's world in a split; of split tune the methods are candidates."""
    tunes, dtype = split == "tune", args.second_dtype if side == "second" else "auto"
    options = BenchOptions(
        what="edits", steps=args.steps, pictures=args.tuning if tunes else args.pictures,
        methods=() if tunes else tuple(args.methods), output=args.work / f"{file}.json",
        edits=EditBenchOptions(kinds=tuple(args.kinds), split=split),
        model=ModelOptions(name=getattr(args, side), device="cpu", dtype=dtype),
    )  # fmt: skip
    return build_job(options)


def measure(job: EditsBench, console: Console, known: Path | None = None) -> Figures:
    """The figures of a job; those that its file or the known one has are not measured again.

    Other kinds that these files have stay in the job's file, and are not returned.
    """
    figures = read_figures(job.output, job.settings)
    same = {name: job.settings[name] for name in EQUAL}
    for name, section in read_figures(known, same).items():
        figures[name] = section | figures.get(name, {})
    measure_missing(job, figures, console)
    write_figures(job.output, {"settings": job.settings}, figures)
    wanted = [f"{case} {kind}" for case in CASES for kind in job.kinds]
    return {name: figures[name] for name in wanted if name in figures}


def retune(args: argparse.Namespace, job: EditsBench, console: Console) -> dict[str, Retuned]:
    """Choose the second model's own settings, and measure them on the edits of its job."""
    known = {name for methods in job.methods.values() for name in methods}
    every = list_candidates(job.settings["steps"])
    candidates = {name: settings for name, settings in every.items() if name in known}
    tuning = open_job(args, "second", "tune", "second-tune")
    tried = [labels for settings in candidates.values() for labels in settings.values()]
    tuned = measure(keep_methods(tuning, tried), console)
    chosen = choose_settings(tuned, candidates)
    labels = {name: candidates[name][setting] for name, setting in chosen.items()}
    again = keep_methods(tuning, list(labels.values())).methods
    output = args.work / "second-retuned.json"
    figures = measure(job._replace(methods=again, output=output), console)
    own = {
        case: {name: some[case] for name, some in labels.items() if case in some} for case in CASES
    }
    return {case: Retuned(own[case], select_case(figures, case)) for case in CASES}


def keep_methods(job: EditsBench, labels: list[dict[str, str]]) -> EditsBench:
    """The job with these candidates alone, each given by case."""
    kept = {case: {one[case] for one in labels if case in one} for case in CASES}
    methods = {
        case: {label: one for label, one in some.items() if label in kept[case]}
        for case, some in job.methods.items()
    }
    return job._replace(methods=methods)


def select_case(figures: Figures, case: str) -> Figures:
    """The figures of one case, by kind."""
    start = f"{case} "
    return {k.removeprefix(start): v for k, v in figures.items() if k.startswith(start)}


def run(args: argparse.Namespace, console: Console) -> list[Path]:
    """Measure what the work folder lacks, and write both tables.

    Raises BadInput for a known file that is not there, and for less than 0 edits to tune on.
    """
    if args.known and not args.known.is_file():
        raise BadInput(f"known must be a file of figures, got {args.known}, which is not there")
    if args.tuning < 0:
        raise BadInput(f"tuning must be 0 or more, got {args.tuning}")
    args.work.mkdir(parents=True, exist_ok=True)
    jobs = [open_job(args, side, "report", side) for side in SIDES]
    first, second = measure(jobs[0], console, args.known), measure(jobs[1], console)
    retuned = retune(args, jobs[1], console) if args.tuning else {}
    cases = {
        case: compare_models(select_case(first, case), select_case(second, case), retuned.get(case))
        for case in CASES
    }
    measured = {name for table in cases.values() for name in table["methods"]}
    known = describe_known(args.known, measured)
    carried = Carried([job.settings for job in jobs], args.tuning, known, cases)
    data, page = (args.out.with_suffix(suffix) for suffix in (".json", ".md"))
    atomic.write(data, (to_json(carried._asdict()) + "\n").encode())
    atomic.write(page, ("\n".join(format_page(carried)) + "\n").encode())
    return [data, page]


def describe_known(known: Path | None, measured: set[str]) -> Plain | None:
    """Of the measured methods those whose figures on the first model are from an earlier file."""
    if known is None:
        return None
    there = {name for section in read_figures(known, {}).values() for name in section}
    return {"file": known.name, "methods": sorted(there & measured - {*ANCHORS})}


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.carry_over", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--work", type=Path, required=True, help="a folder for all figures")
    parser.add_argument("--out", type=Path, default=RESULTS / "carry_over.json")
    parser.add_argument("--first", default="tiny", help="the model that settings were chosen on")
    parser.add_argument("--second", default="small", help="the model that they are tried on")
    parser.add_argument("--known", type=Path, help="a file of bench edits of the first model, of\n"
                        "the same edits: what it has is not measured again")  # fmt: skip
    parser.add_argument("--second-dtype", choices=DTYPES, default="auto")
    parser.add_argument("--pictures", type=int, default=EDITS, help="edits of each kind")
    parser.add_argument("--tuning", type=int, default=TUNING, help="edits to tune on; 0: do not")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--methods", nargs="*", default=(), help="default all")
    parser.add_argument("--kinds", nargs="*", default=tuple(KINDS), help="of edits; default all")
    return parser


def main() -> None:
    """Read the command line, measure, and say what was written."""
    parser = make_parser()
    try:
        for path in run(parser.parse_args(), open_console(RunOptions())):
            print("wrote", path)
    except BadInput as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
