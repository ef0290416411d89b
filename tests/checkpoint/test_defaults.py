"""Defaults of an edit: the variant that suits its source, and its window."""

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
from mdp_lite.method.leash import add_leash
from mdp_lite.method.plan import EditFacts, plan
from mdp_lite.method.schedule import Weights, paper_window, variant_table, window
from mdp_lite.names import VARIANTS
from mdp_lite.pictures.images import read_settings
from mdp_lite.pipeline.request import Request, build_weights, variant_of
from mdp_lite.pipeline.result import Source

N, PICTURE = 12, Image.effect_noise((64, 64), 60).convert("RGB")


def same(a: Weights, b: Weights) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))


@pytest.fixture(scope="module")
def plain(editor: Editor) -> Editor:
    """The random model without a default window."""
    return Editor(replace(editor.models, defaults=Defaults(N, 3.0)), editor.device)


@pytest.fixture(scope="module")
def synthetic(editor: Editor) -> Source:
    return editor.generate("a red house", 3, N)


@pytest.fixture(scope="module")
def inversion(editor: Editor) -> Source:
    return editor.invert(PICTURE, "a red house", num_inference_steps=N)


def test_epsilon_is_the_variant_of_every_source(synthetic: Source, inversion: Source) -> None:
    for source in (synthetic, inversion):
        assert variant_of(Request(source, "a boat")) == "epsilon"
        assert variant_of(Request(source, "a boat", variant="c")) == "c"


@pytest.mark.parametrize(
    "options",
    [{"t_max": 11}, {"t_m": 3}, {"schedule": "leash"}, {"variant": "x"}, {"schedule": "linear"}],
)
def test_recorded_noise_changes_only_the_default(
    plain: Editor, synthetic: Source, inversion: Source, options: dict
) -> None:
    """A window, a schedule or another variant means the same on both kinds of source."""
    one, other = (plain.edit(source, "a boat", **options) for source in (synthetic, inversion))
    assert same(one.weights, other.weights)
    assert one.weights.local is None and other.weights.local is None


def test_the_tables_of_twelve_steps(plain: Editor, synthetic: Source, inversion: Source) -> None:
    """By hand: epsilon on steps 1 to 4 with its leash; on recorded noise 1 to 3 after a look."""
    weights = plain.edit(synthetic, "a boat").weights
    assert same(weights, add_leash(variant_table("epsilon", window(N, 11, 4)), 11, 4))
    assert weights.eps.nonzero().flatten().tolist() == [1, 2, 3, 4]
    assert weights.x.nonzero().flatten().tolist() == [5, 6, 7, 8, 9, 10]
    weights = plain.edit(inversion, "a boat").weights
    assert weights.eps.nonzero().flatten().tolist() == [1, 2, 3] and not weights.x.any()
    assert weights.local is not None and weights.local[0] == 1 and weights.local[11] == 0
    assert not weights.local[1:4].any()
    assert weights.local[4:11].tolist() == pytest.approx([1 - 2.718281828459045 ** (-6 / 12)] * 7)
    named = plain.edit(inversion, "a boat", "epsilon", schedule="local-leash").weights
    assert all(torch.equal(a, b) for a, b in zip(weights, named, strict=True) if a is not None)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_given_window_is_the_papers(variant: str) -> None:
    """Constant, without a leash; a given schedule counts in both."""
    weights = build_weights(50, Defaults(), variant, 47, 26)
    assert same(weights, variant_table(variant, window(50, 47, 26))) and paper_window(50) == (
        47,
        26,
    )
    pulled = build_weights(50, Defaults(), variant, 47, 26, "leash")
    assert same(pulled, add_leash(weights, 47, 26)) and not same(pulled, weights)
    plain = build_weights(50, Defaults(), variant, schedule="constant")
    assert not plain.x[window(50, 50, 50) * 0 + torch.arange(50) > 20].any()


@pytest.mark.parametrize("variant, rows", [("epsilon", 66), ("x", 66), ("c", 100), ("beta", 100)])
def test_what_the_defaults_cost(editor: Editor, variant: str, rows: int) -> None:
    steps = plan(build_weights(50, Defaults(), variant), editor.runner.grid(50), EditFacts())
    assert steps.unet_rows == rows


def test_a_checkpoint_may_bring_its_own_window() -> None:
    own = Defaults(t_max=0.5, t_m=0.25)
    table = build_weights(N, own, noisy=True)
    assert same(table, variant_table("epsilon", window(N, 6, 3))) and table.local is None
    assert same(build_weights(N, own, "x"), variant_table("x", window(N, 6, 3)))


def test_the_command_says_which_variant_it_took(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PICTURE.save(tmp_path / "a.png")
    model = shutil.copytree(checkpoint, tmp_path / "model")
    (model / "mdp_lite.json").write_text('{"guidance_scale": 3.0}')
    common = ["--model", str(model), "--device", "cpu", "--steps", "6", "--json"]
    words = ["edit", str(tmp_path / "a.png"), "--source-prompt", "a house", "--prompt", "a boat"]
    assert main([*words, *common, "-o", str(tmp_path / "b.png")]) == 0
    assert "epsilon" in json.loads(capsys.readouterr().out)["costs"]
    assert "local" in read_settings(tmp_path / "b.png")["weights"]
