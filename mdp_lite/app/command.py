"""`mdp-lite app`: a server for the page, by default for this machine alone."""

import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from mdp_lite.app.form import MAX_STEPS
from mdp_lite.app.guard import LOOPBACK, allowed_hosts
from mdp_lite.app.models import Lend, PageModels
from mdp_lite.app.offer import describe_offer, format_offer, open_menu, read_first, read_offer
from mdp_lite.app.page import HEAD, MAX_UPLOAD, SCRIPT, build_middleware, build_page, mount_page
from mdp_lite.app.resources import call_in_loop, find_port
from mdp_lite.app.rival import Rival
from mdp_lite.app.studio import UPLOADS, Studio
from mdp_lite.app.style import FOOTER, build_theme
from mdp_lite.cli.commands.app import AppOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.loading import open_editor_in_thread
from mdp_lite.cli.memory import PAGE_BYTES, describe_memory, estimate_edit, format_memory
from mdp_lite.cli.reports import Report
from mdp_lite.editor import Editor
from mdp_lite.engine.estimate import Estimate
from mdp_lite.names import BadInput

TRIES = 3  # of ports that were free when they were chosen
NEVER = 10**9  # events between two summaries of gradio's, which only a page that is off shows


def app(args: AppOptions, console: Console, rivals: Sequence[Rival] = ()) -> Report:
    """Serve until Ctrl-C or SIGTERM, then delete all files of visitors."""
    editor = open_editor_in_thread(read_first(args).model, args.engine)
    for note in editor.models.notes:
        console.log(note)
    settings = read_offer(args, editor, console.log)
    data = {"command": "app", "dry_run": args.run.dry_run, "model": editor.models.name}
    if args.run.dry_run:
        facts = describe_page(editor, args) | describe_offer(editor, settings)
        return Report({}, data | facts, format_page(editor.models.name, facts))
    with (
        tempfile.TemporaryDirectory(prefix="mdp-lite-app-") as folder,
        open_menu(editor, settings) as menu,
    ):
        studio = Studio(editor, Path(folder), rivals=rivals, menu=menu)
        studio.warm_up()
        blocks = launch(studio, args.host, args.port, args.share)
        console.log(f"the page is on {blocks.share_url or blocks.local_url}")
        _wait_for_signal()
        blocks.close(verbose=False)
        studio.close()
    return Report({}, data, ["stopped"])


def describe_page(editor: Editor, args: AppOptions) -> dict[str, Any]:
    """What a dry run says: where the page would be, who may use it, its limits, its memory."""
    found = estimate_page(editor)
    return {
        "host": args.host, "port": args.port, "share": args.share, "upload": MAX_UPLOAD,
        "steps": MAX_STEPS, **describe_memory(found),
    }  # fmt: skip


def estimate_page(editor: Editor) -> Estimate:
    """The memory of the page with an edit of as many steps as it allows; it fits all pictures."""
    found = estimate_edit(editor, editor.runner.size, MAX_STEPS)
    more = PAGE_BYTES if found.library_bytes else 0  # on a GPU it is the GPU's memory
    return found._replace(library_bytes=found.library_bytes + more)


def format_page(model: str, facts: dict[str, Any]) -> list[str]:
    """The same as lines for people."""
    port = facts["port"] or "7860, or the next free port"
    users = "everybody who reaches it: no keys, one edit at a time"
    if facts["host"] in LOOPBACK and not facts["share"]:
        users = "this machine only, one edit at a time"
    parts = {name: facts.get(name, 0) for name in Estimate._fields}
    link = ["a public link through gradio's servers, for a week"] if facts["share"] else []
    return [
        f"would serve the page of {model} on http://{facts['host']}, port {port}",
        *link,
        f"for {users}",
        f"limits: uploads of {facts['upload'].replace('mb', ' MB')}, {facts['steps']} steps",
        f"{format_memory(Estimate(**parts))} for an edit",
        *format_offer(facts),
    ]


def launch(studio: Studio, host: str, port: int | None, share: bool = False) -> gr.Blocks:
    """Serve the page in a thread, on this port or a free one."""
    configure_gradio(studio.folder)
    return call_in_loop(lambda: _launch(studio, host, port, share))


def _launch(studio: Studio, host: str, port: int | None, share: bool) -> gr.Blocks:
    blocks = build_page(studio)
    middleware = build_middleware(studio, allowed_hosts(host, share))
    for tries_left in reversed(range(TRIES if port is None else 1)):
        chosen = find_port(host, port)
        try:
            blocks.launch(
                server_name=host, server_port=chosen, share=share, theme=build_theme(), head=HEAD,
                js=SCRIPT, max_file_size=MAX_UPLOAD, ssr_mode=False, prevent_thread_lock=True,
                quiet=True, footer_links=FOOTER, run_history=False,
                app_kwargs={"middleware": middleware},
                _frontend=False,  # else it asks itself for its page, and gives up after 3 seconds
            )  # fmt: skip
            break
        except OSError as error:  # another process took the port meanwhile
            if not tries_left:
                raise BadInput(f"can't listen on {host}:{chosen}: {error}") from None
    return blocks


@contextmanager
def mount_beside(
    app: Any, editor: Editor, lend: Lend, host: str, rivals: Sequence[Rival] = (),
    menu: PageModels | None = None,
) -> Iterator[None]:  # fmt: skip
    """Serve the page under /app of another application, which lends the editor for each run.

    menu: its models, if it has several; then they are lent instead.
    """
    with tempfile.TemporaryDirectory(prefix="mdp-lite-app-") as folder:
        configure_gradio(Path(folder))
        studio = Studio(editor, Path(folder), lend, rivals, menu=menu)
        mount_page(app, studio, "/app", allowed_hosts(host, False))
        try:
            yield
        finally:
            studio.close()


def configure_gradio(folder: Path) -> None:
    """Make gradio write its files into this folder, and turn off its telemetry and statistics."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder / UPLOADS)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(NEVER)  # else pandas sums up every event


def _wait_for_signal() -> None:
    stop = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: stop.set())
    while not stop.wait(0.2):
        pass
