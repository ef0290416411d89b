"""`mdp-lite convert`: a model in another form, pickles as safetensors."""

from mdp_lite.checkpoint.load import convert
from mdp_lite.cli.commands.convert import ConvertOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.loading import read_choices
from mdp_lite.cli.reports import Report
from mdp_lite.names import BadInput
from mdp_lite.pipeline import check


def convert_model(args: ConvertOptions, console: Console) -> Report:
    """Write a model as a folder or a single file; with --dry-run only check that it would load."""
    if args.checkpoint.clip_skip:
        raise BadInput(
            "--clip-skip is for running a model, not for its files, "
            f"got {args.checkpoint.clip_skip}"
        )
    dtype, choices = check.dtype(args.dtype), read_choices(args.checkpoint)
    with console.progress("convert") as on_step:
        result = convert(args.name, args.output, dtype, choices, on_step, args.run.dry_run)
    for note in result.notes:
        console.log(note)
    sizes = {name: f"{size / 1e6:,.1f} MB" for name, size in result.weights.items()}
    verb = "would write" if args.run.dry_run else "wrote"
    data = {
        "command": "convert",
        "dry_run": args.run.dry_run,
        "layout": result.layout,
        "weights": result.weights,
        "notes": list(result.notes),
        "files": [str(result.out)],
    }
    lines = [f"  {name}: {size}" for name, size in sizes.items()]
    return Report({}, data, [f"{verb} {result.out} ({result.layout})", *lines])
