"""Twenty users edit one picture at the same time, each with a deadline; five of them leave.

Written from docs/embedding.md alone. Run it with `python examples/twenty_edits.py`.
"""

# pyright: strict

from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from mdp_lite import (
    Batcher,
    Client,
    DeadlineExceeded,
    Edit,
    Editor,
    Source,
    Stopped,
    client_editor,
    run_batcher,
    warm_up,
)

COLOURS = ("a red", "a blue", "a green", "a yellow", "a purple")
PROMPTS = [f"{one} {thing}" for thing in ("tent", "boat", "car", "tree") for one in COLOURS]
LEAVING = (1, 5, 9, 13, 17)  # they leave halfway
SECONDS = 120.0


def edit_for(
    user: int, editor: Editor, source: Source, batcher: Batcher, client: Client, prompt: str
) -> Edit:
    """The work of one user, in a thread of the pool."""

    def on_step(done: int, total: int, latent: Tensor) -> None:
        if user in LEAVING and done >= total // 2:
            batcher.stop(client)

    with batcher.client(client):
        own = client_editor(editor, batcher, client)
        return own.edit(source, prompt, on_step=on_step, deadline=client.left())


def describe(future: "Future[Edit]", client: Client) -> str:
    """How the work of a user ended, in one line."""
    try:
        edit = future.result()
    except Stopped:
        return f"cancelled: {client.rows} rows"
    except DeadlineExceeded:
        return "too late"
    how = "done" if edit.finished else "best by the deadline"
    return f"{how}: {edit.prompt}, {edit.cost.unet_rows} rows"


def main() -> list[str]:
    """Serve them all; one line for each user, and one for all."""
    with ThreadPoolExecutor(1) as loading:
        editor = loading.submit(Editor.from_pretrained, "tiny", "cpu").result()
    with run_batcher(editor, max_rows=8) as batcher, ThreadPoolExecutor(8) as workers:
        with batcher.client() as first:
            batcher.call(first, lambda: warm_up(editor, rows=(2,)))
            own = client_editor(editor, batcher, first)
            source = own.generate("a blue house", seed=7, num_inference_steps=20, deadline=SECONDS)
        clients = [Client(deadline=SECONDS) for _ in PROMPTS]
        futures = [
            workers.submit(edit_for, user, editor, source, batcher, client, prompt)
            for user, (client, prompt) in enumerate(zip(clients, PROMPTS, strict=True))
        ]
        lines = [describe(*pair) for pair in zip(futures, clients, strict=True)]
        source_rows, rows, calls = source.cost.unet_rows, batcher.rows, batcher.calls
    return [*lines, f"all: {rows} rows in {calls} calls, {source_rows} of them for the source"]


if __name__ == "__main__":
    print("\n".join(main()))
