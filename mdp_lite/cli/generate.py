"""`mdp-lite generate`: a picture from a prompt and a seed."""

from mdp_lite.cli.commands.generate import GenerateOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.reports import Report, build_report
from mdp_lite.cli.sources import complete_source, pack_source, source_from_prompt
from mdp_lite.editor import Editor
from mdp_lite.pipeline.provenance import describe_source


def generate_picture(args: GenerateOptions, editor: Editor, console: Console) -> Report:
    """Generate a picture."""
    source = source_from_prompt(
        args.sampling, editor, console, args.prompt, args.seed,
        args.sampling.xl.prompt_2, args.record_noise, args.save.record_direction,
    )  # fmt: skip
    source = complete_source(editor, args.save, source)
    pictures = {args.output: (source.image, describe_source(editor.models.name, source))}
    report = build_report(pictures, source.cost, source.truncated)
    return report._replace(others=pack_source(args.save, source))
