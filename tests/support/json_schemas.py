"""Whether a value has a JSON schema, as far as the service's document uses them."""

from typing import Any

TYPES = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float),
    "boolean": bool, "null": type(None),
}  # fmt: skip


def find_faults(value: Any, schema: dict[str, Any], where: str = "$") -> list[str]:
    """What of a value its schema forbids; a property that the schema does not name is a fault."""
    if "anyOf" in schema:
        found = [find_faults(value, one, where) for one in schema["anyOf"]]
        return min(found, key=len)
    if "type" in schema:
        kind = TYPES[schema["type"]]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            return [f"{where} is no {schema['type']}: {value!r}"]
    if value not in schema.get("enum", [value]):
        return [f"{where} must be one of {schema['enum']}: {value!r}"]
    if isinstance(value, list):
        parts = [(f"{where}[{k}]", one, schema.get("items", {})) for k, one in enumerate(value)]
    elif isinstance(value, dict) and schema:
        missing = [
            f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value
        ]
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        if missing or (extra := [name for name in value if name not in known and other is None]):
            return missing or [f"{where}.{name} is not in the schema" for name in extra]
        parts = [(f"{where}.{name}", one, known.get(name, other)) for name, one in value.items()]
    else:
        parts = []
    return [fault for name, one, inner in parts for fault in find_faults(one, inner, name)]
