"""Where sub-packages meet, which never import each other: what a command of one takes from others.

All is imported inside functions, so that a command needs the extras of what it runs alone.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.method.sample import Conditions
from mdp_lite.models.transformer import Attend
from mdp_lite.pipeline.result import Cost, Source

if TYPE_CHECKING:
    from mdp_lite.app.rival import Rival, Watch
    from mdp_lite.app.studio import Lend


def page(host: str) -> "Callable[[Any, Editor, Lend], AbstractContextManager[None]]":
    """What puts the app's page into the service's application, on its engine."""
    from mdp_lite.app.command import beside

    return lambda app, editor, lend: beside(app, editor, lend, host, rivals())


def rivals() -> "tuple[Rival, ...]":
    """What the app compares the variants with: methods of eval, as its own comparison has them."""
    from mdp_lite.app.rival import Rival
    from mdp_lite.eval.contest import CONTROL

    return (Rival("Prompt-to-Prompt", CONTROL._asdict(), prompt_to_prompt),)


@torch.no_grad()
def prompt_to_prompt(
    editor: Editor, source: Source, prompt: str, to: Conditions, watch: "Watch"
) -> tuple[Tensor, Cost]:
    """A source's edit by Prompt-to-Prompt, its words refined, as a clean latent (1, 4, y, x)."""
    from mdp_lite.eval.contest import CONTROL
    from mdp_lite.eval.rivals import words
    from mdp_lite.eval.rivals.asked import Asked
    from mdp_lite.eval.rivals.prompt_to_prompt import prompt_to_prompt

    n, calls = len(source.grid.t), count()

    def unet(x: Tensor, t: Tensor, c: Tensor, attend: Attend) -> Tensor:
        watch(next(calls), n)
        return editor.models.unet(x, t, c, attend)

    asked = Asked(cast(Any, unet), source.grid, source.path, to, editor.runner.v_prediction)
    aligned = words.refined(editor.models.tokenizer, [source.prompt], [prompt])
    x, rows = prompt_to_prompt(asked, aligned, CONTROL)
    return x, Cost(rows, n)
