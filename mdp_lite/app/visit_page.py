"""What the server remembers of a visit's page: its pictures, its form, and what its stage shows."""

import itertools
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mdp_lite.app.form import EditForm
from mdp_lite.app.wording import say
from mdp_lite.names import BadInput
from mdp_lite.pictures import images

StageValue = dict[str, Any]  # JSON; components/stage.js reads it
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
        self.mask: dict[str, Any] = {}
        self.stage: StageValue = EMPTY
        self._ids = itertools.count(1)

    @property
    def picture(self) -> VisitPicture | None:
        """The picture that is edited now."""
        return self.pictures.get(self.current) if self.current is not None else None

    def add_picture(self, image: Image.Image, name: str) -> VisitPicture:
        """Write a picture into the visit's folder and make it the one that is edited."""
        self.folder.mkdir(parents=True, exist_ok=True)
        number = next(self._ids)
        file = self.folder / f"{number}.png"
        images.save_png(images.strip_metadata(image), file, None)
        self.pictures[number] = VisitPicture(number, file, name, image.size)
        self.current = number
        self._delete_surplus()
        return self.pictures[number]

    def open_current(self) -> tuple[Image.Image, str]:
        """The picture that is edited now, and its file name. Raises BadInput if there is none."""
        picture = self.picture
        if picture is None:
            raise BadInput(say("picture", "missing"), "picture")
        return images.rgb(images.open_picture(picture.file), "the picture"), picture.name

    def _delete_surplus(self) -> None:
        while len(self.pictures) > MAX_PICTURES:
            oldest = next(number for number in self.pictures if number != self.current)
            self.pictures.pop(oldest).file.unlink(missing_ok=True)
