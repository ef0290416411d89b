"""The log: lines of JSON on standard error, with nothing that a client sent.

A request's line has its id, method, route, kind, status and seconds. A failure's line names the
errors and the places in the code. It leaves the errors' messages out, which may quote a prompt,
unless they are RuntimeErrors, with which torch says what a device lacks.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from mdp_lite.pipeline.warn import WORDS

OWN = "mdp_lite.serve"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
log = logging.getLogger(OWN)


def log_requests(quiet: bool) -> None:
    """Log requests as lines of JSON on stderr, and the warnings of all other loggers."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(is_for_operators)
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    logging.getLogger(WORDS).setLevel(logging.ERROR)  # answers name them, to who sent them alone
    logging.getLogger(OWN).setLevel(logging.ERROR if quiet else logging.INFO)


def is_for_operators(record: logging.LogRecord) -> bool:
    """Whether a line is written: other libraries quote pictures' metadata and sessions' ids."""
    quotes = record.name.split(".")[0] == "mcp" and record.levelno < logging.ERROR
    return record.name == OWN or (record.levelno >= logging.WARNING and not quotes)


def log_request(fields: dict[str, Any]) -> None:
    """Log a request that is answered."""
    log.info("a request", extra={"fields": fields})


def log_failure(message: str, name: str | None, error: BaseException) -> None:
    """Log an error that is the service's own, in the request with this id."""
    log.error(message, exc_info=error, extra={"fields": {"id": name, "message": message}})


def name_method(method: str) -> str:
    """The method of a request, or OTHER for one that only its client knows."""
    return method if method in METHODS else "OTHER"


class JsonLines(logging.Formatter):
    """Each record as one line of JSON, with time and level."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        message = record.getMessage()
        other = {"logger": record.name, "message": message}
        line |= getattr(record, "fields", other)
        if record.exc_info and (error := record.exc_info[1]):
            # What follows the first line are values that the error's logger has seen.
            line["message"] = message.partition("\n")[0]
            line["errors"] = [_describe(one) for one in walk_causes(error)]
        return json.dumps(line)


def walk_causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that led to it, each once."""
    seen: list[BaseException] = []
    left: BaseException | None = error
    while left is not None and not any(left is one for one in seen):
        seen.append(left)
        yield left
        left = left.__cause__ or (None if left.__suppress_context__ else left.__context__)


def _describe(error: BaseException) -> dict[str, Any]:
    """An error's type, where it was raised, and its message if that quotes no client."""
    kind = type(error)
    frames = traceback.extract_tb(error.__traceback__)
    found = {
        "type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
        "frames": [f"{one.filename}:{one.lineno} {one.name}" for one in frames],
    }
    if isinstance(error, RuntimeError | MemoryError):
        return found | {"message": str(error)}
    if isinstance(error, OSError):  # without its path
        return found | {"message": error.strerror}
    return found
