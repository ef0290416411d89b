"""Small gradio pages for browser tests of single components, served by the test's process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def serve_blocks(build: Callable[[], Any], **settings: Any) -> Iterator[str]:
    """Serve a page and yield its address; settings are those of launch.

    build makes the gr.Blocks. It is called while an event loop runs, as the page's own is.
    """
    from mdp_lite.app.loops import call_in_loop

    def launch() -> Any:
        blocks = build()
        blocks.launch(
            prevent_thread_lock=True, quiet=True, footer_links=[], ssr_mode=False, _frontend=False,
            **settings,
        )  # fmt: skip
        return blocks

    blocks = call_in_loop(launch)
    yield str(blocks.local_url)
    blocks.close(verbose=False)
