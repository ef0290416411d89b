"""Which model, with which LoRAs merged into it, and who uses it now."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class LoraFile(NamedTuple):
    """A LoRA of a request: its name and weight, its file, and the file's size and time."""

    name: str
    weight: float
    path: Path
    stamp: tuple[int, int]

    def describe(self) -> dict[str, object]:
        """The LoRA as requests give it."""
        return {"name": self.name, "weight": self.weight}


class ModelKey(NamedTuple):
    """A model by its alias, and the LoRAs that are merged into it."""

    alias: str
    loras: tuple[LoraFile, ...] = ()

    def describe(self) -> dict[str, object]:
        """What answers and pictures say of it; lora only if there are some."""
        loras = [one.describe() for one in self.loras]
        return {"model": self.alias, **({"lora": loras} if loras else {})}


class ModelSlot:
    """Counts who uses a model, for the thread of asyncio: it is unloaded only if nobody does."""

    def __init__(self) -> None:
        self.users, self.last_used, self.idle = 0, time.monotonic(), asyncio.Event()
        self.idle.set()
        self.on_idle: Callable[[], None] = lambda: None

    def hold(self) -> None:
        """Count one more user."""
        self.users, self.last_used = self.users + 1, time.monotonic()
        self.idle.clear()

    def release(self) -> None:
        """Count one user less."""
        self.users, self.last_used = self.users - 1, time.monotonic()
        if not self.users:
            self.idle.set()
            self.on_idle()
