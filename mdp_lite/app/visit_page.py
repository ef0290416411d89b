"""What the server remembers of a visit's page: its pictures, its form, and what its stage shows."""

import itertools
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mdp_lite.app.form import EditForm
from mdp_lite.app.streaming import StoppedByVisitor
from mdp_lite.app.wording import say
from mdp_lite.names import BadInput
from mdp_lite.pictures import images

Json = dict[str, Any]
DOWNLOAD = "?download=1"  # of the address of a file: the browser stores it
StageValue = Json  # JSON; components/stage.js reads it
EMPTY: StageValue = {"state": "empty"}
MAX_PICTURES = 20  # of a visit; the oldest one that is not in use is deleted


class VisitPicture(NamedTuple):
    """A picture that a visitor gave, upright in RGB as a PNG of the visit's folder."""

    id: int
    file: Path
    name: str
    size: tuple[int, int]


class VisitPage:
    """The pictures by id, the one that is edited now, the form, and the stage without a run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pictures = folder, dict[int, VisitPicture]()
        self.current: int | None = None
        self.form: EditForm | None = None
        self.region: dict[str, Any] | None = None  # of settings that wait for their picture
        self.stage: StageValue = EMPTY
        self._is_closed = False
        self._ids = itertools.count(1)

    @property
    def picture(self) -> VisitPicture | None:
        """The picture that is edited now."""
        return self.pictures.get(self.current) if self.current is not None else None

    def add_picture(self, image: Image.Image, name: str, is_edited: bool = True) -> VisitPicture:
        """Write a picture into the visit's folder, and make it the one that is edited or not.

        Raises StoppedByVisitor if the visit ended in the meantime; then nothing stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        number = next(self._ids)
        file = self.folder / f"{number}.png"
        images.save_png(images.strip_metadata(image), file, None)
        if self._is_closed:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise StoppedByVisitor
        picture = VisitPicture(number, file, name, image.size)
        self.pictures[number] = picture
        self.current = number if is_edited else self.current
        self._delete_surplus(number)
        return picture

    def clear(self) -> None:
        """Forget all of it at the end of the visit; the files go with the visit's folder."""
        self._is_closed = True
        self.pictures.clear()
        self.current, self.form, self.stage = None, None, EMPTY

    def open_current(self) -> tuple[Image.Image, str]:
        """The picture that is edited now, and its file name. Raises BadInput if there is none."""
        picture = self.picture
        if picture is None:
            raise BadInput(say("picture", "missing"), "picture")
        return images.rgb(images.open_picture(picture.file), "the picture"), picture.name

    def _delete_surplus(self, newest: int) -> None:
        while len(self.pictures) > MAX_PICTURES:
            oldest = next(one for one in self.pictures if one not in (self.current, newest))
            self.pictures.pop(oldest).file.unlink(missing_ok=True)
