"""What a dry run of the service says: its address, who may use it, its limits, its memory."""

from dataclasses import asdict
from typing import Any

from mdp_lite.cli.memory import (
    PAGE_BYTES,
    SERVICE_BYTES,
    describe_memory,
    estimate_edit,
    format_memory,
)
from mdp_lite.cli.units import SIZES, format_count, pluralize
from mdp_lite.editor import Editor
from mdp_lite.engine.estimate import Estimate
from mdp_lite.pictures.fit import Size
from mdp_lite.serve.service import choose_max_rows, choose_max_side
from mdp_lite.serve.settings import ServiceSettings

UNITS = {  # of limits: the unit behind the number
    "body_bytes": "B", "waiting_bytes": "B", "source_bytes": "B", "pixels": "pixels",
    "side": "pixels", "prompt": "characters", "head": "s", "read": "s", "write": "s", "idle": "s",
    "deadline": "s",
    "seconds": "s", "rows": "UNet rows", "waiting_rows": "UNet rows",
}  # fmt: skip


def describe_service(editor: Editor, settings: ServiceSettings, page: bool) -> dict[str, Any]:
    """The facts as one object: what the service would listen on, allow and need."""
    rows = choose_max_rows(editor, settings.max_rows)
    return {
        "host": settings.host,
        "port": settings.port,
        "alias": settings.alias,
        "aliases": list(settings.names),
        "openai_names": settings.openai_names,
        "keys": len(settings.keys),
        "open": not settings.keys and not settings.local,
        "origins": list(settings.origins),
        "page": page,
        "rows": rows,
        "replicas": settings.replicas,
        "drain": settings.drain,
        "metadata": settings.metadata,
        "safety_hook": settings.safety_hook is not None,
        "limits": asdict(settings.limits),
        "size": "x".join(map(str, find_largest(editor, settings))),
        **describe_memory(estimate_service(editor, settings, page)),
    }


def find_largest(editor: Editor, settings: ServiceSettings) -> Size:
    """The (width, height) of the largest picture that the limits allow, or the model's own."""
    side = choose_max_side(editor, settings.limits) // editor.runner.factor * editor.runner.factor
    width, height = editor.runner.size
    return max(side, width), max(side, height)


def estimate_service(editor: Editor, settings: ServiceSettings, page: bool) -> Estimate:
    """The memory of the service with the largest edit that its limits allow."""
    rows, size = choose_max_rows(editor, settings.max_rows), find_largest(editor, settings)
    found = estimate_edit(editor, size, settings.limits.steps, rows)
    more = SERVICE_BYTES + (PAGE_BYTES if page else 0)
    more = more if found.library_bytes else 0  # on a GPU it is the GPU's memory
    return found._replace(library_bytes=found.library_bytes + more)


def format_service(model: str, facts: dict[str, Any]) -> list[str]:
    """The facts as lines for people."""
    limits, rows = facts["limits"], facts["rows"]
    whom = "everybody who reaches it may use it" if facts["open"] else "it is for this machine only"
    keys = pluralize(facts["keys"], "key") if facts["keys"] else f"none, {whom}"
    calls = "each picture has its own calls" if rows == 0 else f"at most {rows}"
    host = f"[{facts['host']}]" if ":" in facts["host"] else facts["host"]
    sources = (limits["jobs"] - 1) * facts["path_bytes"]  # of the other jobs that run
    more = limits["waiting_bytes"] + limits["source_bytes"] + sources
    parts = {name: facts.get(name, 0) for name in Estimate._fields}
    names = ", ".join(facts["aliases"]) + (" and OpenAI's" if facts["openai_names"] else "")
    page = [f"page: http://{host}:{facts['port']}/app"] if facts["page"] else []
    page += [f"tools of MCP: http://{host}:{facts['port']}/mcp"] if facts["mcp"] else []
    return [
        f"would serve {model} as {facts['alias']} on http://{host}:{facts['port']}/v1",
        *page,
        f"names of the model: {names}",
        f"API keys: {keys}",
        f"UNet rows of a call: {calls}",
        f"{format_memory(Estimate(**parts))} for an edit of {facts['size']} and {limits['steps']} "
        f"steps, and up to {format_count(more, SIZES)} of what waits, runs beside it and is stored",
        "limits (--limit NAME=VALUE):",
        *(f"  {name:<20}{_format_limit(name, value)}" for name, value in limits.items()),
    ]


def _format_limit(name: str, value: float) -> str:
    unit = UNITS.get(name, "")
    if name == "side" and not value:
        return "twice the model's own"
    if unit == "B":
        return format_count(value, SIZES)
    return f"{value:,g} {unit}".rstrip() if value < 1e6 else f"{value:,.0f} {unit}".rstrip()
