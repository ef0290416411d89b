"""The options of `mdp-lite mcp`; they are read before the extra [mcp] is imported."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.commands.serve import AccessOptions, ServeOptions, WorkOptions
from mdp_lite.cli.model_options import (
    ClusterEngineOptions,
    EngineOptions,
    ModelOptions,
    RunOptions,
)
from mdp_lite.names import BadInput

FOLDER_HELP = (
    "a folder whose pictures clients may name, and in which they may save new ones; can be "
    "given several times"
)


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """Where it listens; who may use it there is in AccessOptions."""

    heading: ClassVar[str] = "over HTTP (--http)"
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="HOST", show_default="127.0.0.1, this machine only",
                     help="where the service listens"),
    ] = None  # fmt: skip
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=0, max=65535, show_default="8000",
                     help="0 is any free port"),
    ] = None  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class McpOptions:
    """Tools for an assistant that speaks MCP, on stdin and stdout or over HTTP."""

    command: ClassVar[str] = "mcp"
    example: ClassVar[str] = "mdp-lite mcp --folder pictures --dry-run"
    http: Annotated[
        bool,
        typer.Option("--http", help="serve many clients under http://HOST:PORT/mcp: the same as "
                     "mdp-lite serve --mcp"),
    ] = False  # fmt: skip
    folder: Annotated[
        tuple[str, ...], typer.Option("--folder", metavar="DIR", help=FOLDER_HELP)
    ] = ()  # fmt: skip
    listen: HttpOptions = HttpOptions()
    access: AccessOptions = AccessOptions()
    work: WorkOptions = WorkOptions()
    model: ModelOptions = ModelOptions()
    engine: EngineOptions = EngineOptions()
    run: RunOptions = RunOptions()


OPTIONS = McpOptions


def to_serve_options(args: McpOptions) -> ServeOptions:
    """The same over HTTP: the options of the service that has the tools."""
    known, usual = args.listen, ServeOptions()
    return ServeOptions(
        host=known.host or usual.host, port=usual.port if known.port is None else known.port,
        access=args.access, mcp=True, mcp_folder=args.folder, work=args.work, model=args.model,
        engine=ClusterEngineOptions(mode=args.engine.mode, packages=args.engine.packages),
        run=args.run,
    )  # fmt: skip


def check_no_address(args: McpOptions) -> None:
    """Raise BadInput for an option that is for HTTP, without it."""
    known, access = args.listen, args.access
    values = {"--host": known.host, "--port": known.port, "--key-file": access.key_file}
    for name, value in (values | {"--open": access.open or None}).items():
        if value is not None:
            got = name if value is True else f"{name} {value}"
            raise BadInput(f"{name} is for --http, got {got} without it")
