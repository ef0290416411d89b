"""One training loop for every part: a cosine at the end, averaged weights, resumable."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from train_tiny.data import batches
from train_tiny.optimizers import make_optimizers, make_step
from train_tiny.recipe import Settings
from train_tiny.workers import Worker, agree, report, share_gradients

PREVIEW_EVERY, REPORT_EVERY = 600.0, 50  # seconds, steps
LossOf = Callable[[np.ndarray], tuple[Tensor, str]]  # batch of indices -> loss, text to report
Preview = Callable[[dict[str, Tensor], int], str]  # averaged state, step -> text to report


def learning_rate(step: int, progress: float, settings: Settings) -> float:
    """Linear warm-up by steps, then the peak, and in the last share tail a cosine down to 1%."""
    late = max(0.0, 1 - (1 - progress) / settings.tail)
    cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * late))
    return settings.peak * min(1.0, (step + 1) / settings.warmup) * cosine


@torch.no_grad()
def average(ema: list[Tensor], parameters: list[nn.Parameter], step: int, limit: float) -> None:
    """Move the running average of the weights: decay rises from 0.1 to limit."""
    decay = min(limit, (1 + step) / (10 + step))
    torch._foreach_lerp_(ema, [p.detach() for p in parameters], 1 - decay)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint in one step, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def load(path: Path) -> dict[str, Any] | None:
    """The checkpoint of an earlier run of this recipe, if there is one."""
    return torch.load(path, weights_only=True, map_location="cpu") if path.exists() else None


class Run:
    """A part in training: its weights, their average, the optimiser, step and time."""

    def __init__(self, model: nn.Module, settings: Settings, path: Path) -> None:
        self.model, self.settings, self.path = model, settings, path
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.names, self.parameters = list(named), list(named.values())
        self.optimizers = make_optimizers(named, settings.muon)
        state = load(path)
        if state:
            model.load_state_dict(state["model"])
            found = state["optimizers"]  # none in what was packed
            for optimizer, one in zip(self.optimizers, found, strict=True) if found else ():
                optimizer.load_state_dict(one)
        self.ema = [p.detach().clone() for p in self.parameters]
        if state:
            torch._foreach_copy_(self.ema, [state["ema"][name] for name in self.names])
        self.step = state["step"] if state else 0
        self.begun = time.monotonic() - (state["spent"] if state else 0.0)

    @property
    def spent(self) -> float:
        """Seconds spent so far, over all resumed runs."""
        return time.monotonic() - self.begun

    @property
    def progress(self) -> float:
        """Share of the training that is done, 0 to 1: by steps if they are set, else by time."""
        if self.settings.steps:
            return min(1.0, self.step / self.settings.steps)
        return min(1.0, self.spent / (60 * self.settings.minutes))

    def update(self, loss: Tensor, progress: float, worker: Worker) -> None:
        """One optimiser step on the averaged gradient of all processes."""
        loss.backward()
        share_gradients(self.parameters, worker)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        make_step(self.optimizers, learning_rate(self.step, progress, self.settings))
        self.model.zero_grad()
        average(self.ema, self.parameters, self.step, self.settings.average)
        self.step += 1

    def averaged(self) -> dict[str, Tensor]:
        """The model's whole state with averaged weights."""
        return {**self.model.state_dict(), **dict(zip(self.names, self.ema, strict=True))}

    def save(self) -> None:
        """Write the checkpoint; "ema" is the averaged state."""
        state = {
            "model": self.model.state_dict(),
            "ema": self.averaged(),
            "names": self.names,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "spent": self.spent,
        }
        save(self.path, state)


class Chores:
    """What the first process does between steps: reports, checkpoints, previews, each in time."""

    def __init__(self, run: Run, worker: Worker, preview: Preview | None) -> None:
        self.run, self.worker, self.preview = run, worker, preview
        self.saved = self.shown = time.monotonic()

    def do(self, progress: float, figure: str) -> None:
        """Do what is due after a step."""
        run, now = self.run, time.monotonic()
        if run.step % REPORT_EVERY == 0:
            name = f"{run.path.stem} step {run.step} {100 * progress:.1f}%"
            report(self.worker, f"{name} {run.spent / 60:.1f} min {figure}")
        if self.worker.rank == 0 and now - self.saved > run.settings.save_every:
            self.saved = now
            run.save()
        if self.worker.rank == 0 and now - self.shown > PREVIEW_EVERY:
            self.show()
            self.shown = time.monotonic()

    def show(self) -> None:
        """Write a sheet of the averaged weights' pictures, and report its figure."""
        if self.preview:
            text = self.preview(self.run.averaged(), self.run.step)
            report(self.worker, f"{self.run.path.stem} preview at step {self.run.step}: {text}")


def fit(
    worker: Worker, model: nn.Module, loss_of: LossOf, count: int, settings: Settings, path: Path,
    preview: Preview | None = None,
) -> None:  # fmt: skip
    """Train on batches of count examples to the end of settings, from path if it exists.

    Each step has its own seed: a training in steps that stops and resumes in as many processes
    ends with equal weights.
    """
    run = Run(model, settings, path)
    chores = Chores(run, worker, preview)
    share = settings.batch // worker.count
    report(worker, f"{path.stem} begins at step {run.step}")
    for index in batches(count, share, worker.rank, worker.count, run.step):
        progress = agree(run.progress, worker)
        if progress >= 1:
            break
        torch.manual_seed(1000 * run.step + worker.rank)
        loss, figure = loss_of(index)
        run.update(loss, progress, worker)
        chores.do(progress, figure)
    if worker.rank == 0:
        run.save()
        chores.show()
