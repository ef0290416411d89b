"""`mdp-lite edit`: a picture, or a generated one, edited by a prompt."""

from dataclasses import replace
from typing import NamedTuple

from mdp_lite.cli.commands.edit import EditCommandOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.reports import Pictures, Report, add_suffix, build_report, build_sheet_row
from mdp_lite.cli.requests import build_request, choose_variants, read_mask_option
from mdp_lite.cli.sources import choose_source, complete_source, log_truncation, pack_source
from mdp_lite.editor import Edit, Editor, Source
from mdp_lite.names import BadInput
from mdp_lite.pictures.sheets import Row, sheet
from mdp_lite.pipeline.provenance import Settings, describe_edit, describe_reuse
from mdp_lite.pipeline.result import add_costs

PREVIEWS = 8  # of an edit, on the sheet of --previews


class VariantEdit(NamedTuple):
    """The edit by one variant, and labelled previews of its steps if --previews is given."""

    edit: Edit
    previews: Row


def make_edits(args: EditCommandOptions, editor: Editor, console: Console) -> Report:
    """Edit a source by one variant or all: the pictures, and what else is asked for."""
    source = complete_source(editor, args.save, choose_source(args, editor, console, args.seed))
    variants = choose_variants(args)
    results = [edit_variant(args, editor, console, source, variant) for variant in variants]
    edits = [one.edit for one in results]
    pictures = _describe_pictures(args, editor, source, edits)
    _add_pages(args, editor, source, results, pictures)
    cost = add_costs(source.cost, *(one.cost for one in edits))
    report = build_report(pictures, cost, source.truncated or edits[0].truncated)
    costs = {one.variant: one.cost._asdict() for one in edits}
    late = [f"{one.variant}: stopped at the deadline" for one in edits if not one.finished]
    data = {"finished": not late, "costs": {"source": source.cost._asdict(), **costs}}
    return report._replace(
        data=report.data | data, lines=[*report.lines, *late], others=pack_source(args.save, source)
    )


def edit_variant(
    args: EditCommandOptions, editor: Editor, console: Console, source: Source, variant: str
) -> VariantEdit:
    """Run the edit by one variant, and preview some of its steps if --previews is given."""
    log_truncation(editor, console, args.prompt)
    request = replace(
        build_request(args, source, variant),
        mask=read_mask_option(args.mask, console), paste=args.mask.paste, feather=args.mask.feather,
    )  # fmt: skip
    previews: Row = []
    count = 0  # of the PREVIEWS equal parts of the edit that are done
    with console.progress(f"edit {variant}") as on_step:
        for done, steps, _, (state,) in editor.steps([request], deadline=args.deadline):
            if on_step:
                on_step(done, steps, state.x)
            count, last = PREVIEWS * done // steps, count
            if args.previews and (count > last or not previews):
                previews.append((f"{variant}: {done} of {steps} steps", editor.preview(state)))
    return VariantEdit(editor.result(state), previews)


def _describe_window(args: EditCommandOptions) -> Settings:
    """The options of an edit that a picture's settings say."""
    edit = args.edit
    return {
        "t_max": edit.t_max, "t_m": edit.t_m, "schedule": edit.schedule, "strength": edit.strength,
        "weight": edit.weight, "deadline": args.deadline, "proximal": edit.proximal,
        **describe_reuse(edit.guidance_every),
    }  # fmt: skip


def _describe_pictures(
    args: EditCommandOptions, editor: Editor, source: Source, edits: list[Edit]
) -> Pictures:
    """The edited pictures by file, each with its settings."""
    window = _describe_window(args)
    pictures: Pictures = {}
    for one in edits:
        path = args.output if len(edits) == 1 else add_suffix(args.output, f"-{one.variant}")
        pictures[path] = (one.picture, describe_edit(editor.models.name, source, one, window))
    return pictures


def _add_pages(
    args: EditCommandOptions,
    editor: Editor,
    source: Source,
    results: list[VariantEdit],
    pictures: Pictures,
) -> None:
    """Add the sheet, the previews and the mask to the pictures, with the first edit's settings."""
    edits = [one.edit for one in results]
    window = _describe_window(args) | {"variant": args.edit.variant or edits[0].variant}
    settings = describe_edit(editor.models.name, source, edits[0], window)
    pages = {}
    if args.sheet:
        pages["--sheet"] = (args.sheet, sheet([build_sheet_row(source, edits)]))
    if args.previews:
        pages["--previews"] = (args.previews, sheet([one.previews for one in results]))
    if args.mask_file.save_mask and edits[0].mask:
        pages["--save-mask"] = (args.mask_file.save_mask, edits[0].mask)
    for name, (path, image) in pages.items():
        if path in pictures:
            raise BadInput(f"{name} must be another file than the picture, got {str(path)!r}")
        pictures[path] = (image, settings)
