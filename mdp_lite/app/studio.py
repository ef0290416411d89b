"""One model for all visitors: who may use it when, what it costs by the clock, where files lie."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from PIL import Image

from mdp_lite.app.rival import Rival
from mdp_lite.app.sessions import Sessions
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from mdp_lite.pipeline.inversion_methods import METHODS

Lend = Callable[[], AbstractContextManager[Editor]]
ALONE = "null-text"  # needs gradients, which a shared engine has none of


class Studio:
    """An editor with its visitors. lend gives the editor for one run; a service lends a shared one.

    idle computes nothing and costs the same: what plans are made with. rivals are shown beside the
    variants; methods are the inversions that there are.
    """

    def __init__(
        self, editor: Editor, folder: Path, lend: Lend | None = None, rivals: Sequence[Rival] = ()
    ) -> None:
        self.editor, self.folder, self.rivals = editor, folder, rivals
        self.methods = [name for name in METHODS if not (lend and name == ALONE)]
        self.idle = dry_run_editor(editor)
        self.sessions = Sessions(folder / "sessions")
        self.lend: Lend = lend or (lambda: nullcontext(editor))
        self._per_row = 0.0  # seconds; 0 before the first run

    def warm(self) -> None:
        """Make what is made once, so that no visitor waits for it."""
        codec = self.editor.runner
        codec.latent(codec.picture(0 * codec.noise(0, *codec.size)))
        _ = codec.colours

    def learn(self, rows: int, seconds: float) -> None:
        """What a run took."""
        if rows:
            self._per_row = seconds / rows

    def seconds(self, rows: int) -> float | None:
        """How long so many UNet rows take by the last run; None before the first."""
        return rows * self._per_row if self._per_row else None


def opened(path: str | None) -> Image.Image:
    """An uploaded picture as upright RGB; a ValueError names its file, never where that lies."""
    if path is None:
        raise ValueError("give a picture first: upload one, or pick an example")
    return images.rgb(images.open_picture(path, Path(path).name), "the picture")


def painted(layers: list[Image.Image], size: tuple[int, int]) -> Image.Image | None:
    """Painted layers as a mask of a picture's size: white where anything was painted, else None.

    The canvas may be larger than the picture: a pixel counts if any part of it was painted.
    """
    mask = Image.new("L", size)
    for layer in layers:
        alpha = layer.convert("RGBA").getchannel("A").resize(size, Image.Resampling.BOX)
        mask.paste(255, mask=alpha.point([0] * 2 + [255] * 254))
    return mask if mask.getbbox() else None
