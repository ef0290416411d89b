"""Proximal guidance (Han et al., arXiv 2306.05414): only where the two predictions differ most."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite.__main__ import BAD_INPUT, main
from mdp_lite.editor import Editor
from mdp_lite.method.mdp import guide, proximal
from mdp_lite.pipeline.request import Request
from support.inverting import PROMPT, picture

TARGET, N = "a blue boat", 6


def quantile(q: float) -> Tensor:
    return torch.tensor(q, dtype=torch.float64)


def test_the_threshold_by_hand() -> None:
    """The median of 1, 2, 3, 4 is 2.5, the quantile 2/3 is 3, which is not above itself."""
    d = torch.tensor([1.0, -4.0, 3.0, -2.0]).double().reshape(1, 1, 2, 2)
    assert proximal(d, quantile(0.5)).flatten().tolist() == [0, -4, 3, 0]
    assert proximal(d, quantile(2 / 3 + 1e-9)).flatten().tolist() == [0, -4, 0, 0]
    assert proximal(d, quantile(0.99)).flatten().tolist() == [0, -4, 0, 0]
    assert proximal(d, quantile(0.0)).flatten().tolist() == [0, -4, 3, -2]
    assert not proximal(0 * d, quantile(0.7)).any()  # equal predictions guide nowhere
    assert not proximal(0 * d + 2, quantile(0.7)).any()


def test_each_picture_has_its_own_threshold() -> None:
    d = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    d = d * torch.tensor([1.0, 10.0, 0.1]).double()[:, None, None, None]
    together = proximal(d, quantile(0.7))
    assert torch.equal(together, torch.cat([proximal(one, quantile(0.7)) for one in d.split(1)]))
    for result, one in zip(together, d, strict=True):
        size = one.abs().flatten().sort().values
        assert int((result != 0).sum()) == 36 == int((one.abs() >= size[84]).sum())  # of 120, 30%
        assert torch.equal(result[result != 0], one[result != 0])


def test_guidance_is_plain_but_where_the_difference_is_least() -> None:
    out = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1)).double()
    g, (null, c) = quantile(7.5), out.chunk(2)
    plain, thresholded = guide(out, True, g), guide(out, True, g, q=quantile(0.0))
    least = (c - null).abs().flatten().argmin()
    differ = (plain != thresholded).flatten().nonzero().flatten()
    assert differ.tolist() == [int(least)]
    assert thresholded.flatten()[least] == null.flatten()[least]


def test_the_mixture_of_beta_is_what_differs() -> None:
    out = torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(2)).double()
    null, c, source = out.chunk(3)
    got = guide(out, True, quantile(5.0), quantile(0.25), quantile(0.7))
    mixed = 0.75 * c + 0.25 * source
    assert (got - (null + 5 * proximal(mixed - null, quantile(0.7)))).abs().max() <= 1e-12


def test_without_guidance_there_is_nothing_to_leave_out() -> None:
    out = torch.randn(1, 4, 3, 3).double()
    assert torch.equal(guide(out, False, quantile(1.0), q=quantile(0.7)), out)


def test_an_edit_leaves_more_of_the_source_as_it_is(editor: Editor) -> None:
    source = editor.invert(picture(), PROMPT, "negative-prompt", N, 3.0)
    plain, none, half, most = (
        editor.edit(source, TARGET, t_max=0, t_m=0, proximal=q).latent
        for q in (None, 0.0, 0.5, 0.99)
    )
    far = [float((x - source.path.x[-1]).norm()) for x in (plain, most)]
    assert far[0] > far[1] > 0
    assert float((none - plain).norm()) < 0.2 * float((half - plain).norm())


def test_edits_in_a_batch_have_each_their_own(editor: Editor) -> None:
    source = editor.generate(PROMPT, 1, N)
    requests = [Request(source, TARGET, "c", proximal=q) for q in (None, 0.5, 0.9)]
    together = editor.edits(requests)
    for one, request in zip(together, requests, strict=True):
        assert torch.equal(one.latent, editor.edits([request])[0].latent)
    assert not torch.equal(together[1].latent, together[2].latent)
    for one, other in zip(together, editor.edits(requests, max_rows=8), strict=True):
        assert torch.equal(one.latent, other.latent)  # one thread, guided: to the bit


@pytest.mark.parametrize("bad", [-0.1, 1.0, 2, "0.7", True, float("nan"), [0.7]])
def test_bad_quantiles_are_refused_by_name(editor: Editor, bad: Any) -> None:
    source = editor.generate(PROMPT, 1, 2)
    with pytest.raises(ValueError, match=f"^proximal must be .*, got .*{re.escape(str(bad))}"):
        editor.edit(source, TARGET, proximal=bad)


def test_the_command_has_it(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = []
    start = ["edit", "--source-prompt", PROMPT, "--prompt", TARGET, "--model", str(checkpoint)]
    for more in ([], ["--proximal", "0.9"]):
        path = tmp_path / f"{len(out)}.png"
        assert main([*start, "--steps", "4", "-o", str(path), "--quiet", *more]) == 0
        out.append(path.read_bytes())
    assert out[0] != out[1]
    assert main([*start, "-o", str(tmp_path / "no.png"), "--proximal", "1"]) == BAD_INPUT
    assert "proximal must be a quantile from 0 to below 1, got 1" in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()
