"""Which fields of a request say nothing to this service, and why: answers list them.

What would change the picture is refused instead (field_types.py, conflicts.py).
"""

from mdp_lite.serve.fields import CommonFields, SourceFields, SweepFields
from mdp_lite.serve.settings import ServiceSettings

HEADER = "x-ignored-parameters"
IGNORED = "ignored: "  # how the description of such a field begins


def explain_ignored(
    fields: CommonFields | SourceFields | SweepFields, settings: ServiceSettings
) -> dict[str, str]:
    """The fields of a request that have no effect, by name, each with the reason."""
    said = {name: field.description or "" for name, field in type(fields).model_fields.items()}
    found = {
        name: why.removeprefix(IGNORED)
        for name, why in said.items()
        if name in fields.model_fields_set and why.startswith(IGNORED)
    }
    if isinstance(fields, CommonFields | SweepFields):
        if fields.output_compression is not None and fields.output_format == "png":
            found["output_compression"] = "a PNG loses nothing"
    if fields.model is not None and fields.model not in settings.names:
        which = "the first model here is" if settings.others else "there is one model here,"
        found["model"] = f"{which} {settings.alias}"
    return found


def list_header(ignored: dict[str, str]) -> dict[str, str]:
    """The header that names the ignored fields; none without them."""
    return {HEADER: ", ".join(ignored)} if ignored else {}
