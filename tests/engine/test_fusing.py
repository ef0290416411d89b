"""Fused models against plain ones, with the kernels' references in the kernels' places.

On a rehearsed GPU our operators are computed by their references, so these tests hold what calls
the kernels and with what; tests/kernels holds the kernels to the references.
"""

from copy import deepcopy
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite import Editor, Fused
from mdp_lite.engine.attention import TABLE, attend_by_shape
from mdp_lite.engine.engine import build_engine
from mdp_lite.engine.fusing import PLAIN, find_joined, fuse, join_weights, to_bytes
from mdp_lite.engine.gpu import GpuSettings, lay_channels_last
from mdp_lite.models.transformer import Attention
from mdp_lite.models.unet import UNet
from mdp_lite.names import VARIANTS, BadInput
from mdp_lite.pictures import images
from mdp_lite_kernels import shapes
from support.rehearsing import rehearsal
from support.small_unets import CONFIGS, copy_to, random_call, random_unet

CPU, N, TARGET = torch.device("cpu"), 6, "a blue house on the grass"
NEAR = {torch.float32: 1e-5, torch.float16: 1e-2}  # of the largest value
NORM, GEGLU = "mdp_lite::group_norm_silu", "mdp_lite::geglu"
needs_triton = pytest.mark.skipif(not shapes.TRITON, reason="takes is false without Triton")


def far(a: Tensor, b: Tensor) -> float:
    a, b = a.cpu().double(), b.cpu().double()
    return float((a - b).abs().max() / b.abs().max())


def attentions(unet: UNet) -> list[Attention]:
    blocks = [m for m in unet.modules() if hasattr(m, "attn1")]
    return [block.attn1 for block in blocks]  # type: ignore[misc]


def copy_last(plain: UNet) -> UNet:
    """On the rehearsed GPU, with the layout of weights that the kernel of the group norm wants."""
    copied = copy_to(plain, "cuda")
    lay_channels_last(copied)
    return copied


SWITCHES: dict[str, tuple[Fused, tuple[str, ...]]] = {  # and the operators that it brings
    "all": (Fused(), (NORM, GEGLU)),
    "norm": (replace(PLAIN, group_norm_silu=True), (NORM,)),
    "geglu": (replace(PLAIN, geglu=True), (GEGLU,)),
    "qkv": (replace(PLAIN, qkv=True), ()),
    "none": (PLAIN, ()),
}


@pytest.mark.covering(1)
@needs_triton
@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("family", CONFIGS)
def test_a_fused_call_is_the_plain_call(family: str, dtype: torch.dtype) -> None:
    plain = random_unet(family).to(dtype)
    call = random_call(plain)
    wide = plain if dtype == torch.float32 else deepcopy(plain).float()
    want = wide(*(one.float() if one.is_floating_point() else one for one in call))
    with rehearsal() as gpu, torch.no_grad():
        for fused, operators in SWITCHES.values():
            own = fuse(copy_last(plain), fused)
            gpu.reset()
            out = own(*(one.to("cuda") for one in call))
            found = {name for name in gpu.launches if name.startswith("mdp_lite::")}
            assert found == set(operators) and not gpu.mismatches
            assert out.dtype == dtype and far(out, want) <= NEAR[dtype]


@needs_triton
def test_one_kernel_stands_for_shift_norm_and_silu_wherever_they_meet() -> None:
    plain = random_unet("sd1")
    blocks = [m for m in plain.modules() if hasattr(m, "time_emb_proj")]
    transformers = [m for m in plain.modules() if hasattr(m, "transformer_blocks")]
    call = random_call(plain)
    counts, attend = {}, partial(attend_by_shape, TABLE, (9, 0))
    for name, fused in (("plain", PLAIN), ("fused", Fused())):
        with rehearsal() as gpu, torch.no_grad():
            own = fuse(copy_last(plain), fused)
            x, t, c = (one.to("cuda") for one in call)
            times, text = own.times(t, c), own.text(c)
            gpu.reset()
            own.predict(x, times, text, attend)
            counts[name] = dict(gpu.launches)
    norms = 2 * len(blocks) + len(transformers) + 1
    assert counts["fused"][NORM] == counts["plain"]["native_group_norm"] == norms
    assert counts["fused"][GEGLU] == counts["plain"]["gelu"] == len(transformers)
    gone = {"native_group_norm", "silu", "gelu", "mul"}
    assert not gone & set(counts["fused"])
    assert counts["plain"]["add"] - counts["fused"]["add"] == len(blocks)
    assert counts["plain"]["mm"] - counts["fused"]["mm"] == 2 * len(transformers)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("fused", [Fused(), PLAIN, Fused(guided_step=False), Fused(qkv=False)],
                         ids=["all", "none", "no step", "no qkv"])  # fmt: skip
def test_edits_are_those_of_a_cpu(
    editor: Editor, checkpoint: Path, mode: str, fused: Fused
) -> None:
    def edit_all(own: Editor) -> list[Tensor]:
        source = own.generate("a red house", 3, N)
        return [own.edit(source, TARGET, one, t_max=5, t_m=3).latent.cpu() for one in VARIANTS]

    want = edit_all(editor)
    with rehearsal() as gpu:
        own = Editor.from_pretrained(
            checkpoint, "cuda", "float32", engine=mode, gpu=GpuSettings(fused=fused)
        )
        got = edit_all(own)
        assert ("mdp_lite::guided_step" in gpu.launches) is (fused.guided_step and shapes.TRITON)
        assert not gpu.violations and not gpu.mismatches
    assert max(far(a, b) for a, b in zip(got, want, strict=True)) <= 2e-5


def test_maps_in_another_layout_are_normalised_by_torch() -> None:
    plain = random_unet("sd1")
    with rehearsal() as gpu, torch.no_grad():
        fuse(copy_to(plain, "cuda"), Fused())(*(one.to("cuda") for one in random_call(plain)))
        assert NORM not in gpu.launches and gpu.launches["native_group_norm"]


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize(("settings", "known"), [
    ({"method": "edit-friendly"}, True), ({"guidance_scale": 1.0}, True),
    ({"mask": (8, 8, 24, 24)}, True), ({"proximal": 0.7}, False),
    ({"schedule": "local-leash", "t_m": None}, False),
])  # fmt: skip
def test_steps_that_the_kernel_does_not_know_are_plain(
    editor: Editor, checkpoint: Path, settings: dict[str, Any], known: bool
) -> None:
    method = settings.get("method", "replay")
    how: dict[str, Any] = {"t_max": N, "t_m": 3, "schedule": "constant"}
    how |= {name: one for name, one in settings.items() if name != "method"}
    picture = editor.generate("a red house", 3, N).image

    def edit(own: Editor) -> Tensor:
        return own.edit(own.invert(picture, "a red house", method, N), TARGET, **how).latent.cpu()

    want = edit(editor)
    with rehearsal() as gpu:
        got = edit(Editor.from_pretrained(checkpoint, "cuda", "float32", engine="eager"))
        assert ("mdp_lite::guided_step" in gpu.launches) is known
    assert far(got, want) <= 2e-5


def test_on_a_cpu_nothing_is_fused_and_no_bit_changes() -> None:
    plain = random_unet("sd1")
    call = random_call(plain)
    with torch.no_grad():
        a, b = (build_engine(plain, "eager", CPU, fused=one) for one in (PLAIN, Fused()))
        assert torch.equal(a.denoise(*call), b.denoise(*call))
    assert a.fused is b.fused is None and b.single_step is None
    assert all(find_joined(one) is None for one in attentions(plain))


def test_joined_weights_are_in_memory_once_with_the_same_numbers() -> None:
    unet = random_unet("sd2")
    before = {name: one.clone() for name, one in unet.named_parameters()}
    fuse(unet, Fused())
    for one in attentions(unet):
        layers = (one.to_q, one.to_k, one.to_v)
        joined = find_joined(one)
        assert joined is not None
        assert {x.weight.untyped_storage().data_ptr() for x in layers} == {joined.data_ptr()}
        assert joined.untyped_storage().nbytes() == sum(x.weight.nbytes for x in layers)
    for name, one in unet.named_parameters():
        assert torch.equal(one, before[name])
    first = [find_joined(one) for one in attentions(unet)]
    fuse(unet, Fused())  # a second engine of the same models
    assert all(a is find_joined(b) for a, b in zip(first, attentions(unet), strict=True))


def test_weights_that_are_trained_or_replaced_are_not_joined() -> None:
    trained = Attention(16, 16, 2)
    join_weights(trained)
    assert find_joined(trained) is None and trained.to_q.weight.requires_grad
    one = Attention(16, 16, 2).requires_grad_(False)
    join_weights(one)
    one.to_k.weight = torch.nn.Parameter(torch.zeros(16, 16), requires_grad=False)
    assert find_joined(one) is None
    copied = deepcopy(random_unet("sd1"))
    assert all(find_joined(one) is None for one in attentions(copied))


@pytest.mark.parametrize("family", CONFIGS)
def test_gradients_pass_a_fused_model_as_the_plain_one(family: str) -> None:
    plain = random_unet(family)
    x, t, c = random_call(plain)
    slopes = []
    for model in (plain, fuse(plain, Fused())):
        leaf = c.clone().requires_grad_()
        slopes.append(torch.autograd.grad(model(x, t, leaf).sum(), leaf)[0])
    assert far(*slopes) <= 1e-5 and slopes[0].abs().sum() > 0


def test_bytes_are_those_of_the_pictures() -> None:
    torch.manual_seed(0)
    pictures = 1.2 * torch.randn(3, 3, 40, 24)
    edges = (torch.arange(255) + 0.5) / 127.5 - 1
    pictures[0, 0].view(-1)[:255] = edges
    want = [images.to_image(one) for one in pictures.split(1)]
    for memory in (torch.contiguous_format, torch.channels_last):
        got = images.from_bytes(to_bytes(pictures.contiguous(memory_format=memory)))
        assert [one.tobytes() for one in got] == [one.tobytes() for one in want]


@pytest.mark.parametrize("one", [field.name for field in fields(Fused)])
def test_a_bad_switch_is_refused(one: str) -> None:
    with pytest.raises(BadInput, match=f"fused {one} must be .*, got 'fast'"):
        Fused(**{one: "fast"})  # type: ignore[arg-type]


def test_settings_are_wanted() -> None:
    with pytest.raises(BadInput, match="fused must be a Fused, as Fused\\(geglu=False\\), got"):
        GpuSettings(fused="all")  # type: ignore[arg-type]
