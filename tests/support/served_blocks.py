"""Small gradio pages for browser tests of single components, served by the test's process."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def serve_blocks(build: Callable[[], Any], **settings: Any) -> Iterator[str]:
    """Serve a page and yield its address; settings are those of launch.

    build makes the gr.Blocks. It is called while an event loop runs, as the page's own is.
    """
    from mdp_lite.app.command import configure_gradio
    from mdp_lite.app.resources import call_in_loop, find_port

    def launch() -> Any:
        blocks = build()
        blocks.launch(
            server_name="127.0.0.1", server_port=find_port("127.0.0.1", None),
            prevent_thread_lock=True, quiet=True, footer_links=[], ssr_mode=False, _frontend=False,
            **settings,
        )  # fmt: skip
        return blocks

    with tempfile.TemporaryDirectory() as folder:
        configure_gradio(Path(folder))
        blocks = call_in_loop(launch)
        yield str(blocks.local_url)
        blocks.close(verbose=False)
