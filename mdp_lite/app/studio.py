"""One model for all visitors: lending it to runs, predicting their time, and reading uploads."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from PIL import Image

from mdp_lite.app.rival import Rival
from mdp_lite.app.sessions import GRACE_SECONDS, Sessions
from mdp_lite.app.streaming import WAITING, OnProgress, RunProgress
from mdp_lite.app.turns import Turns
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pipeline.inversion_methods import METHODS

Lend = Callable[[], AbstractContextManager[Editor]]
UPLOADS = "gradio"  # the folder of uploads and of gradio's other files, in that of the studio
NEEDS_GRADIENTS = "null-text"  # can't use a batcher, which computes no gradients


class Studio:
    """An editor and its visitors.

    lend is a context manager that gives the editor for one run; the service passes one that uses
    its batcher. dry_editor is the same editor with models that answer zeros; forecasts use it.
    rivals are other methods that the page compares. methods are the inversions that it offers.
    grace_seconds is how long a visit stays after its last page was closed. close() ends all visits.
    """

    def __init__(
        self, editor: Editor, folder: Path, lend: Lend | None = None, rivals: Sequence[Rival] = (),
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:  # fmt: skip
        self.editor, self.folder, self.rivals = editor, folder, rivals
        self.methods = [name for name in METHODS if not (lend and name == NEEDS_GRADIENTS)]
        self.dry_editor = dry_run_editor(editor)
        self.sessions = Sessions(folder / "sessions", folder / UPLOADS, grace_seconds)
        self.lend: Lend = lend or (lambda: nullcontext(editor))
        self.turns = Turns()
        self._seconds_per_row = 0.0  # 0 before the first run

    @property
    def reads_xl(self) -> bool:
        """Whether the model is SDXL: it reads a second prompt, and sizes."""
        return self.editor.models.unet.config.pooled_dim > 0

    @contextmanager
    def take_turn(self, on_progress: OnProgress, rows: int = 0) -> Iterator[Editor]:
        """Wait for the turn of a run of so many UNet rows, and lend it the editor."""
        on_wait = lambda before, seconds: on_progress(  # noqa: E731
            RunProgress(WAITING, before, before, None, seconds)
        )
        with self.turns.take(self.expected_seconds(rows), on_wait), self.lend() as editor:
            yield editor

    def close(self) -> None:
        """End all visits and delete what they stored."""
        self.sessions.close()

    def warm_up(self) -> None:
        """Run the VAE once and fit the preview map, so that no visitor waits for it."""
        runner = self.editor.runner
        runner.encode(runner.decode(0 * runner.noise(0, *runner.size)))
        _ = runner.preview_map

    def record_speed(self, rows: int, seconds: float) -> None:
        """Remember how long a run of so many UNet rows took."""
        if rows:
            self._seconds_per_row = seconds / rows

    def expected_seconds(self, rows: int) -> float | None:
        """How long so many UNet rows will take, at the speed of the last run; None before it."""
        return rows * self._seconds_per_row if self._seconds_per_row else None


def open_upload(path: str | None) -> Image.Image:
    """An uploaded picture as upright RGB. Raises BadInput with its file name, without a folder."""
    if path is None:
        raise BadInput("give a picture first: upload one, or pick an example")
    return images.rgb(images.open_picture(path, Path(path).name), "the picture")


def mask_from_layers(layers: list[Image.Image], size: tuple[int, int]) -> Image.Image | None:
    """Painted layers as a mask of a picture's size, white on what was painted; None if nothing was.

    The canvas may be larger than the picture: a pixel is white if any part of it was painted.
    """
    mask = Image.new("L", size)
    for layer in layers:
        alpha = layer.convert("RGBA").getchannel("A").resize(size, Image.Resampling.BOX)
        mask.paste(255, mask=alpha.point([0] * 2 + [255] * 254))
    return mask if mask.getbbox() else None
