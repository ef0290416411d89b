"""One training loop for every part: AdamW, cosine by time, averaged weights, resumable."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from train_tiny.data import batches
from train_tiny.workers import Worker, agree, report, share_gradients

SAVE_EVERY, REPORT_EVERY = 60.0, 100  # seconds, steps
LossOf = Callable[[np.ndarray], tuple[Tensor, str]]  # batch of indices -> loss, text to report


@dataclass(frozen=True)
class Settings:
    """The training of one part; batch is per process."""

    minutes: float
    batch: int
    peak: float  # highest learning rate
    average: float  # decay of the averaged weights
    warmup: int = 100  # steps


class Clock:
    """Progress of a stage that has a budget of minutes, over all its resumed runs."""

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self.budget, self.begun = 60 * minutes, time.monotonic() - spent

    @property
    def spent(self) -> float:
        """Seconds spent so far."""
        return time.monotonic() - self.begun

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        return min(1.0, self.spent / self.budget)


def learning_rate(step: int, progress: float, settings: Settings) -> float:
    """Linear warm-up by steps, then a cosine down to 1% by the share of time spent."""
    cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
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
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names, self.parameters = [n for n, _ in named], [p for _, p in named]
        self.optimizer = torch.optim.AdamW(
            self.parameters, settings.peak, (0.9, 0.99), weight_decay=0.01
        )
        state = load(path)
        if state:
            model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        self.ema = [p.detach().clone() for p in self.parameters]
        if state:
            torch._foreach_copy_(self.ema, [state["ema"][name] for name in self.names])
        self.step = state["step"] if state else 0
        self.clock = Clock(settings.minutes, state["spent"] if state else 0.0)

    def update(self, loss: Tensor, progress: float, worker: Worker) -> None:
        """One optimiser step on the averaged gradient of all processes."""
        loss.backward()
        share_gradients(self.parameters, worker)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, progress, self.settings)
        self.optimizer.step()
        self.optimizer.zero_grad()
        average(self.ema, self.parameters, self.step, self.settings.average)
        self.step += 1

    def save(self) -> None:
        """Write the checkpoint; "ema" is the model's whole state with averaged weights."""
        averaged = {**self.model.state_dict(), **dict(zip(self.names, self.ema, strict=True))}
        state = {
            "model": self.model.state_dict(),
            "ema": averaged,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "spent": self.clock.spent,
        }
        save(self.path, state)


def fit(
    worker: Worker, model: nn.Module, loss_of: LossOf, count: int, settings: Settings, path: Path
) -> None:
    """Train on batches of count examples until the minutes are spent, from path if it exists."""
    run = Run(model, settings, path)
    torch.manual_seed(1000 * run.step + worker.rank)
    saved = run.clock.spent
    for index in batches(count, settings.batch, worker.rank, worker.count, seed=run.step):
        progress = agree(run.clock.progress, worker)
        if progress >= 1:
            break
        loss, figure = loss_of(index)
        run.update(loss, progress, worker)
        if run.step % REPORT_EVERY == 0:
            report(worker, f"{path.stem} step {run.step} {100 * progress:.0f}% {figure}")
        if worker.rank == 0 and run.clock.spent - saved > SAVE_EVERY:
            saved = run.clock.spent
            run.save()
    if worker.rank == 0:
        run.save()
