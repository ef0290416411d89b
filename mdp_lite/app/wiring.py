"""Settings of the page's events."""

from typing import Any

# Events that call the model wait for each other; events that only change the page do not.
MODEL: dict[str, Any] = {
    "concurrency_id": "model", "concurrency_limit": 1, "show_progress": "hidden"
}  # fmt: skip
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
