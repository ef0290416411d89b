"""The most memory that a service takes: a sum of bounds, each of which the service keeps."""

from typing import Any, NamedTuple

from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.engine.estimate import Estimate
from mdp_lite.serve.holdings import text_limit
from mdp_lite.serve.memory import TRIM
from mdp_lite.serve.settings import Limits

READ = 32  # bytes of a pixel while a picture is read or written; one at a time in the process
BODY = 9  # bytes for each of a body that is read as JSON; one at a time
VALUES = 32  # bytes for each of a JSON text of many small values, or of a form's escapes
CONNECTION = 2**17  # bytes of an open connection: its buffers, its parser, its objects


class MemoryPlan(NamedTuple):
    """The bytes of each part, at most; their sum is what the process takes."""

    model: int
    others: int
    requests: int
    sources: int
    reading: int
    connections: int
    freed: int

    @property
    def total(self) -> int:
        """All together."""
        return sum(self)


def plan_memory(found: Estimate, limits: Limits, others: int = 0) -> MemoryPlan:
    """The memory of a service at most; found is that of the largest edit without requests.

    model: Python, libraries, weights, the largest call and its gaps. others: the weights of other
    models. requests: what the ledger
    counts. sources: those that are stored. reading: one body and one picture at a time.
    freed: what malloc keeps until it is asked for it.
    """
    texts = max(BODY * limits.body_bytes, VALUES * text_limit(limits))
    return MemoryPlan(
        model=found.peak_bytes, others=others, requests=limits.waiting_bytes,
        sources=limits.source_bytes,
        reading=READ * limits.pixels + texts + limits.body_bytes,
        connections=CONNECTION * (limits.connections + limits.requests), freed=TRIM,
    )  # fmt: skip


def describe_plan(plan: MemoryPlan) -> dict[str, Any]:
    """The plan for --json."""
    return {"most_bytes": plan.total, "most_parts": plan._asdict()}


def format_plan(facts: dict[str, Any]) -> str:
    """The same as a line for people."""
    names = {
        "model": "Python, model and its calls", "others": "other models (--model-memory)",
        "requests": "open requests (waiting_bytes)",
        "sources": "stored sources (source_bytes)", "reading": "one picture and one body in work",
        "connections": "connections", "freed": "freed and not given back yet",
    }  # fmt: skip
    parts = facts["most_parts"]
    sizes = ", ".join(
        f"{text} {format_count(parts[name], SIZES)}" for name, text in names.items() if parts[name]
    )
    return f"memory at most {format_count(facts['most_bytes'], SIZES)}: {sizes}"
