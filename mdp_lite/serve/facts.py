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
from mdp_lite.model_pool.catalog import choose_bound, read_all_facts
from mdp_lite.pictures.fit import Size
from mdp_lite.serve.lora_folder import LoraFolder
from mdp_lite.serve.memory_plan import describe_plan, format_plan, plan_memory
from mdp_lite.serve.served import choose_max_rows, choose_max_side
from mdp_lite.serve.settings import ServiceSettings

UNITS = {  # of limits: the unit behind the number
    "body_bytes": "B", "waiting_bytes": "B", "source_bytes": "B", "pixels": "pixels",
    "job_bytes": "B", "job_seconds": "s",
    "side": "pixels", "prompt": "characters", "head": "s", "read": "s", "write": "s", "idle": "s",
    "deadline": "s",
    "seconds": "s", "model_seconds": "s", "rows": "UNet rows", "waiting_rows": "UNet rows",
}  # fmt: skip


def describe_service(editor: Editor, settings: ServiceSettings, page: bool) -> dict[str, Any]:
    """The facts as one object: what the service would listen on, allow and need."""
    rows = choose_max_rows(editor, settings.max_rows)
    several = settings.others or settings.lora_folder
    found = estimate_service(editor, settings, page)
    models = describe_models(editor, settings) if several else {}
    plan = plan_memory(found, settings.limits, models.get("other_bytes", 0))
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
        "trace": settings.trace,
        "safety_hook": settings.safety_hook is not None,
        "jobs": settings.jobs.folder or ("jobs/ of the cache" if editor.cache else None),
        "webhook_hosts": list(settings.jobs.webhook_hosts),
        "limits": asdict(settings.limits),
        "size": "x".join(map(str, find_largest(editor, settings))),
        **describe_memory(found),
        **describe_plan(plan),
        **models,
    }


def describe_models(editor: Editor, settings: ServiceSettings) -> dict[str, Any]:
    """The models, the memory for their weights, and the LoRAs. Raises BadInput if one can't fit."""
    facts = read_all_facts(editor, settings)
    bound = choose_bound(settings, facts, editor.device)
    pinned = {settings.alias, *(one.alias for one in settings.others if one.is_pinned)}
    models = {
        alias: {"family": one.family, "bytes": one.bytes, "pinned": alias in pinned}
        for alias, one in facts.items()
    }
    folder = settings.lora_folder
    loras = LoraFolder(folder).list_names() if folder else []
    memory, own = None if bound == float("inf") else int(bound), facts[settings.alias].bytes
    whole = sum(one.bytes for one in facts.values()) if memory is None else memory
    others = whole - own if editor.device.type == "cpu" else 0
    return {"models": models, "model_memory": memory, "other_bytes": others, "loras": loras}


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
    parts = {name: facts.get(name, 0) for name in Estimate._fields}
    names = ", ".join(facts["aliases"]) + (" and OpenAI's" if facts["openai_names"] else "")
    several = _format_models(facts) if "models" in facts else []
    page = [f"page: http://{host}:{facts['port']}/app"] if facts["page"] else []
    page += [f"tools of MCP: http://{host}:{facts['port']}/mcp"] if facts["mcp"] else []
    return [
        f"would serve {model} as {facts['alias']} on http://{host}:{facts['port']}/v1",
        *page,
        f"names of the model: {names}",
        *several,
        f"API keys: {keys}",
        f"UNet rows of a call: {calls}",
        f"jobs: {facts['jobs'] or 'in memory, lost at the end'}; told of their ends: "
        f"{', '.join(facts['webhook_hosts']) or 'nobody'}",
        f"{format_memory(Estimate(**parts))} for an edit of {facts['size']} and {limits['steps']} "
        "steps",
        format_plan(facts),
        "limits (--limit NAME=VALUE):",
        *(f"  {name:<20}{_format_limit(name, value)}" for name, value in limits.items()),
    ]


def _format_models(facts: dict[str, Any]) -> list[str]:
    """A line for each model, one on their memory, and one on the LoRAs."""
    lines = []
    for alias, one in facts["models"].items():
        how = "stays loaded" if one["pinned"] else "loaded when a request names it"
        lines.append(f"model {alias}: {one['family']}, {format_count(one['bytes'], SIZES)}, {how}")
    bound = facts["model_memory"]
    most = "no bound on" if bound is None else f"at most {format_count(bound, SIZES)} for"
    memory, loras = f"{most} the weights of loaded models", ", ".join(facts["loras"]) or "none"
    return [*lines, memory, f"LoRAs that requests may name: {loras}"]


def _format_limit(name: str, value: float) -> str:
    unit = UNITS.get(name, "")
    if name == "side" and not value:
        return "twice the model's own"
    if unit == "B":
        return format_count(value, SIZES)
    return f"{value:,g} {unit}".rstrip() if value < 1e6 else f"{value:,.0f} {unit}".rstrip()
