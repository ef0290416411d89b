"""Where rooms meet that never import each other: app, batch, eval, serve with mcp_server.

Each is imported inside a function, so that a command needs only the extras of what it runs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from mdp_lite.cli.commands.app import AppOptions
from mdp_lite.cli.commands.batch import BatchOptions
from mdp_lite.cli.commands.bench import BenchOptions
from mdp_lite.cli.commands.doctor import DoctorOptions
from mdp_lite.cli.commands.mcp import McpOptions, to_serve_options
from mdp_lite.cli.commands.serve import ServeOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.reports import Report
from mdp_lite.editor import Editor
from mdp_lite.method.mdp import Guidance, add_channels
from mdp_lite.models.transformer import Attend
from mdp_lite.names import MissingExtra
from mdp_lite.pipeline.result import Cost, Source

if TYPE_CHECKING:
    from mdp_lite.app.models import Lend
    from mdp_lite.app.rival import OnCall, Rival
    from mdp_lite.model_pool.lending import ModelLender
    from mdp_lite.serve.app import AddTools, Page


def run_app(args: AppOptions, console: Console) -> Report:
    """The page, with the methods of eval to compare with. Raises MissingExtra without gradio."""
    try:
        from mdp_lite.app.command import app
    except ImportError as error:
        raise MissingExtra(f"app needs more: pip install 'mdp-lite[app]' ({error})") from None
    return app(args, console, build_rivals())


def run_batch(args: BatchOptions, console: Console) -> Report:
    """Many edits from a table of jobs."""
    from mdp_lite.batch.command import batch

    return batch(args, console)


def run_bench(args: BenchOptions, console: Console) -> Report:
    """Benchmarks of inversions, edits and speed."""
    from mdp_lite.eval.bench_command import bench

    return bench(args, console)


def run_doctor(args: DoctorOptions, console: Console) -> Report:
    """Checks of the machine, of what is installed, and of a model."""
    from mdp_lite.eval.doctor.command import doctor

    return doctor(args, console)


def run_serve(args: ServeOptions, console: Console) -> Report:
    """The service, with the app's page (--app) and the tools (--mcp). Raises MissingExtra."""
    try:
        from mdp_lite.serve.command import serve
    except ImportError as error:
        raise MissingExtra(f"serve needs more: pip install 'mdp-lite[serve]' ({error})") from None
    try:
        page = mount_page(args.host) if args.app else None
    except ImportError as error:
        raise MissingExtra(f"--app needs more: pip install 'mdp-lite[app]' ({error})") from None
    try:
        tools = mount_tools(args.mcp_folder) if args.mcp else None
    except ImportError as error:
        raise MissingExtra(f"--mcp needs more: pip install 'mdp-lite[mcp]' ({error})") from None
    return serve(args, console, page, tools)


def run_mcp(args: McpOptions, console: Console) -> Report:
    """The tools of an assistant: on stdin and stdout, or in the service. Raises MissingExtra."""
    try:
        from mdp_lite.mcp_server.command import serve_one_client
    except ImportError as error:
        raise MissingExtra(f"mcp needs more: pip install 'mdp-lite[mcp]' ({error})") from None
    if args.http:
        return run_serve(to_serve_options(args), console)
    return serve_one_client(args, console)


COMMANDS: dict[str, Callable[[Any, Console], Report]] = {
    "app": run_app,
    "batch": run_batch,
    "bench": run_bench,
    "doctor": run_doctor,
    "mcp": run_mcp,
    "serve": run_serve,
}


def mount_page(host: str) -> "Page":
    """The function that mounts the app's page in the service's application, on its models."""
    from mdp_lite.app.command import mount_beside
    from mdp_lite.app.models import offer_several

    def mount(
        app: Any, editor: Editor, lend: "Lend", alias: str, lender: "ModelLender | None"
    ) -> AbstractContextManager[None]:
        menu = offer_several(editor, alias, lender) if lender else None
        return mount_beside(app, editor, lend, host, build_rivals(), menu)

    return mount


def mount_tools(folders: tuple[str, ...]) -> "AddTools":
    """The function that adds the tools to the service's application, on its engine."""
    from mdp_lite.mcp_server import http

    return http.mount_tools(folders)


def build_rivals() -> "tuple[Rival, ...]":
    """The methods of eval that the app can compare the variants with, with eval's settings."""
    from mdp_lite.app.rival import Rival
    from mdp_lite.eval.methods import CONTROL

    return (Rival("Prompt-to-Prompt", CONTROL._asdict(), run_prompt_to_prompt),)


@torch.no_grad()
def run_prompt_to_prompt(
    editor: Editor, source: Source, prompt: str, guidance: Guidance, on_call: "OnCall"
) -> tuple[Tensor, Cost]:
    """An edit by Prompt-to-Prompt with refined words: its clean latent (1, 4, y, x) and cost.

    on_call(done, total) is called before each UNet call; an exception that it raises cancels.
    """
    from mdp_lite.eval.methods import CONTROL
    from mdp_lite.eval.rivals.alignment import align_refinement
    from mdp_lite.eval.rivals.prompt_to_prompt import prompt_to_prompt
    from mdp_lite.eval.rivals.task import RivalTask

    n, calls = len(source.grid.t), count()

    def unet(x: Tensor, t: Tensor, c: Tensor, attend: Attend) -> Tensor:
        on_call(next(calls), n)
        return editor.models.unet(add_channels(x, guidance.channels), t, c, attend)

    v_prediction = editor.runner.v_prediction
    task = RivalTask(cast(Any, unet), source.grid, source.path, guidance, v_prediction)
    aligned = align_refinement(editor.models.tokenizer.each[0], [source.prompt], [prompt])
    x, rows = prompt_to_prompt(task, aligned, CONTROL)
    return x, Cost(rows, n)
