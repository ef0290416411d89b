"""`mdp-lite invert`: a picture's path, and how near its reconstruction is to the picture."""

import math

from mdp_lite.cli.commands.invert import InvertOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.inputs import open_input
from mdp_lite.cli.reports import Report, build_report
from mdp_lite.cli.requests import read_xl_options
from mdp_lite.cli.sources import (
    build_inversion,
    complete_source,
    pack_source,
    source_from_picture,
)
from mdp_lite.editor import Editor, Source
from mdp_lite.pictures import images
from mdp_lite.pipeline.provenance import describe_source


def invert_picture(args: InvertOptions, editor: Editor, console: Console) -> Report:
    """Invert a picture and reconstruct it at its own size."""
    picture, fit = open_input(args.picture, args.content), args.inversion.fit or "crop"
    inversion = build_inversion(args.inversion, args.run.dry_run)
    source = source_from_picture(
        picture, args.prompt, inversion, fit, args.sampling, editor, console,
        read_xl_options(args.sampling.xl, args.sampling.xl.prompt_2), args.save.record_direction,
    )  # fmt: skip
    source = complete_source(editor, args.save, source)
    reconstruction = source.fit.undo(source.image, source.picture)
    pictures = {args.output: (reconstruction, describe_source(editor.models.name, source))}
    report = build_report(pictures, source.cost, source.truncated)
    report = report._replace(others=pack_source(args.save, source))
    return report if args.run.dry_run else _add_psnr(report, editor, source)


def _add_psnr(report: Report, editor: Editor, source: Source) -> Report:
    """The report with the PSNR of the reconstruction, at the model's size."""
    picture = source.fit.apply(source.picture)
    round_trip = editor.runner.decode(editor.runner.encode(picture))
    psnr = {
        "the picture as fitted": images.psnr(source.image, picture),
        "the VAE's own round trip": images.psnr(source.image, round_trip),
    }
    texts = {k: f"{v:.2f} dB" if math.isfinite(v) else "identical" for k, v in psnr.items()}
    lines = [f"PSNR of the reconstruction against {k}: {v}" for k, v in texts.items()]
    values = [round(v, 3) if math.isfinite(v) else None for v in psnr.values()]  # JSON has no inf
    data = report.data | dict(zip(("psnr_to_picture", "psnr_to_vae"), values, strict=True))
    return report._replace(data=data, lines=[*lines, *report.lines])
