"""Everything on Apple's GPU, rehearsed: nothing asks for float64, and results are the CPU's.

The device computes with the CPU's numbers, so what differs is the dtype of latents, noise and
grids: float32 on mps, float64 on the CPU. docs/models.md says how much that is on real pictures.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdp_lite import Editor, Request, Source, Weights, client_editor, once, run_batcher, warm_up
from mdp_lite.method.family import flowedit_table, uniedit_table
from mdp_lite.models.config import UNetConfig
from mdp_lite.names import VARIANTS
from mdp_lite.pipeline.inversion_methods import METHODS
from support.apple import apple_gpu
from support.checkpoints import SCHEDULER
from support.inverting import SETUPS, picture

N, G, PROMPT, TARGET = 4, 3.0, "a red house", "a blue boat"
TOLERANCE = 1e-5  # relative distance from the CPU's latents in float64
Work = Callable[[Editor], Tensor]


class SmallUNet(nn.Module):
    """A denoiser of few operators, as the rehearsal takes a millisecond for each."""

    mix: Tensor
    words: Tensor

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config, random = config, torch.Generator().manual_seed(0)
        shapes = {"mix": (4, config.in_channels, 3, 3), "words": (4, config.cross_attention_dim)}
        for name, shape in shapes.items():
            self.register_buffer(name, 0.2 * torch.randn(shape, generator=random))

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, i, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x), which depends on all."""
        text = F.linear(c, self.words.to(c)).mean(1) + (t.to(x) / 500).sin().reshape(-1, 1)
        return (
            x[:, :4] / 2 + (F.conv2d(x, self.mix.to(x), padding=1) + text[:, :, None, None]).tanh()
        )


def small(editor: Editor, **changes: Any) -> Editor:
    """The editor with that denoiser."""
    unet = SmallUNet(editor.models.unet.config).to(editor.device)
    return Editor(replace(editor.models, unet=unet, **changes), editor.device)


@pytest.fixture(scope="module")
def apple(checkpoint: Path) -> Iterator[Editor]:
    """The random model on mps, in float32: so its UNet computes what it does on the CPU."""
    with apple_gpu():
        yield Editor.from_pretrained(checkpoint, "mps", "float32")


@pytest.fixture(scope="module")
def pair(apple: Editor, editor: Editor) -> tuple[Editor, Editor]:
    """The same denoiser on mps and on the CPU."""
    return small(apple), small(editor)


def made(editor: Editor) -> Source:
    return editor.generate(PROMPT, 3, N, G)


def noisy(editor: Editor) -> Source:
    return editor.generate(PROMPT, 3, N, G, record_noise=True)


def edit(**settings: Any) -> Work:
    return lambda editor: editor.edit(made(editor), TARGET, **settings).latent


def edit_noisy(editor: Editor) -> Tensor:
    return editor.edit(noisy(editor), TARGET).latent


def edit_by_table(editor: Editor) -> Tensor:
    """The tables of the family are made from the source's grid, which lies on its device."""
    source = noisy(editor)
    return editor.edit(source, TARGET, weights=flowedit_table(source.grid)).latent


def edit_by_maps(editor: Editor) -> Tensor:
    """A caller's own table: a map in 16 bits on the Editor's device, and a mask of cells there."""
    ones = torch.ones(N, 1, 1, 8, 8, device=editor.device, dtype=torch.float16)
    table = Weights(*torch.zeros(4, N, device=editor.device))._replace(eps=ones / 4)
    mask = torch.eye(8, device=editor.device)
    return editor.edit(made(editor), TARGET, weights=table, mask=mask).latent


def join(latents: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(latents))


def sweep(editor: Editor) -> Tensor:
    found = editor.sweep(made(editor), [TARGET, "a tent"], VARIANTS, windows=[(4, 2), (3, 1)])
    return join([one.latent for one in found.edits])


def edit_several(editor: Editor) -> Tensor:
    source = made(editor)
    requests = [Request(source, TARGET), Request(noisy(editor), "a tent", strength=0.3)]
    return join([one.latent for one in editor.edits(requests)])


def stop_early(editor: Editor) -> Tensor:
    """What an edit heads for in its first steps."""
    steps = editor.steps([Request(made(editor), TARGET, t_max=4, t_m=1)])
    return join([one.states[0].x0 for one in steps])


def share_a_batcher(editor: Editor) -> Tensor:
    with run_batcher(editor, 6) as batcher, batcher.client() as client:
        own = client_editor(editor, batcher, client)
        source = own.invert(picture(), PROMPT, num_inference_steps=N)
        return own.edit(source, TARGET, mask="auto").latent


WORK: dict[str, Work] = {
    "generate": lambda editor: made(editor).path.x,
    "record noise": lambda editor: noisy(editor).path.noise + 0,  # type: ignore[operator]
    **{f"edit, {one}": edit(variant=one, t_max=4, t_m=2) for one in VARIANTS},
    "edit, default": edit(),
    "edit, strength": edit(strength=0.4),
    "edit, box": edit(mask=(4, 4, 20, 24)),
    "edit, automatic mask": edit(mask="auto"),
    "edit, proximal": edit(proximal=0.7),
    "edit, negative prompt": edit(negative_prompt="a tree"),
    "edit, uni-edit's table": edit(weights=uniedit_table(N)),
    "edit, recorded noise": edit_noisy,
    "edit, flow-edit's table": edit_by_table,
    "edit, own maps": edit_by_maps,
    "several edits": edit_several,
    "sweep": sweep,
    "predictions": stop_early,
    "once": lambda editor: once(editor, PROMPT, TARGET, 3, num_inference_steps=N).latent,
    "batcher": share_a_batcher,
}


def distance(got: Tensor, want: Tensor) -> float:
    """Relative, after checks that they are what they should be."""
    assert got.device.type == "mps" and got.dtype == torch.float32 and want.dtype == torch.float64
    return float((got.cpu().double() - want).norm() / want.norm())


@pytest.mark.representative(
    "generate",
    "edit, epsilon",
    "edit, box",
    "edit, recorded noise",
    "edit, own maps",
    "sweep",
    "once",
    "batcher",
)
@pytest.mark.parametrize("name", WORK)
def test_the_same_as_on_a_cpu(name: str, pair: tuple[Editor, Editor]) -> None:
    assert distance(*map(WORK[name], pair)) < TOLERANCE


@pytest.mark.representative("replay", "edit-friendly", "null-text")
@pytest.mark.parametrize("method", METHODS)
def test_inversions_and_edits_of_them(method: str, pair: tuple[Editor, Editor]) -> None:
    """Gradients are zeros in the rehearsal, so null rows stay as they are: on both devices."""
    sources = [one.invert(picture(), PROMPT, method, N, G) for one in pair]
    assert distance(*(one.path.x for one in sources)) < TOLERANCE
    both = zip(pair, sources, strict=True)
    assert distance(*(one.edit(source, TARGET).latent for one, source in both)) < TOLERANCE


LINSPACE = replace(SCHEDULER, timestep_spacing="linspace")  # whose timesteps are fractions
GRIDS = {
    **SETUPS,
    **{name: replace(LINSPACE, sampler=name) for name in ("euler", "euler-ancestral")},
    **{name: replace(SCHEDULER, sampler=name) for name in ("lcm", "tcd")},
}


@pytest.mark.representative("v-zero-snr", "euler-ancestral", "lcm")
@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid(grid: str, apple: Editor, editor: Editor) -> None:
    pair = (small(one, scheduler=GRIDS[grid]) for one in (apple, editor))
    assert distance(*(join([made(one).path.x, edit()(one)[None]]) for one in pair)) < TOLERANCE


@pytest.mark.slow
def test_the_real_unet(apple: Editor, editor: Editor) -> None:
    """Its part of null-text, too; it reads no wide number."""
    sources = [one.invert(picture(), PROMPT, "null-text", 2, G) for one in (apple, editor)]
    assert distance(*(one.path.x for one in sources)) < TOLERANCE


def test_inpainting(apple: Editor, checkpoint_inpaint: Path) -> None:
    """With a mask of its own, and without one: then the whole picture is repainted."""
    devices = [Editor.from_pretrained(checkpoint_inpaint, one, "float32") for one in ("mps", "cpu")]
    pair = [small(one) for one in devices]
    box = (4, 4, 20, 24)
    sources = [one.invert(picture(), PROMPT, "ddim", N, mask=box) for one in pair]
    both = list(zip(pair, sources, strict=True))
    assert distance(*(one.edit(source, TARGET).latent for one, source in both)) < TOLERANCE
    assert distance(*(edit()(one) for one in pair)) < TOLERANCE


def test_previews(pair: tuple[Editor, Editor]) -> None:
    """Latents that differ by rounding have pictures that differ by a level at most."""
    steps = [[*one.steps([Request(made(one), TARGET)])][-1] for one in pair]
    both = zip(pair, steps, strict=True)
    shown = [torch.tensor(list(one.preview(step.states[0]).tobytes())) for one, step in both]
    assert (shown[0] - shown[1]).abs().max() <= 1 and shown[1].float().std() > 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits(dtype: str, apple: Editor, checkpoint: Path) -> None:
    """Of the models alone: latents are as wide as they can be."""
    editor = small(Editor.from_pretrained(checkpoint, "mps", dtype))
    warm_up(editor, rows=[2], num_inference_steps=N)
    source = editor.invert(picture(), PROMPT, num_inference_steps=N)
    assert editor.edit(source, TARGET).latent.dtype == source.path.x.dtype == torch.float32


def test_seeds_mean_the_same(pair: tuple[Editor, Editor]) -> None:
    """Noise is drawn on the CPU in float32, so it is equal bit for bit."""
    noises = [one.runner.noise(5, 32, 32) for one in pair]
    assert torch.equal(noises[0].cpu().double(), noises[1])


def test_the_rehearsal_sees_float64(apple: Editor) -> None:
    one = small(apple)
    one.runner.wide = torch.float64
    with pytest.raises(TypeError, match="MPS has no float64"):
        made(one)


def test_the_rehearsal_sees_a_number_on_the_cpu(apple: Editor) -> None:
    with pytest.raises(RuntimeError, match="on the same device: mul"):
        torch.zeros(2, device=apple.device).mul_(torch.tensor(0.5))
