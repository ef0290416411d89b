"""Settings of the page's events."""

from typing import Any

# Events that call the model wait for each other in turns.py, which says how long it takes.
MODEL: dict[str, Any] = {
    "concurrency_id": "model", "concurrency_limit": None, "show_progress": "hidden"
}  # fmt: skip
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
