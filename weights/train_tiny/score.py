"""Score a checkpoint: every figure of the model card, with the seeds and settings behind it."""

import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from mdp_lite.editor import Editor
from mdp_lite.eval import score
from mdp_lite.eval.cases import (
    FIRST,
    FULL_KINDS,
    KINDS,
    EditCase,
    iterate_scenes,
    make_cases,
)
from mdp_lite.eval.metrics import squared_error
from mdp_lite.eval.reader import load_reader
from mdp_lite.eval.sweep import EvalCell
from mdp_lite.method.schedule import paper_window
from mdp_lite.names import VARIANTS
from train_tiny.figures import Parts, edit_figures, picture_figures
from train_tiny.score_sheets import write_sheets

BATCH = 32
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class ScorePlan:
    """How many captions, pictures and edits (of each kind) are measured."""

    captions: int = 256
    pictures: int = 512
    synthetic: int = 32
    real: int = 8
    t_m: tuple[int, ...] = (8, 18, 26)  # windows of weight 1, beside the model's own
    soft: tuple[int, ...] = (18, 26)  # windows of weight 0.5


QUICK = ScorePlan(captions=32, pictures=128, synthetic=6, real=2, t_m=(18,), soft=())


class ScoreSettings(NamedTuple):
    """The checkpoint and the settings of a run; t_max and t_m are its default window."""

    folder: Path
    steps: int
    guidance: float
    t_max: int
    t_m: int
    dtype: str  # of the UNet and the text encoder; the VAE runs in float32


class ScoreJob(NamedTuple):
    """A batch of cases of one suite, and the cells to edit them with."""

    suite: str  # text, vae, synthetic, real_full or real_short
    cases: list[EditCase]
    cells: list[EvalCell]


class ScoreResult(NamedTuple):
    """The figures of a job, and the pictures of its first cases for the sheets."""

    job: ScoreJob
    figures: Parts
    pictures: score.Pictures


def sweep_cells(plan: ScorePlan, setting: ScoreSettings) -> list[EvalCell]:
    """All variants over windows from the first step on, and over the model's default window.

    Only a later start separates c and epsilon from x: for x, just the end of the window counts.
    """
    steps, late = setting.steps, setting.t_max
    cells = [EvalCell(v, late, setting.t_m) for v in VARIANTS]
    cells += [EvalCell(v, steps, t_m) for t_m in plan.t_m for v in VARIANTS]
    cells += [EvalCell(v, late, t_m) for t_m in plan.t_m for v in ("c", "epsilon", "beta")]
    cells += [EvalCell(v, steps, t_m, 0.5) for t_m in plan.soft for v in ("c", "beta")]
    return list(dict.fromkeys(cells))


def real_cells(setting: ScoreSettings) -> list[EvalCell]:
    """All variants over the model's default window, and epsilon over an early one."""
    own = [EvalCell(variant, setting.t_max, setting.t_m) for variant in VARIANTS]
    return [*own, EvalCell("epsilon", setting.steps, round(0.36 * setting.steps))]


def list_jobs(plan: ScorePlan, setting: ScoreSettings) -> Iterator[ScoreJob]:
    """All jobs, the most expensive first, so that all processes end together."""
    swept, few = sweep_cells(plan, setting), real_cells(setting)
    suites = [("synthetic", KINDS, plan.synthetic, True, swept)]
    suites += [("real_full", FULL_KINDS, plan.real, False, few)]
    suites += [("real_short", KINDS, plan.real, True, few)]
    for suite, kinds, count, short, cells in suites:
        for kind in kinds:
            for batch in batches(make_cases(kind, count, short)):
                yield ScoreJob(suite, batch, cells)
    unseen = islice(iterate_scenes(), max(plan.captions, plan.pictures))
    captions = [score.make_caption_case(scene, seed) for seed, scene in unseen]
    for batch in batches(captions[: plan.captions]):
        yield ScoreJob("text", batch, [])
    yield ScoreJob("vae", captions[: plan.pictures], [])


def batches(items: list[EditCase]) -> Iterator[list[EditCase]]:
    """Split into lists of at most BATCH."""
    return (items[i : i + BATCH] for i in range(0, len(items), BATCH))


def run(task: tuple[ScoreJob, ScoreSettings]) -> ScoreResult:
    """Run one job; it loads the checkpoint itself, because it runs in its own process."""
    job, setting = task
    torch.set_num_threads(1)
    editor = Editor.from_pretrained(setting.folder, "cpu")
    for part in (editor.models.unet, editor.models.text_encoder):
        part.to(getattr(torch, setting.dtype))
    pictures = make(editor, job, setting)
    few = {name: images[:16].clone() for name, images in pictures.items()}
    return ScoreResult(job, measure(job, pictures), few)


def make(editor: Editor, job: ScoreJob, setting: ScoreSettings) -> score.Pictures:
    """The pictures of a job's suite."""
    steps, g = setting.steps, setting.guidance
    if job.suite == "text":
        return {"generated": score.generate_pictures(editor, job.cases, steps, g)}
    if job.suite == "vae":
        drawn = score.render(case.source_scene for case in job.cases)
        return {"drawn": drawn, "round trip": score.round_trip(editor, drawn)}
    suite = score.make_synthetic if job.suite == "synthetic" else score.make_real
    return suite(editor, job.cases, job.cells, steps, g)


def measure(job: ScoreJob, pictures: score.Pictures) -> Parts:
    """Compare a job's pictures with the reader's readings and the true answers."""
    reader, every = load_reader(), pictures.items()
    if job.suite == "text":
        return {name: score.score_readings(reader, job.cases, p) for name, p in every}
    if job.suite == "vae":
        found = {name: score.score_readings(reader, job.cases, p) for name, p in every}
        error = squared_error(pictures["round trip"], pictures["drawn"])
        return found | {"error": {"error": error.tolist()}}
    before = pictures["source" if job.suite == "synthetic" else "picture"]
    found = {name: score.judge_cases(reader, job.cases, before, p) for name, p in every}
    if job.suite == "synthetic":
        return found
    answer, region = pictures["truth"], score.field_regions(job.cases)
    return {name: found[name] | score.measure_distances(p, answer, region) for name, p in every}


def read_settings(folder: Path, guidance: float | None, dtype: str) -> ScoreSettings:
    """The checkpoint's defaults, or the arguments if given, at the authors' window."""
    d = Editor.from_pretrained(folder, "cpu").models.defaults
    steps, g = d.num_inference_steps, d.guidance_scale if guidance is None else guidance
    return ScoreSettings(folder, steps, g, *paper_window(steps), dtype)


def stage(folder: Path, out: Path, quick: bool, guidance: float | None, dtype: str) -> None:
    """Score the checkpoint in folder; write figures.json and the sheets to out."""
    begun, plan = time.monotonic(), QUICK if quick else ScorePlan()
    setting = read_settings(folder, guidance, dtype)
    tasks = [(job, setting) for job in list_jobs(plan, setting)]
    workers = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        results = list(tqdm(pool.imap(run, tasks), "scoring", len(tasks)))
    own = EvalCell("epsilon", setting.t_max, setting.t_m)
    settings = setting._asdict() | {"folder": folder.name, "first_seed": FIRST}
    found = [(r.job.suite, r.job.cases[0].kind, r.figures) for r in results]
    figures = {"settings": settings, "plan": asdict(plan)}
    figures |= picture_figures(found) | edit_figures(found, own)
    figures["seconds"] = round(time.monotonic() - begun)
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    write_sheets([(r.job.suite, r.job.cases, r.pictures) for r in results], own, out)
