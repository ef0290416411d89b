"""For tests of inversions: editors in float64 on every kind of grid, pictures, formulas."""

from copy import deepcopy
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor, nn

from mdp_lite.editor import Editor
from mdp_lite.method.mdp import add_channels
from support.checkpoints import SCHEDULER

N, G, PROMPT = 8, 3.0, "a red house"
SETUPS = {
    "epsilon": SCHEDULER,
    "v": replace(SCHEDULER, prediction_type="v_prediction"),
    "v-zero-snr": replace(
        SCHEDULER, prediction_type="v_prediction", timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    ),
}  # fmt: skip


def picture(seed: int = 0, width: int = 32, height: int = 32) -> Image.Image:
    pixels = torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))
    return Image.fromarray((255 * pixels).byte().numpy())


def double(editor: Editor, setup: str = "epsilon") -> Editor:
    """The random model in float64 with another scheduler: a difference is not rounding."""
    models = editor.models
    unet, text = (deepcopy(m).double() for m in (models.unet, models.text_encoder))
    return Editor(
        replace(models, unet=unet, text_encoder=text, scheduler=SETUPS[setup]), editor.device
    )


def prediction(
    editor: Editor, x: Tensor, t: Tensor, prompt: str, negative: str, g: float
) -> Tensor:
    """Guided, each of the two rows in its own call."""
    with torch.no_grad():
        runner = editor.runner
        conditions = runner.condition(prompt), runner.null_condition(negative)
        inputs = add_channels(x, runner.blank_channels())
        e, e_null = (editor.models.unet(inputs, t, c) for c in conditions)
    return e_null + g * (e - e_null)


def noise_in(out: Tensor, x: Tensor, a: Tensor, v_prediction: bool) -> tuple[Tensor, Tensor]:
    """x_0 and eps of a prediction: Song et al. 2021 Eq. 12, or Salimans & Ho 2022, Appendix D."""
    if v_prediction:
        return a.sqrt() * x - (1 - a).sqrt() * out, a.sqrt() * out + (1 - a).sqrt() * x
    return (x - (1 - a).sqrt() * out) / a.sqrt(), out


class CountingUNet(nn.Module):
    """A UNet that records how many rows each call has, and how many rows go backward."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.config = unet, unet.config
        self.rows: list[int] = []
        self.backward: list[int] = []

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        self.rows.append(len(x))
        out = self.unet(x, t, c)
        if out.requires_grad:
            out.register_hook(lambda slope: self.backward.append(len(slope)))
        return out

    def counts(self) -> tuple[int, int, int]:
        """Rows, calls and rows backward since the last call of this method."""
        counts = sum(self.rows), len(self.rows), sum(self.backward)
        self.rows, self.backward = [], []
        return counts


def counting(editor: Editor) -> tuple[Editor, CountingUNet]:
    """The same editor with a UNet that counts its calls."""
    unet = CountingUNet(editor.models.unet)
    return Editor(replace(editor.models, unet=unet), editor.device, editor.cache), unet
