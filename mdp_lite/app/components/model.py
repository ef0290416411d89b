"""The line about the model, with a menu if there are several: its value and its events."""

from typing import Any

import gradio as gr

from mdp_lite.app.components.build import build_component
from mdp_lite.app.models import ModelChoice
from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio
from mdp_lite.app.wording import say
from mdp_lite.cli.units import SIZES, format_count

LONGEST_ID = 200  # characters of what a browser may send


def build_model_line() -> gr.HTML:
    """The component before a visitor's page has opened."""
    return build_component("model", None)


def model_value(
    studio: Studio, session: Session, error: str = "", offered: str | None = None
) -> dict[str, Any]:
    """The models as a visitor sees them. offered is the alias of a model that suits better now."""
    current = studio.find_model(session).alias
    offer = None
    if offered is not None and offered != current:
        offer = {"id": offered, "text": say("model", "offer", name=offered)}
    return {
        "current": current,
        "models": [describe_choice(one) for one in studio.models],
        "can_use_hub": studio.menu.can_grow,
        "offer": offer,
        "error": error[:1].upper() + error[1:],
    }


def describe_choice(choice: ModelChoice) -> dict[str, str]:
    """A model in words: what it can do, its sizes, and whether it is loaded."""
    size = "x".join(map(str, choice.size))
    disk, memory = (format_count(one, SIZES) for one in (choice.disk_bytes, choice.bytes))
    about = say("model", "pictures", size=size, pictures=choice.pictures or choice.family)
    if choice.words:
        about += say("model", "words", count=choice.words)
    mark = say("model", choice.state) if choice.state in ("loaded", "failed") else ""
    sizes = say("model", "sizes", disk=disk, memory=memory)
    return {"id": choice.alias, "about": about, "sizes": sizes, "mark": mark}


def read_id(value: object) -> str:
    """The alias or hub id of an event, which comes from a browser; "" if it is none."""
    return value if isinstance(value, str) and len(value) <= LONGEST_ID else ""
