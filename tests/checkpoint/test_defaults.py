"""What an edit does where nothing is said: the variant that suits its source, and its window."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from mdp_lite import Editor
from mdp_lite.__main__ import main
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.method.plan import EditFacts, plan
from mdp_lite.names import VARIANTS, Weights, leashed, paper_window, table, window
from mdp_lite.pipeline.request import Request, described, variant_of
from mdp_lite.pipeline.result import Source

N, PICTURE = 12, Image.effect_noise((64, 64), 60).convert("RGB")


def same(a: Weights, b: Weights) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def chosen(request: Request) -> str:
    return variant_of(request, Defaults())


@pytest.fixture(scope="module")
def plain(editor: Editor) -> Editor:
    """The random model as one that brings no window of its own."""
    return Editor(replace(editor.models, defaults=Defaults(N, 3.0)), editor.device)


@pytest.fixture(scope="module")
def generated(editor: Editor) -> Source:
    return editor.generate("a red house", 3, N)


@pytest.fixture(scope="module")
def inverted(editor: Editor) -> Source:
    return editor.invert(PICTURE, "a red house", num_inference_steps=N)


def test_the_variant_is_the_sources(editor: Editor, generated: Source, inverted: Source) -> None:
    assert chosen(Request(generated, "a boat")) == "epsilon"
    assert chosen(Request(inverted, "a boat")) == "x"
    assert chosen(Request(inverted, "a boat", strength=0.3)) == "x"
    replayed = editor.invert(PICTURE, "a red house", "replay", N)
    assert chosen(Request(replayed, "a boat")) == "epsilon"


@pytest.mark.parametrize("given", [{"t_max": 11}, {"t_m": 3}, {"variant": "epsilon"}])
def test_a_window_or_a_variant_that_is_given_counts(inverted: Source, given: dict) -> None:
    assert chosen(Request(inverted, "a boat", **given)) == "epsilon"


def test_the_tables_of_twelve_steps(plain: Editor, generated: Source, inverted: Source) -> None:
    """By hand: epsilon on rows 1 to 4, x on rows 0 to 3, and the leash from there to row 10."""
    made = plain.edit(generated, "a boat").weights
    assert same(made, leashed(table("epsilon", window(N, 11, 4)), 11, 4))
    assert made.eps.nonzero().flatten().tolist() == [1, 2, 3, 4]
    assert made.x.nonzero().flatten().tolist() == [5, 6, 7, 8, 9, 10]
    made = plain.edit(inverted, "a boat").weights
    assert made.x[:4].tolist() == [1.0] * 4 and made.x[11] == 0
    assert made.x[4:11].tolist() == pytest.approx([1 - 2.718281828459045 ** (-2 / 12)] * 7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_window_that_is_given_is_the_papers(variant: str) -> None:
    """Constant, without a leash; a schedule that is given counts in both."""
    made = described(50, Defaults(), variant, 47, 26)
    assert same(made, table(variant, window(50, 47, 26))) and paper_window(50) == (47, 26)
    pulled = described(50, Defaults(), variant, 47, 26, "leash")
    assert same(pulled, leashed(made, 47, 26)) and not same(pulled, made)
    plain = described(50, Defaults(), variant, schedule="constant")
    assert not plain.x[window(50, 50, 50) * 0 + torch.arange(50) > 20].any()


@pytest.mark.parametrize("variant, rows", [("epsilon", 66), ("x", 66), ("c", 100), ("beta", 100)])
def test_what_the_defaults_cost(editor: Editor, variant: str, rows: int) -> None:
    made = plan(described(50, Defaults(), variant), editor.runner.grid(50), EditFacts())
    assert made.unet_rows == rows


def test_a_checkpoint_may_bring_its_own_window(inverted: Source) -> None:
    own = Defaults(t_max=0.5, t_m=0.25)
    assert variant_of(Request(inverted, "a boat"), own) == "epsilon"
    assert same(described(N, own, "x"), table("x", window(N, 6, 3)))


def test_the_command_says_which_variant_it_took(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PICTURE.save(tmp_path / "a.png")
    model = shutil.copytree(checkpoint, tmp_path / "model")
    (model / "mdp_lite.json").write_text('{"guidance_scale": 3.0}')
    common = ["--model", str(model), "--device", "cpu", "--steps", "6", "--json"]
    words = ["edit", str(tmp_path / "a.png"), "--source-prompt", "a house", "--prompt", "a boat"]
    assert main([*words, *common, "-o", str(tmp_path / "b.png")]) == 0
    assert "x" in json.loads(capsys.readouterr().out)["costs"]
    words = ["edit", "--source-prompt", "a house", "--prompt", "a boat"]
    assert main([*words, *common, "-o", str(tmp_path / "c.png")]) == 0
    assert "epsilon" in json.loads(capsys.readouterr().out)["costs"]
