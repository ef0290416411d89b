"""`mdp-lite mcp`: the tools for the program that started this one."""

import asyncio
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mdp_lite.cli.commands.mcp import McpOptions, check_no_address
from mdp_lite.cli.console import Console
from mdp_lite.cli.loading import open_editor_in_thread
from mdp_lite.cli.memory import describe_memory, format_memory
from mdp_lite.cli.reports import Report
from mdp_lite.cli.streams import check_open
from mdp_lite.editor import Editor
from mdp_lite.engine.estimate import Estimate
from mdp_lite.mcp_server.folders import open_folders
from mdp_lite.mcp_server.stdio import claim_stdio, serve_stdio
from mdp_lite.mcp_server.tools import BY_NAME
from mdp_lite.serve.facts import estimate_service, find_largest
from mdp_lite.serve.logs import log_requests
from mdp_lite.serve.options import parse_limits
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import ServiceSettings, check_settings

ALONE = "a program that speaks MCP starts this command: it waits for messages on stdin"


def serve_one_client(args: McpOptions, console: Console) -> Report:
    """Serve the client on stdin and stdout until it leaves, or until SIGTERM or Ctrl-C.

    A dry run checks everything and reads nothing.
    """
    check_no_address(args)
    folders, limits = open_folders(args.folder), parse_limits(args.work.limit)
    data = {"command": "mcp", "dry_run": args.run.dry_run}
    if args.run.dry_run:
        editor = open_editor_in_thread(args.model, args.engine)
        settings = _build_settings(args, editor, limits)
        for note in editor.models.notes:
            console.log(note)
        facts = describe_tools(editor, settings, folders)
        return Report({}, data | facts, format_tools(facts))
    check_open(sys.stdin, "mcp reads messages on stdin")
    check_open(sys.stdout, "mcp answers on stdout")
    with claim_stdio() as wire:
        editor = open_editor_in_thread(args.model, args.engine)
        for note in editor.models.notes:
            console.log(note)
        console.log(ALONE if sys.stderr.isatty() else f"{editor.models.name} is ready")
        log_requests(args.run.quiet)
        service = Service(editor, _build_settings(args, editor, limits))
        asyncio.run(serve_stdio(service, folders, wire))
    return Report({}, data | {"model": editor.models.name}, ["stopped"])


def _build_settings(args: McpOptions, editor: Editor, limits: Any) -> ServiceSettings:
    """The settings of a service that only one client reaches; its alias is the model's name."""
    alias = re.sub(r"[^\w.:/@+-]", "-", editor.models.name, flags=re.ASCII)[:128]
    return check_settings(
        ServiceSettings(
            alias or ServiceSettings.alias, max_rows=args.work.rows,
            metadata=not args.work.no_metadata, limits=limits,
        )
    )  # fmt: skip


def describe_tools(
    editor: Editor, settings: ServiceSettings, folders: tuple[Path, ...]
) -> dict[str, Any]:
    """What a dry run says: the tools, the folders, the limits and the memory."""
    return {
        "model": editor.models.name, "tools": list(BY_NAME), "folders": list(map(str, folders)),
        "limits": asdict(settings.limits),
        "size": "x".join(map(str, find_largest(editor, settings))),
        **describe_memory(estimate_service(editor, settings, False)),
    }  # fmt: skip


def format_tools(facts: dict[str, Any]) -> list[str]:
    """The same as lines for people."""
    parts = {name: facts.get(name, 0) for name in Estimate._fields}
    where = ", ".join(facts["folders"]) or "none, so that no file can be named"
    return [
        f"would serve {facts['model']} to one client on stdin and stdout",
        f"tools: {', '.join(facts['tools'])}",
        f"folders: {where}",
        f"{format_memory(Estimate(**parts))} for an edit of {facts['size']} and "
        f"{facts['limits']['steps']} steps",
    ]
