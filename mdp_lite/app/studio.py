"""What all visitors use: the models, which runs borrow in turn, and the visits; uploads too."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from mdp_lite.app.models import Lend, ModelChoice, PageModel, PageModels, offer_one
from mdp_lite.app.rival import Rival
from mdp_lite.app.sessions import GRACE_SECONDS, Session, Sessions
from mdp_lite.app.streaming import WAITING, OnProgress, RunProgress
from mdp_lite.app.turns import Turns
from mdp_lite.app.wording import say
from mdp_lite.editor import Editor
from mdp_lite.model_pool.local_pool import prepare_editor
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pipeline.inversion_methods import METHODS

UPLOADS = "gradio"  # the folder of uploads and of gradio's other files, in that of the studio
NEEDS_GRADIENTS = "null-text"  # can't use a batcher, which computes no gradients


class Studio:
    """An editor, or several models of which it is the first, and their visitors.

    lend is a context manager that gives the editor for one run; the service passes one that uses
    its batcher. menu has all models, if there are several, and lends them itself. dry_editor is
    the first model with parts that answer zeros; forecasts use that of the visitor's model. rivals
    are other methods that the page compares. methods are the inversions that it offers.
    grace_seconds is how long a visit stays after its last page was closed. close() ends all visits.
    """

    def __init__(
        self, editor: Editor, folder: Path, lend: Lend | None = None, rivals: Sequence[Rival] = (),
        grace_seconds: float = GRACE_SECONDS, menu: PageModels | None = None,
    ) -> None:  # fmt: skip
        self.editor, self.folder, self.rivals = editor, folder, rivals
        self.methods = [name for name in METHODS if not (lend and name == NEEDS_GRADIENTS)]
        self.menu = menu or offer_one(editor, lend)
        self.dry_editor = self.menu.first.dry_editor
        self.sessions = Sessions(folder / "sessions", folder / UPLOADS, grace_seconds)
        self.turns = Turns()

    @property
    def models(self) -> list[ModelChoice]:
        """The models that visitors can choose, as they are now; the first first."""
        return [one.choice for one in self.menu]

    def find_model(self, session: Session) -> PageModel:
        """The model that a visitor chose, by default the first."""
        return self.menu.first if session.model is None else self.menu.get(session.model)

    def find_editor(self, session: Session) -> Editor:
        """The dry editor of a visitor's model: its sizes, defaults, words and costs."""
        return self.find_model(session).dry_editor

    def choose(self, session: Session, alias: object) -> PageModel:
        """Let a visitor's next runs use another model. It is loaded when the first one needs it.

        Raises BadInput for an alias that is none, and BadCheckpoint for a model that can't be
        loaded; the visitor keeps the model from before then.
        """
        model = self.menu.get(alias)
        _ = model.dry_editor
        session.model, session.is_used = model.alias, True
        return model

    def fetch(self, session: Session, hub_id: str) -> PageModel:
        """Let a visitor's next runs use a model of the hub, which is fetched first.

        Raises BadInput where the operator did not allow it, and as HubModels.fetch.
        """
        return self.choose(session, self.menu.fetch(hub_id).alias)

    @property
    def reads_xl(self) -> bool:
        """Whether the first model is SDXL: it reads a second prompt, and sizes."""
        return self.menu.first.reads_xl

    @contextmanager
    def take_turn(
        self, on_progress: OnProgress, rows: int = 0, model: PageModel | None = None
    ) -> Iterator[Editor]:
        """Wait for the turn of a run of so many UNet rows, and lend it a model: the first, if none.

        An unloaded one is loaded first. Raises BadInput if it can't be.
        """
        chosen = model or self.menu.first
        on_wait = lambda before, seconds: on_progress(  # noqa: E731
            RunProgress(WAITING, before, before, None, seconds)
        )
        seconds = chosen.expected_seconds(rows)
        with self.turns.take(seconds, on_wait), chosen.lend(on_progress) as editor:
            yield editor

    def close(self) -> None:
        """End all visits and delete what they stored."""
        self.sessions.close()

    def warm_up(self) -> None:
        """Run the first model's VAE once, so that no visitor waits for it."""
        prepare_editor(self.editor)


def open_upload(path: str | None) -> Image.Image:
    """An uploaded picture as upright RGB. Raises BadInput with its file name, without a folder."""
    if path is None:
        raise BadInput(say("picture", "missing_file"))
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
