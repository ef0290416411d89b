"""The page /docs: all requests, from the OpenAPI document, without a script and from no other site.

It is a page to read. A browser may not call the service from it, so that no other page may either.
"""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse

from mdp_lite.version import __version__

Body = dict[str, Any]
DESCRIPTION = "Editing pictures by text, behind the OpenAI Images API."
# Nothing may be loaded, run, framed or sent by the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 14px/1.4 ui-monospace, monospace }
pre { overflow: auto; padding: .75rem; border: 1px solid #8886; border-radius: 4px }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .25rem .5rem; border-top: 1px solid #8886 }
section { margin: 2rem 0; border-top: 2px solid #8888 }
h2 code { font-size: 1.1rem }
summary { cursor: pointer }
"""


async def home(request: Request) -> JSONResponse:
    """What this is, and where its requests are described."""
    about = {"name": "mdp_lite", "version": __version__, "description": DESCRIPTION}
    paths = {"docs": "/docs", "openapi": "/openapi.json", "api": "/v1"}
    return JSONResponse(about | paths)


async def show(request: Request) -> HTMLResponse:
    """The page."""
    page = build_page(request.app.state.document)
    return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})


async def document(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(request.app.state.document)


def build_page(document: Body) -> str:
    """The page of a document, as HTML."""
    info = document["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    operations = [
        (method.upper(), path, one)
        for path, methods in document["paths"].items()
        for method, one in methods.items()
    ]
    contents = "".join(
        f'<li><a href="#{escape(one["operationId"])}"><code>{method} {escape(path)}</code></a> '
        f"{escape(one['summary'])}</li>"
        for method, path, one in operations
    )
    sections = "".join(_build_section(*one) for one in operations)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>{escape(info['description'])}</p>"
        f'<p>The same as a document for tools: <a href="openapi.json">openapi.json</a>.</p>'
        f"<ul>{contents}</ul>{sections}</body></html>"
    )


def _build_section(method: str, path: str, operation: Body) -> str:
    """One request: what it does, its fields, an example, its answers."""
    description = escape(operation.get("description", ""))
    content = operation.get("requestBody", {}).get("content", {})
    kind, body = next(iter(content.items()), ("", {}))
    fields = "".join(_build_rows(body.get("schema", {})))
    table = (
        f"<details open><summary>{escape(kind)}</summary><table><tr><th>field</th><th>value</th>"
        f"<th>meaning</th></tr>{fields}</table></details>"
        if fields
        else ""
    )
    key = "" if operation["security"] == [] else " It needs a key if the operator has set keys."
    return (
        f'<section id="{escape(operation["operationId"])}"><h2><code>{method} {escape(path)}</code>'
        f"</h2><p>{description}{key}</p>{table}"
        f"<pre>{escape(_build_command(method, path, kind, body))}</pre>"
        f"<table>{''.join(_build_answers(operation['responses']))}</table></section>"
    )


def _build_rows(schema: Body) -> Iterator[str]:
    """A table's row for each field: first what is required, last what few requests have."""
    needed, rare = schema.get("required", []), ("SDXL", "ignored: ")

    def rank(field: tuple[str, Body]) -> tuple[bool, bool]:
        name, one = field
        return name not in needed, any(word in one.get("description", "") for word in rare)

    for name, one in sorted(schema.get("properties", {}).items(), key=rank):
        about = escape(one.get("description", ""))
        value, default = describe_type(one), one.get("default")
        value += ", required" if name in needed else ""
        value += "" if default is None else f", by default {json.dumps(default)}"
        cells = f"<td><code>{escape(name)}</code></td><td>{escape(value)}</td><td>{about}</td>"
        yield f"<tr>{cells}</tr>"


def describe_type(schema: Body) -> str:
    """The values of a field in a few words."""
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        found = [describe_type(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(found)
    if schema.get("type") == "array":
        return f"list of {describe_type(schema.get('items', {}))}"
    if schema.get("format") == "binary":
        return "file"
    low, high = schema.get("minimum"), schema.get("maximum")
    bounds = f" from {low:g} to {high:g}" if low is not None and high is not None else ""
    return f"{schema.get('type', 'anything')}{bounds}"


def _build_command(method: str, path: str, kind: str, body: Body) -> str:
    """The request with its example as a command for a shell."""
    words = ["curl", *([] if method == "GET" else ["-X", method]), f"http://HOST{path}"]
    example = body.get("example", {})
    if kind.startswith("multipart"):
        needs_file = "image[]" in body["schema"]["properties"]
        words += ["-F", "image=@house.png"] if needs_file else []
        words += [word for name, value in example.items() for word in ("-F", f"'{name}={value}'")]
    elif example:
        words += ["--json", f"'{json.dumps(example)}'"]
    return " ".join(words)


def _build_answers(responses: Body) -> Iterator[str]:
    for status, one in responses.items():
        kinds = ", ".join(one.get("content", {}))
        yield (
            f"<tr><td>{escape(status)}</td><td>{escape(one['description'])}</td>"
            f"<td>{escape(kinds)}</td></tr>"
        )
