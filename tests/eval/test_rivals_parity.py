"""Prompt-to-Prompt against the published one on diffusers' parts (p2p_oracle.py), bundled model."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from mdp_lite import Editor
from mdp_lite.eval.rivals.alignment import WordAlignment, align_refinement, align_replacement
from mdp_lite.eval.rivals.prompt_to_prompt import AttentionControl, prompt_to_prompt
from mdp_lite.eval.rivals.task import RivalTask
from mdp_lite.method.mdp import Guidance
from mdp_lite_weights import locate
from support import p2p_oracle as oracle
from support.inverting import double

N, G, SEED, BOUND = 10, 4.0, 7, 1e-4
LENGTH = 26


class Case(NamedTuple):
    """Two prompts, our control, and the oracle's, whose word alignment is written out by hand."""

    source: str
    target: str
    align: Callable[..., WordAlignment]
    ours: AttentionControl
    theirs: oracle.OracleControl


def positions(*first: int) -> list[int]:
    """The source's positions for the first tokens of the target, then for all others the same."""
    return [*first, *range(len(first), LENGTH)]


def scales(*new: int) -> Tensor:
    found = torch.ones(LENGTH).double()
    found[list(new)] = 2.0
    return found


# Tokens: start 0, a 1, red 2, house 3, "," 4, grass 5, end 6.
SWAP = ("a red house, grass", "a blue house, grass")
MORE = ("a house, grass", "a red house, foggy grass")  # a 1, house 2, "," 3, grass 4, end 5
REFINED = oracle.refinement(positions(0, 1, -1, 2, 3, -1, 4, 5))
# 11 cross steps are 0.8 (N + 1) = 8.8, cut to 8; 0.4 N = 4.
CASES = {
    "replace": Case(
        *SWAP, align_replacement, AttentionControl(0.8, 0.4),
        oracle.OracleControl(oracle.replacement(torch.eye(LENGTH).double()), 8, 4),
    ),
    "refine": Case(
        *MORE, align_refinement, AttentionControl(0.5, 0.6),
        oracle.OracleControl(REFINED, 5, 6),
    ),
    "reweight": Case(
        *MORE, align_refinement, AttentionControl(0.8, 0.4, weight=2.0),
        oracle.OracleControl(oracle.reweighting(REFINED, scales(2, 5)), 8, 4),
    ),
    "blend": Case(
        *SWAP, align_refinement, AttentionControl(0.4, 0.2, blend=True),
        oracle.OracleControl(oracle.refinement(positions(0, 1, -1)), 4, 2, ([2], [2])),
    ),
}  # fmt: skip


@cache
def ours() -> Editor:
    return double(Editor.from_pretrained("tiny", "cpu", "float32"))


@cache
def theirs() -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
    folder = locate("tiny")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    return unet.double().eval(), text.double().eval(), tokenizer


@torch.no_grad()
def conditions(*prompts: str) -> Tensor:
    _, text, tokenizer = theirs()
    tokens = tokenizer(list(prompts), padding="max_length", max_length=LENGTH, return_tensors="pt")
    return text(tokens.input_ids)[0]


def published(case: Case, x: Tensor) -> Tensor:
    scheduler = DDIMScheduler.from_pretrained(locate("tiny") / "scheduler")
    run = oracle.OracleRun(theirs()[0], scheduler, case.theirs)  # type: ignore[arg-type]
    null, *c = conditions("", case.source, case.target).split(1)
    return run(x, null, torch.cat(c), N, G)


@pytest.mark.representative("refine")
@pytest.mark.parametrize("name", CASES)
def test_edits_are_those_of_the_published_method(name: str) -> None:
    case, editor = CASES[name], ours()
    runner, source = editor.runner, editor.generate(case.source, SEED, N, G)
    words = case.align(editor.models.tokenizer, [case.source], [case.target])
    c, null = runner.condition(case.target), runner.condition("")
    guidance = Guidance(c, null, torch.tensor(G))
    unet, path = editor.models.unet, source.path
    task = RivalTask(unet, source.grid, path, guidance, runner.v_prediction)
    with torch.no_grad():
        found = prompt_to_prompt(task, words, case.ours).x
    want = published(case, source.path.x[0])
    assert (want[:1] - source.path.x[-1]).abs().max() < BOUND  # their source is ours
    assert (want[1:] - found).abs().max() < BOUND
    assert (want[1:] - want[:1]).abs().max() > 0.1  # and it is an edit


@pytest.mark.slow
def test_a_mistake_would_be_noticed() -> None:
    case, editor = CASES["refine"], ours()
    source = editor.generate(case.source, SEED, N, G)
    want = published(case, source.path.x[0])
    other = published(case._replace(theirs=case.theirs._replace(cross=4)), source.path.x[0])
    assert (want - other).abs().max() > 10 * BOUND
