"""Settings of the page's events."""

import secrets
from typing import Any

import gradio as gr

from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio

# Events that call the model wait for each other in turns.py, which says how long it takes.
MODEL: dict[str, Any] = {
    "concurrency_id": "model", "concurrency_limit": None, "show_progress": "hidden"
}  # fmt: skip
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def find_session(studio: Studio, request: gr.Request) -> Session:
    """The visit of the page that sent a request."""
    return studio.sessions.get_or_create(name_page(request))


def name_page(request: gr.Request) -> str:
    """The name of the page that sent a request; one without a name is nobody else's."""
    return request.session_hash or secrets.token_urlsafe(24)
