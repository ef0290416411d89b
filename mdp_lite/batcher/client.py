"""An Editor for a client of a batcher: only the batcher's thread calls the models.

Its models pass every call on to the batcher. The answer is finite, or an error is raised, so these
models need no second attempt in float32.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from mdp_lite.batcher.batcher import Batcher, Client
from mdp_lite.batcher.calls import UNetModel, check_client
from mdp_lite.batcher.turns import Speed
from mdp_lite.editor import Editor
from mdp_lite.engine.work import count_work
from mdp_lite.method.execute import EditTask, SingleStep
from mdp_lite.method.mdp import Reads, Step
from mdp_lite.models.clip import CLIPTextEncoder, CLIPTextEncoders
from mdp_lite.models.transformer import SDPA, Attend
from mdp_lite.models.unet import UNet
from mdp_lite.names import BadInput
from mdp_lite.pipeline.runner import ModelRunner, runner_of

TextEncoder = CLIPTextEncoder | CLIPTextEncoders


class BatchedUNet(nn.Module):
    """Lets the batcher predict noise; calls with another attention are never part of a batch."""

    def __init__(self, unet: UNet, batcher: Batcher, client: Client, model: UNetModel) -> None:
        super().__init__()
        self.config, self.batcher, self.client = unet.config, batcher, client
        self.model = model
        self.call_unet = unet.forward

    def forward(self, x: Tensor, t: Tensor, c: Tensor, attend: Attend = SDPA) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x) without a gradient."""
        if c.requires_grad:
            raise BadInput("null-text inversion can't share a batcher: it needs gradients")
        if attend is SDPA:
            return self.batcher.denoise(self.client, x, t, c, self.model)
        cost = len(x) * self.model.row_work(x)
        return self.batcher.call(self.client, lambda: self.call_unet(x, t, c, attend), cost)


class BatchedVAE(nn.Module):
    """Lets the batcher encode pictures and decode latents."""

    def __init__(self, runner: ModelRunner, batcher: Batcher, client: Client) -> None:
        super().__init__()
        self.config, self.runner = runner.models.vae.config, runner
        self.batcher, self.client = batcher, client
        self.zero = nn.Parameter(torch.zeros(()))  # float32: the runner handles 16 bits

    def encode(self, picture: Tensor) -> Tensor:
        """(b, 3, f y, f x) -> (b, c, y, x)."""
        cells = picture[:, 0].numel() // self.runner.factor**2
        cost = count_work(self.runner.models).encode(cells)
        return self._call("encode", picture, "the picture's latent", cost)

    def decode(self, latent: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, 3, f y, f x)."""
        cost = count_work(self.runner.models).decode(latent[:, 0].numel())
        return self._call("decode", latent, "the decoded picture", cost)

    def _call(self, name: str, x: Tensor, what: str, cost: int) -> Tensor:
        return self.batcher.call(self.client, lambda: self.runner.run_vae(name, x, what), cost)


class BatchedText(nn.Module):
    """Lets the batcher encode prompts."""

    def __init__(self, encoder: TextEncoder, batcher: Batcher, client: Client) -> None:
        super().__init__()
        self.config, self.encoder = encoder.config, encoder
        self.batcher, self.client = batcher, client

    def forward(self, ids: Tensor, skip: int = 0) -> Tensor:
        """Token ids (b, l), or SDXL's (b, 2, l) -> c (b, l, d)."""
        return self.batcher.call(self.client, lambda: self.encoder(ids, skip))


def make_batcher(editor: Editor, max_rows: int = 0) -> Batcher:
    """A batcher for the models of an editor; max_rows is how many UNet rows one call may have.

    Its unit of work is a FLOP.

    >>> make_batcher(editor, max_rows=16).max_rows
    16
    """
    model = make_unet_model(editor, max_rows)
    return Batcher(model.denoise, model.finite_unet, max_rows, model.row_work)


def make_unet_model(editor: Editor, max_rows: int = 0) -> UNetModel:
    """The UNet of an editor as a batcher calls it beside its own; its unit of work is a FLOP.

    >>> other = make_unet_model(editor)
    >>> with run_batcher(editor) as batcher, batcher.client() as client:
    ...     own = client_editor(editor, batcher, client, other)
    ...     own.edit(source, "a blue house on the grass").cost.unet_calls
    3
    """
    runner = runner_of(editor)
    row = count_work(runner.models).row
    return UNetModel(
        runner.engine.denoise, runner.unet, max_rows, lambda x: row(x[0, 0].numel()), Speed()
    )


@contextmanager
def run_batcher(editor: Editor, max_rows: int = 0) -> Iterator[Batcher]:
    """A batcher with the one thread that calls the models, for as long as the context lasts.

    The end of the context stops all clients: what they wait for raises Stopped. max_rows is as in
    make_batcher.

    >>> with run_batcher(editor, max_rows=8) as batcher, batcher.client() as client:
    ...     client_editor(editor, batcher, client).edit(source, "a blue house").cost.unet_calls
    3
    """
    batcher = make_batcher(editor, max_rows)
    thread = threading.Thread(target=batcher.run, name="models", daemon=True)
    thread.start()
    try:
        yield batcher
    finally:
        batcher.close()
        thread.join()


def share_steps(
    single_step: SingleStep | None, batcher: Batcher, client: Client, model: UNetModel
) -> SingleStep | None:
    """Whole recorded steps in the batcher's thread, for as long as a client is the only one.

    With others its rows go into a batch instead.
    """
    if single_step is None:
        return None

    def run(task: EditTask, i: int, reads: Reads, x: Tensor, v_prediction: bool) -> Step | None:
        if batcher.clients > 1:
            return None
        step = partial(single_step, task, i, reads, x, v_prediction)
        return batcher.run_step(client, x, len(reads), step, model)

    return run


def client_editor(
    editor: Editor, batcher: Batcher, client: Client, model: UNetModel | None = None
) -> Editor:
    """The same editor for a client, whose UNet rows share calls with those of other clients.

    Use it in a thread of the client while the batcher runs. model is that of make_unet_model if the
    batcher was made for another editor. Null-text inversion raises BadInput, because it needs
    gradients; batcher.call can run it, and all other clients wait for its end.

    >>> with run_batcher(editor, max_rows=8) as batcher, batcher.client() as client:
    ...     own = client_editor(editor, batcher, client)
    ...     own.edit(source, "a blue house on the grass").cost.unet_calls
    3
    """
    runner = runner_of(editor)
    if not isinstance(batcher, Batcher):
        raise BadInput(f"batcher must be one of make_batcher or run_batcher, got {batcher!r:.80}")
    client, models, model = check_client(client), editor.models, model or batcher.model
    proxies = replace(
        models,
        unet=BatchedUNet(models.unet, batcher, client, model),
        vae=BatchedVAE(runner, batcher, client),
        text_encoder=BatchedText(models.text_encoder, batcher, client),
    )
    own = Editor(proxies, editor.device, editor.cache, "eager", gpu=runner.gpu)
    own.runner.unet = proxies.unet  # its answers are finite already
    own.runner.engine = own.runner.engine._replace(
        single_step=share_steps(runner.engine.single_step, batcher, client, model)
    )
    own.runner.preview_map = batcher.call(client, lambda: runner.preview_map)  # fitted once
    own.runner.decode_seconds, own.runner.blanks = runner.decode_seconds, runner.blanks
    return own
