"""Results are finite: what 16 bits can't hold is computed in 32, and no NaN becomes a picture."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mdp_lite.editor import Editor
from mdp_lite.method.null_text import null_text
from mdp_lite.names import NotFinite
from mdp_lite.pipeline.finite import run_finite
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.preview import fit_preview
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Source
from support.inverting import PROMPT, picture
from support.tables import relative_error

N, TARGET = 4, "a blue boat"
PICTURE = picture()
LOUD = 2e5  # the first convolution's result is beyond 65504; the norms after it take that away


class Dtypes(list[torch.dtype]):
    """A list that a model and its copies share."""

    def __deepcopy__(self, memo: dict) -> "Dtypes":
        return self


class RecordingUNet(nn.Module):
    """A UNet that records the dtype of each call; single: in float32, of what float16 rounded."""

    def __init__(self, unet: nn.Module, dtypes: Dtypes, single: bool = False) -> None:
        super().__init__()
        self.unet, self.config, self.dtypes, self.single = unet, unet.config, dtypes, single

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        self.dtypes.append(next(self.unet.parameters()).dtype)
        return self.unet(x.float(), t, c.float()) if self.single else self.unet(x, t, c)


def loud(model: nn.Module) -> nn.Module:
    """A copy in float16 whose activations float16 can't hold."""
    model = deepcopy(model)
    first = getattr(model, "encoder", model).conv_in
    with torch.no_grad():
        first.weight *= LOUD
        if hasattr(model, "decoder"):
            model.decoder.conv_in.weight *= LOUD
    return model.half()


def with_parts(editor: Editor, **parts: nn.Module) -> Editor:
    return Editor(replace(editor.models, **parts), editor.device)


def has_colours(image: Image.Image) -> bool:
    """Not black, nor of any other one colour."""
    return image.getcolors(1) is None


@pytest.fixture(scope="module")
def half(editor: Editor) -> Editor:
    text = deepcopy(editor.models.text_encoder).half()
    return with_parts(editor, unet=loud(editor.models.unet), text_encoder=text)


@pytest.fixture(scope="module")
def broken(editor: Editor) -> Editor:
    """In float32, with a weight that is no number."""
    unet = deepcopy(editor.models.unet)
    with torch.no_grad():
        unet.conv_out.weight[0, 0, 0, 0] = float("nan")
    return with_parts(editor, unet=unet)


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    return editor.generate(PROMPT, 1, N)


# --- float16 -----------------------------------------------------------------------------------


def test_float16_alone_would_give_no_numbers(half: Editor) -> None:
    c = half.runner.condition(PROMPT)
    with torch.no_grad():
        out = half.models.unet(torch.randn(1, 4, 8, 8).half(), torch.tensor(500), c)
    assert not out.isfinite().all()


def test_what_float16_can_not_hold_is_computed_in_float32(half: Editor) -> None:
    """Every call once more, and to the bit what the same weights predict in float32."""
    dtypes = Dtypes()
    unet = half.models.unet
    one = with_parts(half, unet=RecordingUNet(unet, dtypes))
    same = with_parts(half, unet=RecordingUNet(deepcopy(unet).float(), Dtypes(), single=True))
    edits = []
    for each in (one, same):
        source = each.generate(PROMPT, 1, N)
        edits.append(each.edit(source, TARGET, "c", N, 2))
        assert source.path.x.isfinite().all() and source.path.eps.isfinite().all()
    assert torch.equal(edits[0].latent, edits[1].latent)
    assert edits[0].image.tobytes() == edits[1].image.tobytes()
    calls = N + edits[0].cost.unet_calls
    assert dtypes == [torch.float16, torch.float32] * calls


def test_it_is_near_the_model_in_float32(half: Editor) -> None:
    """What float16 rounds, the prompt's condition and x, moves the edit by 1% at most."""
    models = half.models
    whole = with_parts(
        half, unet=deepcopy(models.unet).float(), text_encoder=deepcopy(models.text_encoder).float()
    )
    edits = []
    for each in (half, whole):
        edits.append(each.edit(each.generate(PROMPT, 1, N), TARGET, "c", N, 2).latent)
    assert edits[0].isfinite().all() and relative_error(*edits) <= 1e-2


@pytest.mark.representative("replay", "edit-friendly", "fixed-point")
@pytest.mark.parametrize("method", METHODS)
def test_every_inversion_is_finite_in_float16(half: Editor, method: str) -> None:
    how = Inversion(method, inner_steps=2) if method == "null-text" else method
    source = half.invert(PICTURE, PROMPT, how, N, 3.0)
    assert all(one.isfinite().all() for one in source.path if one is not None)
    edit = half.edit(source, TARGET)
    assert edit.latent.isfinite().all() and has_colours(edit.image)


def test_a_vae_is_run_in_float32_too(editor: Editor, source: Source) -> None:
    vae = loud(editor.models.vae)
    one, same = with_parts(editor, vae=vae), with_parts(editor, vae=deepcopy(vae).float())
    with torch.no_grad():
        assert not vae.decode(source.path.x[-1].half()).isfinite().all()  # type: ignore[operator]
    assert torch.equal(one.runner.encode(PICTURE), same.runner.encode(PICTURE))
    shown, want = (each.runner.decode(source.path.x[-1]) for each in (one, same))
    assert shown.tobytes() == want.tobytes() and has_colours(shown)
    maps = [fit_preview(each.models.vae) for each in (one, same)]
    assert relative_error(*maps) <= 1e-2  # of latents that float16 rounded


# --- nothing helps -----------------------------------------------------------------------------

WHY = r"the model's prediction is not finite \(NaN or infinity\) in float32$"


@pytest.mark.parametrize("method", METHODS)
def test_no_inversion_gives_what_is_not_finite(broken: Editor, method: str) -> None:
    with pytest.raises(NotFinite, match=WHY):
        broken.invert(PICTURE, PROMPT, method, N)


def test_no_edit_gives_it(broken: Editor, source: Source) -> None:
    request = Request(source, TARGET, "c")
    for make in (
        lambda: broken.generate(PROMPT, 1, N),
        lambda: broken.edit(source, TARGET, "c"),
        lambda: broken.edit(source, TARGET, mask="auto"),
        lambda: broken.edits([request, request], 4),
        lambda: broken.sweep(source, [TARGET, PROMPT], ("c", "x")),
    ):
        with pytest.raises(NotFinite, match=WHY):
            make()


class LateUNet(nn.Module):
    """A UNet that predicts infinity once a path has come below a timestep."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.config = unet, unet.config

    def forward(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        out = self.unet(x, t, c)
        return torch.where(t.max() < 400, torch.inf, out)


def test_a_step_that_fails_late_is_found_at_once(editor: Editor, source: Source) -> None:
    late, done = with_parts(editor, unet=LateUNet(editor.models.unet)), []
    with pytest.raises(NotFinite, match=WHY):
        late.generate(PROMPT, 1, N, on_step=lambda i, n, x: done.append(x))
    assert len(done) == 2 and all(x.isfinite().all() for x in done)  # of 751, 501, 251 and 1


def test_null_text_is_checked_step_by_step(editor: Editor) -> None:
    """The inversion that it starts from is finite here: only the way down fails."""
    runner, late = editor.runner, LateUNet(editor.models.unet)
    to, done = runner.guidance(PROMPT, "", 3.0), []
    pivots = editor.invert(PICTURE, PROMPT, "replay", N).path
    with pytest.raises(NotFinite, match="null-text inversion at step 2 is not finite"):
        steps = null_text(late, runner.grid(N), pivots, to, False, 2, 1e-5, range(N), run_finite)
        for one in steps:
            done.append(one)
    assert len(done) == 2 and all(one.null.isfinite().all() for one in done)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_vae_of_no_numbers_is_an_error(editor: Editor, source: Source, part: str) -> None:
    vae = deepcopy(editor.models.vae)
    with torch.no_grad():
        getattr(vae, part).conv_out.bias[0] = torch.inf
    one = with_parts(editor, vae=vae)
    if part == "encoder":
        with pytest.raises(NotFinite, match="the picture's latent is not finite"):
            one.invert(PICTURE, PROMPT, num_inference_steps=N)
        return
    for make in (
        lambda: one.generate(PROMPT, 1, N),
        lambda: one.invert(PICTURE, PROMPT, num_inference_steps=N),
        lambda: one.edit(source, TARGET),
        lambda: one.sweep(source, TARGET, ("c", "x")),
        lambda: fit_preview(one.models.vae),
    ):
        with pytest.raises(NotFinite, match="the decoded picture is not finite"):
            make()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_finite_result_is_returned_as_it_is(value: float) -> None:
    fine, bad = torch.ones(2), torch.tensor([1.0, value])
    assert run_finite(lambda _: fine, nn.Identity(), "x") is fine
    for out in (bad, (fine, bad), (fine, 3, bad)):
        with pytest.raises(NotFinite, match="^x is not finite"):
            run_finite(lambda _, out=out: out, nn.Identity(), "x")
