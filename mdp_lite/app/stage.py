"""What the stage shows: the value of its component in each state of a run."""

import base64
import io
import time
from collections.abc import Sequence

from PIL import Image

from mdp_lite.app.forecast import RunForecast
from mdp_lite.app.streaming import WAITING, RunProgress
from mdp_lite.app.visit_page import StageValue
from mdp_lite.app.wording import say

QUALITY = 80  # of previews, as JPEG


class RunClock:
    """The share of a run that is done and the seconds that are left, from UNet rows."""

    def __init__(self, forecast: RunForecast) -> None:
        source = 0 if forecast.source_ready else forecast.source.unet_rows
        self._rows, self._stages = (source, forecast.edit.unet_rows), list[str]()
        self._started = time.monotonic()

    def read(self, progress: RunProgress) -> tuple[float, float | None]:
        """The share done from 0 to 1, and the seconds left (None at the start)."""
        if not self._stages:
            self._started = time.monotonic()
        if progress.stage not in self._stages:
            self._stages.append(progress.stage)
        source, edit = self._rows
        first = source > 0 and len(self._stages) == 1
        part = progress.done / max(progress.total, 1)
        done = part * source if first else source + part * edit
        share = min(done / max(source + edit, 1), 1.0)
        elapsed = time.monotonic() - self._started
        return share, elapsed * (1 - share) / share if share > 0 else None


def show_waiting(progress: RunProgress) -> StageValue:
    """A run that waits for the runs of other visitors."""
    key = "waiting_one" if progress.done == 1 else "waiting"
    return {
        "state": "queued", "label": say("stage", key, count=progress.done), "share": None,
        "seconds": progress.seconds,
    }  # fmt: skip


def show_running(progress: RunProgress, clock: RunClock) -> StageValue:
    """A run at work, with its preview if there is a new one."""
    if progress.stage == WAITING:
        return show_waiting(progress)
    if not progress.total:  # its model is being loaded
        return {"state": "running", "label": progress.stage, "share": None, "seconds": None}
    share, seconds = clock.read(progress)
    label = say("stage", "steps", stage=progress.stage, done=progress.done, total=progress.total)
    value = {"state": "running", "label": label, "share": share, "seconds": seconds}
    return value | ({"preview": encode_preview(progress.preview)} if progress.preview else {})


def show_stopped(stage: StageValue) -> StageValue:
    """The stage as it was before a run that was stopped."""
    return stage | {"label": say("stage", "stopped")}


def show_error(stage: StageValue, message: str, names: Sequence[str]) -> StageValue:
    """A run that could not begin or failed: the picture stays, the message says why.

    names are the form's fields of which the message speaks: it is shown beside the first one.
    """
    text = message[:1].upper() + message[1:]
    text += "" if text.endswith((".", "?", "!")) else "."
    return stage | {"label": "", "error": text, "fields": list(names), "error_id": time.time_ns()}


def encode_preview(image: Image.Image) -> str:
    """A preview as a data URL."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def format_seconds(seconds: float) -> str:
    """Seconds for people: 0.4 s, 12 s, 3 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
