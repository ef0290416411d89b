"""The page's sentences, in one file that can be translated: texts/en.json. Errors are elsewhere."""

import json
from pathlib import Path
from typing import Any

TEXTS: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent / "texts" / "en.json").read_text("utf-8")
)


def say(part: str, key: str, **values: Any) -> str:
    """A sentence of a part of the page, with its {names} filled in."""
    return TEXTS[part][key].format(**values)
