"""`mdp-lite app`: a server for the page, on this machine alone unless asked otherwise."""

import os
import signal
import tempfile
import threading
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from mdp_lite.app.fence import Fence, names_of
from mdp_lite.app.page import CSS, FOOTER, LABELS, LARGEST, mounted, page, theme
from mdp_lite.app.rival import Rival
from mdp_lite.app.studio import Lend, Studio
from mdp_lite.cli.console import Console
from mdp_lite.cli.loading import open_editor_in_thread
from mdp_lite.editor import Editor


def app(args: Namespace, console: Console, rivals: Sequence[Rival] = ()) -> Made:
    """Serve until Ctrl-C or SIGTERM; all files that visitors left are deleted then."""
    editor = open_editor_in_thread(args)
    for note in editor.models.notes:
        console.log(note)
    data = {"command": "app", "dry_run": args.dry_run, "model": editor.models.name}
    if args.dry_run:
        return Made({}, data, [f"would serve the page of {editor.models.name}"])
    with tempfile.TemporaryDirectory(prefix="mdp-lite-app-") as folder:
        studio = Studio(editor, Path(folder), rivals=rivals)
        studio.warm()
        blocks = launched(studio, args.host, args.port, args.share)
        console.log(f"the page is on {blocks.share_url or blocks.local_url}")
        _until_told()
        blocks.close(verbose=False)
    return Made({}, data, ["stopped"])


def launched(studio: Studio, host: str, port: int | None, share: bool = False) -> gr.Blocks:
    """The page on a server of its own, which runs in a thread."""
    own(studio.folder)
    blocks = page(studio)
    fence = Fence, (), {"names": names_of(host, share)}
    try:
        blocks.launch(
            server_name=host, server_port=port, share=share, theme=theme(), css=CSS, js=LABELS,
            max_file_size=LARGEST, ssr_mode=False, prevent_thread_lock=True, quiet=True,
            footer_links=FOOTER, run_history=False, app_kwargs={"middleware": [fence]},
            _frontend=False,  # else it asks itself for its page, and gives up after three seconds
        )  # fmt: skip
    except OSError as error:
        raise ValueError(f"can't listen on {host}:{port or 'a free port'}: {error}") from None
    return blocks


@contextmanager
def beside(
    app: Any, editor: Editor, lend: Lend, host: str, rivals: Sequence[Rival] = ()
) -> Iterator[None]:
    """The page under /app of another application, which lends the editor, while that is served."""
    with tempfile.TemporaryDirectory(prefix="mdp-lite-app-") as folder:
        own(Path(folder))
        studio = Studio(editor, Path(folder), lend, rivals)
        mounted(app, studio, "/app", names_of(host, False))
        yield


def own(folder: Path) -> None:
    """Files of gradio lie in a folder of ours, and it tells nobody that it runs."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def _until_told() -> None:
    told = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: told.set())
    while not told.wait(0.2):
        pass
