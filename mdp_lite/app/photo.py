"""The warning for a picture that the visitor's model can only blur, before any run."""

from pathlib import Path

from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio
from mdp_lite.app.wording import say
from mdp_lite.pictures import images
from mdp_lite.pipeline.likeness import is_unlike


def describe_photo(studio: Studio, session: Session, file: Path) -> list[str]:
    """A sentence for a visitor's picture that is unlike those of the model, or none.

    Only the first model is sure to be in memory: others say nothing here.
    """
    editor, model = studio.editor, studio.find_model(session)
    if model is not studio.menu.first or editor.models.knowledge.least_psnr is None:
        return []
    if not is_unlike(editor.runner, images.rgb(images.open_picture(file))):
        return []
    size = "x".join(map(str, editor.runner.size))
    return [say("page", "photo", pictures=editor.models.knowledge.pictures, size=size)]
