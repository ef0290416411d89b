"""The strip of a visit's results: its value, as its script reads it."""

from typing import Any

import gradio as gr

from mdp_lite.app.components.build import build_component
from mdp_lite.app.history import HistoryItem
from mdp_lite.app.sessions import Session


def build_history() -> gr.HTML:
    """The component without results."""
    return build_component("history", None)


def history_value(session: Session) -> dict[str, Any]:
    """The results of a visit, newest first, for the component."""
    history = session.history
    current = history.current
    return {
        "items": [_describe_item(session, one) for one in reversed(list(history))],
        "current": current.id if current else None,
        "pair": list(history.pair) if history.pair else None,
        "can_undo": history.can_undo,
        "can_redo": history.can_redo,
        "archive": session.archive_url,
    }


def _describe_item(session: Session, item: HistoryItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "url": session.url_of(item.edit_file),
        "thumb": session.url_of(item.thumb_file),
        "label": item.label,
        "seconds": round(item.seconds, 1),
        "liked": item.liked,
        "prompt": item.form.prompt,
    }
