"""Every method on the same edits: MDP, its rivals, and anchors that give the scores a scale.

All have the same UNet, weights, grid and guidance, and the same source paths.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mdp_lite.eval.choosing import LEASHES, MIDDLE, SHARE, choose, list_local_leashes, list_windows
from mdp_lite.eval.edit_batches import GENERATED, BatchSource, EditBatch
from mdp_lite.eval.edit_scores import score_edits
from mdp_lite.eval.inversions import round_figures
from mdp_lite.eval.rivals.alignment import align_refinement, align_replacement
from mdp_lite.eval.rivals.masactrl import masactrl
from mdp_lite.eval.rivals.plain import edit_friendly, regenerate, sdedit
from mdp_lite.eval.rivals.plug_and_play import plug_and_play
from mdp_lite.eval.rivals.prompt_to_prompt import AttentionControl, prompt_to_prompt
from mdp_lite.eval.rivals.tables import TABLE_RIVALS, TRIED
from mdp_lite.eval.rivals.task import EditedLatents, RivalTask
from mdp_lite.eval.score import Figures, decode, render, round_trip
from mdp_lite.eval.sweep import EvalCell, run_cells
from mdp_lite.method.schedule import DEFAULT_WINDOWS, LOCAL_WINDOW, T_MAX, paper_window
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD

RunMethod = Callable[[EditBatch, BatchSource], EditedLatents]
ALIGNMENTS = {"replace": align_replacement, "refine": align_refinement}
ANCHORS = ("no edit", "vae", "truth")  # beside regenerating, which calls the UNet
VARIANTS = ("c", "epsilon", "x", "beta")  # in the order of all tables so far
# Tuned on the tune split; methods without a line here are best there as their authors set them.
CONTROL, STRENGTH, SKIP = AttentionControl(cross=0.4, self_=0.4), 0.5, 0.27


class EditMethod(NamedTuple):
    """How an edit is made, and the name of the source in a batch that it starts from."""

    source: str
    run: RunMethod


class MethodOutput(NamedTuple):
    """Pictures (b, 3, y, x); UNet rows of one edit and of its source; seconds of one edit.

    The seconds are those of the whole batch divided by b.
    """

    pictures: Tensor
    rows: float = 0.0
    source_rows: float = 0.0
    seconds: float = 0.0


def build_methods(case: str, n: int) -> dict[str, EditMethod]:
    """All methods to compare over n steps, by name; one setting serves every kind of edit."""
    real = case == "real"
    own, path, tuned = (DEFAULT_METHOD, "replay", "null-text") if real else (GENERATED,) * 3
    methods = {f"mdp-{v}": EditMethod(own, partial(run_mdp, variant=v)) for v in VARIANTS}
    cell = EvalCell("epsilon", *paper_window(n))
    paper = partial(run_mdp, variant="epsilon", cell=cell)
    methods["mdp-epsilon-paper"] = EditMethod(path, paper)
    if not real:
        methods["mdp-x-inverted"] = EditMethod(DEFAULT_METHOD, partial(run_mdp, variant="x"))
    local = partial(run_mdp, variant="epsilon", cell=local_cell(n))
    methods["mdp-local"] = EditMethod(DEFAULT_METHOD, local)
    methods["regenerate"] = EditMethod(path, partial(_run_rival, rival=regenerate))
    for name, how, control in (
        ("p2p-replace", "replace", CONTROL),
        ("p2p-refine", "refine", CONTROL),
        ("p2p-reweight", "refine", CONTROL._replace(weight=2.0)),
        ("p2p-blend", "refine", CONTROL._replace(blend=True)),
    ):
        run = partial(run_prompt_to_prompt, alignment=how, control=control)
        methods[name] = EditMethod(tuned, run)
    if real:
        run = partial(run_prompt_to_prompt, alignment="refine", control=CONTROL)
        methods["pnp-inversion-p2p"] = EditMethod(path, run)
    friendly = partial(_run_rival, rival=partial(edit_friendly, skip=SKIP))
    family = {name: _build_table_rival(name, path, *tried[0]) for name, tried in TRIED.items()}
    return (
        methods
        | family
        | {
            "sdedit": EditMethod(path, run_sdedit),
            "edit-friendly": EditMethod(DEFAULT_METHOD, friendly),
            "masactrl": EditMethod(path, partial(_run_rival, rival=masactrl)),
            "pnp-features": EditMethod(path, partial(_run_rival, rival=plug_and_play)),
        }
    )


def build_candidates(case: str, n: int) -> dict[str, EditMethod]:
    """The candidates for each method's one setting, which is chosen on the tune split.

    Prompt-to-Prompt's are only compared on generated pictures: null-text would take most of the
    time.
    """
    real = case == "real"
    own, path = (DEFAULT_METHOD, "replay") if real else (GENERATED,) * 2
    settings = _mdp_settings(own, n, real)
    for cross, self_ in () if real else ((0.8, 0.4), (0.8, 0.6), (0.4, 0.4)):
        control = AttentionControl(cross, self_)
        run = partial(run_prompt_to_prompt, alignment="refine", control=control)
        settings[f"p2p-refine {cross:g}/{self_:g}"] = EditMethod(own, run)
    for strength in (0.5, 0.65, 0.8):
        run = partial(run_sdedit, strength=strength)
        settings[f"sdedit {strength:g}"] = EditMethod(path, run)
    for skip in (0.2, 0.27, 0.36, 0.5):
        run = partial(_run_rival, rival=partial(edit_friendly, skip=skip))
        settings[f"edit-friendly {skip:g}"] = EditMethod(DEFAULT_METHOD, run)
    for step in (0.08, 0.2):
        run = partial(_run_rival, rival=partial(masactrl, step=step))
        settings[f"masactrl {step:g}"] = EditMethod(path, run)
    for features, attention in ((0.8, 0.5), (0.5, 0.3), (0.3, 0.2)):
        rival = partial(plug_and_play, features=features, attention=attention)
        label = f"pnp-features {features:g}/{attention:g}"
        settings[label] = EditMethod(path, partial(_run_rival, rival=rival))
    for name, tried in TRIED.items():
        for values in tried:
            label = f"{name} {'/'.join(f'{value:g}' for value in values)}"
            settings[label] = _build_table_rival(name, path, *values)
    return settings


def _build_table_rival(name: str, path: str, *values: float) -> EditMethod:
    """An editor of the family at its settings; all but Uni-Edit need recorded noise."""
    run = TABLE_RIVALS[name]
    source = path if name == "uniedit" else DEFAULT_METHOD
    return EditMethod(source, partial(_run_rival, rival=lambda task: run(task, *values)))


def _mdp_settings(source: str, n: int, real: bool) -> dict[str, EditMethod]:
    """MDP at every window of every variant."""
    local = _list_local_cells(n)
    settings = {
        f"mdp-{cell.label}": EditMethod(source, partial(run_mdp, variant=cell.variant, cell=cell))
        for cell in [*_list_cells(n), *local]
    }
    from_start = [c for c in _list_cells(n) if c.variant == "x" and c.t_max == n]
    for cell in [] if real else [*from_start, *local]:
        run = partial(run_mdp, variant=cell.variant, cell=cell)
        settings[f"mdp-{cell.label} inverted"] = EditMethod(DEFAULT_METHOD, run)
    for leashes in (LEASHES[::2], LEASHES):
        run = partial(run_local_chosen, leashes=leashes)
        settings[f"mdp-local-chosen of {len(leashes)}"] = EditMethod(DEFAULT_METHOD, run)
    return settings | {"mdp-chosen": EditMethod(source, run_mdp_chosen)}


def _list_cells(n: int) -> list[EvalCell]:
    """Windows of all variants; if they start at the first step, all but beta are one edit."""
    late = round(T_MAX * n)
    windows = {
        "x": [(n, 0.2), (n, 0.27), (n, 0.34), (n, 0.4), (late, 0.34), (late, 0.52)],
        "epsilon": [(late, 0.2), (late, 0.27), (late, 0.34), (late, 0.4), (late, 0.52)],
        "c": [(late, 0.27), (late, 0.34), (late, 0.52)],
        "beta": [(n, 0.34)],
    }
    shares = {"beta": 0.5}  # at share 1 beta is c
    cells = [
        EvalCell(variant, t_max, round(t_m * n), shares.get(variant, 1.0))
        for variant, some in windows.items()
        for t_max, t_m in some
    ]
    first = [one for one in cells if one.t_m <= 0.4 * n and (one.variant != "x" or one.t_max == n)]
    pulled = [one._replace(leash=1.0) for one in first]
    weaker = [
        EvalCell(variant, t_max, round(0.34 * n), leash=pull)
        for variant, t_max in (("x", n), ("epsilon", late))
        for pull in (0.5, 0.75)
    ]
    return cells + pulled + weaker


def _list_local_cells(n: int) -> list[EvalCell]:
    """Windows of the local leash, and shares of it: of its look and its pull."""
    settings = [(0.27, 1.0), (0.34, 1.0), (0.4, 1.0)]
    settings += [(0.34, pull) for pull in (0.5, 0.67, 1.33, 2.0)]
    return [EvalCell("epsilon", n, round(t_m * n), 1.0, pull, True) for t_m, pull in settings]


def make_anchors(batch: EditBatch) -> dict[str, MethodOutput]:
    """Pictures without an edit: the source's, its round trip through the VAE, the true answer."""
    trip = round_trip(batch.editor, batch.pictures)
    anchors = {"no edit": MethodOutput(batch.pictures), "vae": MethodOutput(trip)}
    if batch.answers:
        answers = render((case.target_scene for case in batch.cases), batch.world.draw)
        anchors["truth"] = MethodOutput(answers)
    return anchors


@torch.no_grad()
def run_method(batch: EditBatch, method: EditMethod) -> MethodOutput:
    """The edits by one method, decoded, with their cost."""
    source, started = batch.sources[method.source], time.perf_counter()
    edited = method.run(batch, source)
    pictures = decode(batch.editor, edited.x)
    seconds = (time.perf_counter() - started) / len(pictures)
    return MethodOutput(pictures, float(edited.rows), source.rows, seconds)


def score_output(reader: nn.Module, batch: EditBatch, output: MethodOutput) -> Figures:
    """Every measure of a method's output, one number a case."""
    b = len(batch.cases)
    pictures = batch.pictures, output.pictures
    figures = score_edits(reader, batch.cases, *pictures, batch.answers, batch.world)
    figures |= {"rows": [output.rows] * b, "source rows": [output.source_rows] * b}
    figures |= {"seconds": [output.seconds] * b}
    return {name: round_figures(values) for name, values in figures.items()}


def build_task(batch: EditBatch, source: BatchSource) -> RivalTask:
    """The batch as a task for rivals; with a null-text source the targets use its null rows."""
    guidance, null = batch.guidance, source.path.null
    if null is not None:
        guidance = guidance._replace(null=null.to(guidance.c.dtype))
    unet, v_prediction = batch.editor.models.unet, batch.editor.runner.v_prediction
    return RivalTask(unet, batch.grid, source.path, guidance, v_prediction)


def run_mdp(
    batch: EditBatch, source: BatchSource, variant: str, cell: EvalCell | None = None,
    guidance_every: int = 1,
) -> EditedLatents:  # fmt: skip
    """MDP at a window, by default that of Editor.edit on a source without recorded noise."""
    task = build_task(batch, source)
    cell = cell or default_cell(variant, len(batch.grid.t))
    latents, rows = run_cells(
        task.unet, task.grid, task.source, task.guidance, [cell], source.own_noise,
        task.v_prediction, guidance_every,
    )  # fmt: skip
    return EditedLatents(latents[cell], rows)


def default_cell(variant: str, n: int) -> EvalCell:
    """The window of Editor.edit if none is given; local_cell is that of recorded noise."""
    t_max, t_m, schedule = DEFAULT_WINDOWS[variant]
    return EvalCell(variant, round(t_max * n), round(t_m * n), leash=float(schedule == "leash"))


def local_cell(n: int) -> EvalCell:
    """The window of Editor.edit for schedule="local-leash"."""
    t_max, t_m, _ = LOCAL_WINDOW
    return EvalCell("epsilon", round(t_max * n), round(t_m * n), leash=1.0, local=True)


def run_mdp_chosen(batch: EditBatch, source: BatchSource, share: float = SHARE) -> EditedLatents:
    """MDP at the best of a few windows, chosen for each edit without its true answer."""
    z = _make_noise(batch, 2)
    windows = list_windows(len(batch.grid.t))
    return choose(build_task(batch, source), windows, source.own_noise, z, share)


def run_local_chosen(
    batch: EditBatch, source: BatchSource, leashes: Sequence[float]
) -> EditedLatents:
    """The local leash at the best of a few shares, chosen in the same way at one noise level."""
    z, cells = _make_noise(batch, 2), list_local_leashes(len(batch.grid.t), leashes)
    return choose(build_task(batch, source), cells, source.own_noise, z, levels=MIDDLE)


def run_prompt_to_prompt(
    batch: EditBatch, source: BatchSource, alignment: str, control: AttentionControl
) -> EditedLatents:
    """Prompt-to-Prompt with words aligned by ALIGNMENTS."""
    tokenizer = batch.editor.models.tokenizer.each[0]
    sources = [one.source for one in batch.prompts]
    targets = [one.target for one in batch.prompts]
    words = ALIGNMENTS[alignment](tokenizer, sources, targets)
    return prompt_to_prompt(build_task(batch, source), words, control)


def run_sdedit(batch: EditBatch, source: BatchSource, strength: float = STRENGTH) -> EditedLatents:
    """SDEdit with other noise than the source was generated from."""
    return sdedit(build_task(batch, source), _make_noise(batch, 1), strength)


def _run_rival(
    batch: EditBatch, source: BatchSource, rival: Callable[[RivalTask], EditedLatents]
) -> EditedLatents:
    """A rival that needs nothing but its task."""
    return rival(build_task(batch, source))


def _make_noise(batch: EditBatch, offset: int) -> Tensor:
    """Noise (b, 4, y, x) of each edit's seed plus an offset."""
    runner, (height, width) = batch.editor.runner, batch.pictures.shape[2:]
    return torch.cat([runner.noise(one.seed + offset, width, height) for one in batch.prompts])
