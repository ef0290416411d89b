"""The MCP server: lists the tools and calls them; their errors are answers that say what to do."""

import json
from pathlib import Path
from typing import Any

from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)

from mdp_lite.mcp_server.calls import ToolAnswer, open_call
from mdp_lite.mcp_server.tools import BY_NAME, describe_scope, list_tools
from mdp_lite.serve.errors import EXPECTED, to_api_error, validate
from mdp_lite.serve.logs import log_failure
from mdp_lite.serve.service import Service
from mdp_lite.version import __version__

INSTRUCTIONS = (
    "mdp_lite edits pictures by text with a diffusion model: it changes what a prompt says and "
    "leaves the rest. Call edit_picture with a picture, source_prompt (what it shows) and prompt "
    "(what it should show). To edit one picture several times use the source id of the first "
    "answer. describe_model says what the model can draw."
)
Context = ServerRequestContext[Any, Any]


def build_server(service: Service, folders: tuple[Path, ...] = ()) -> Server[Any]:
    """The server of a service. folders: those whose files clients may name, with their names."""
    tools = list_tools(service.editor, bool(folders))

    async def on_list(ctx: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools)

    async def on_call(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        return await call_tool(ctx, params, service, folders)

    return Server(
        "mdp_lite", version=__version__, title="mdp_lite: edit pictures by text",
        instructions=f"{INSTRUCTIONS} {describe_scope(service.editor)}",
        on_list_tools=on_list, on_call_tool=on_call,
    )  # fmt: skip


async def call_tool(
    ctx: Context, params: CallToolRequestParams, service: Service, folders: tuple[Path, ...]
) -> CallToolResult:
    """The answer of a tool, or an answer that says what was wrong. Raises MCPError if it is none.

    Details of an unexpected error are only logged.
    """
    tool = BY_NAME.get(params.name)
    if tool is None:
        message = f"no tool {params.name[:100]!r}: there are {', '.join(BY_NAME)}"
        raise MCPError(INVALID_PARAMS, message)
    try:
        fields = validate(tool.takes, params.arguments or {})
        with open_call(ctx, service, folders) as call:
            return to_result(await tool.run(call, fields))
    except Exception as error:
        found = to_api_error(error, tuple(tool.takes.model_fields))
        if found.status >= 500 and found.code not in EXPECTED:
            log_failure(f"the tool {tool.name} failed", None, error)
        again = f"; try again in {found.retry:.0f} seconds" if found.retry else ""
        return CallToolResult(content=[TextContent(text=found.message + again)], is_error=True)


def to_result(answer: ToolAnswer) -> CallToolResult:
    """An answer's images, and the rest both as text and as structured content."""
    said = answer.output.model_dump(mode="json")
    text = TextContent(text=json.dumps(said))
    return CallToolResult(content=[*answer.images, text], structured_content=said)
