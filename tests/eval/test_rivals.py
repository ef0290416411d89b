"""Rivals: when each must equal the source or plain sampling, its cost, and aligned words."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.eval.rivals import alignment
from mdp_lite.eval.rivals.attention import (
    LayerCounter,
    count_blocks,
    count_blocks_before_decoder,
    probabilities,
)
from mdp_lite.eval.rivals.masactrl import masactrl
from mdp_lite.eval.rivals.plain import edit_friendly, regenerate, sdedit
from mdp_lite.eval.rivals.plug_and_play import find_first_block, inject_features, plug_and_play
from mdp_lite.eval.rivals.prompt_to_prompt import AttentionControl, blend_mask, prompt_to_prompt
from mdp_lite.eval.rivals.task import CallRow, EditedLatents, RivalTask, call_unet
from mdp_lite.method.sample import Trajectory
from mdp_lite.models.transformer import SDPA
from support.rival_tasks import SOURCE, TARGET, build_single_task, build_task, run

Rival = Callable[[RivalTask], EditedLatents]


def ptp(editor: Editor, target: str, control: AttentionControl, source: str = SOURCE) -> Rival:
    words = alignment.align_refinement(editor.models.tokenizer, [source], [target])
    return partial(prompt_to_prompt, words=words, control=control)


def distance(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def rivals(editor: Editor, target: str) -> dict[str, Rival]:
    return {
        "prompt-to-prompt": ptp(editor, target, AttentionControl(0.4, 0.4)),
        "reweighted": ptp(editor, target, AttentionControl(0.4, 0.4, weight=2)),
        "blended": ptp(editor, target, AttentionControl(0.4, 0.4, blend=True)),
        "masactrl": partial(masactrl, step=0.2),
        "plug-and-play": plug_and_play,
        "regenerate": regenerate,
    }


NAMES = ("prompt-to-prompt", "reweighted", "blended", "masactrl", "plug-and-play", "regenerate")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "plug-and-play"])
def test_an_edit_to_the_sources_own_prompt_is_the_source(wide: Editor, name: str) -> None:
    # Not Plug-and-Play: its null row has the features of the source's prompt, its source has not.
    task = build_single_task(wide, SOURCE)
    assert distance(run(rivals(wide, SOURCE)[name], task).x, task.source.x[-1]) < 1e-9


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_rival_is_neither_the_source_nor_plain_sampling(wide: Editor, name: str) -> None:
    task = build_single_task(wide)
    found = run(rivals(wide, TARGET)[name], task).x
    assert distance(found, task.source.x[-1]) > 1e-4
    assert distance(found, run(regenerate, task).x) > 1e-4


@pytest.mark.parametrize(
    "name, off",
    [
        ("masactrl", partial(masactrl, step=1.0)),
        ("plug-and-play", partial(plug_and_play, features=0.0, attention=0.0)),
        ("sdedit", None),
        ("prompt-to-prompt", None),
    ],
)
def test_without_injection_a_rival_is_plain_sampling(
    wide: Editor, name: str, off: Rival | None
) -> None:
    task = build_single_task(wide)
    if name == "prompt-to-prompt":
        off = ptp(wide, TARGET, AttentionControl(0.0, 0.0))
    if name == "sdedit":  # from the noise that its first step puts on the picture
        a, x = task.grid.a[0], task.source.x
        z = (x[0] - a.sqrt() * x[-1]) / (1 - a).sqrt()
        off = partial(sdedit, z=z, strength=1.0)
    assert off
    assert distance(run(off, task).x, run(regenerate, task).x) < 1e-9


@pytest.mark.representative("blended", "masactrl")
@pytest.mark.parametrize("name", NAMES)
def test_edits_in_a_batch_equal_single_edits(wide: Editor, name: str) -> None:
    prompts, targets = ["a red house", "a boat at night"], ["a blue house", "a red boat at night"]
    both = build_task(wide, prompts, targets)
    words = alignment.align_refinement(wide.models.tokenizer, prompts, targets)
    together = rivals(wide, TARGET)[name]
    if name in NAMES[:3]:
        together = partial(together, words=words)
    found = run(together, both).x
    for k in range(2):
        source = Trajectory(both.source.x[:, k : k + 1], both.source.eps, both.source.c[k : k + 1])
        guidance = both.guidance._replace(c=both.guidance.c[k : k + 1])
        alone = both._replace(source=source, guidance=guidance)
        single = rivals(wide, TARGET)[name]
        if name in NAMES[:3]:
            parts = alignment.WordAlignment(*(part[k : k + 1] for part in words))
            single = partial(single, words=parts)
        assert distance(run(single, alone).x, found[k : k + 1]) < 1e-9


@pytest.mark.parametrize("name", [*NAMES, "sdedit", "edit-friendly"])
def test_rows_are_counted_as_the_unet_gets_them(wide: Editor, name: str) -> None:
    task, rows = build_single_task(wide, method="edit-friendly"), []
    unet = deepcopy(task.unet)
    unet.register_forward_hook(lambda module, inputs, out: rows.append(len(inputs[0])))
    z = torch.ones_like(task.source.x[0])
    more = {"sdedit": partial(sdedit, z=z, strength=0.5), "edit-friendly": edit_friendly}
    found = run((rivals(wide, TARGET) | more)[name], task._replace(unet=unet))
    assert found.rows == sum(rows) > 0


def test_sdedit_of_no_strength_is_the_picture(wide: Editor) -> None:
    task = build_single_task(wide)
    found = sdedit(task, torch.ones_like(task.source.x[0]), 0.0)
    assert torch.equal(found.x, task.source.x[-1]) and found.rows == 0


def test_edit_friendly_reproduces_the_picture_under_its_own_prompt(wide: Editor) -> None:
    task = build_single_task(wide, SOURCE, "edit-friendly")
    assert distance(run(edit_friendly, task).x, task.source.x[-1]) < 1e-9
    other = build_single_task(wide, TARGET, "edit-friendly")
    assert distance(run(edit_friendly, other).x, task.source.x[-1]) > 1e-4
    with pytest.raises(ValueError, match="needs a source with noise maps"):
        edit_friendly(build_single_task(wide))


def test_rivals_need_guidance(wide: Editor) -> None:
    task = build_single_task(wide)
    with pytest.raises(ValueError, match="guidance must be other than 1"):
        regenerate(task._replace(guidance=task.guidance._replace(null=None)))


# --- attention ---------------------------------------------------------------------------------


def test_probabilities_are_those_of_the_unets_attention() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 4)
    assert torch.allclose(probabilities(q, k) @ v, SDPA(q, k, v), atol=1e-6)


def test_layers_are_counted_in_their_order(editor: Editor) -> None:
    unet, counter, calls = editor.models.unet, LayerCounter(), []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        calls.append((counter.next_layer(q), k.shape[2]))
        return SDPA(q, k, v)

    x, c = torch.zeros(1, 4, 8, 8), editor.runner.condition(SOURCE)
    unet(x, torch.tensor(1), c, attend)
    assert [layer.block for layer, _ in calls] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert count_blocks(unet) == 4
    for layer, keys in calls:
        assert keys == (c.shape[1] if layer.text else layer.cells)
    assert count_blocks_before_decoder(unet) == 2 == find_first_block(unet, 0.0)


def test_injecting_changes_only_the_targets_and_shares_all_weights(editor: Editor) -> None:
    unet, injecting = editor.models.unet, inject_features(editor.models.unet)
    torch.manual_seed(0)
    c = editor.runner.condition(SOURCE)
    rows, t = [CallRow(torch.randn(2, 4, 8, 8), c) for _ in range(3)], torch.tensor(500)
    with torch.no_grad():
        plain, changed = call_unet(unet, t, rows), call_unet(injecting, t, rows)
        again = call_unet(injecting, t, [rows[0]] * 3)
    assert distance(plain[0], changed[0]) < 1e-6
    assert min(distance(plain[k], changed[k]) for k in (1, 2)) > 1e-5
    assert max(distance(plain[0], one) for one in again) < 1e-5
    assert {id(w) for w in unet.parameters()} == {id(w) for w in injecting.parameters()}


def test_local_blend_edits_where_the_words_attend() -> None:
    maps = torch.zeros(2, 1, 16, 3)
    maps[0, 0, 0, 1] = 1.0  # the source's word is in the first of 4 x 4 cells
    maps[1, 0, 15, 2] = 0.5  # the target's in the last
    maps[1, 0, 3, 1] = 9.0  # of another word
    marks = [torch.tensor([[0.0, 1, 0]]), torch.tensor([[0.0, 0, 1]])]
    some = alignment.WordAlignment(torch.zeros(1, 3, 3), torch.zeros(1, 3), *marks)
    found = blend_mask(maps, some, torch.zeros(1, 4, 8, 8))[0, 0].int()
    want = torch.zeros(8, 8, dtype=torch.int)
    want[:4, :4] = want[4:, 4:] = 1  # pooled to 2 x 2 cells, then each to 2 x 2 of the latent
    assert torch.equal(found, want)
    none = some._replace(new_source=torch.zeros(1, 3), new_target=torch.zeros(1, 3))
    assert not blend_mask(maps, none, torch.zeros(1, 4, 8, 8)).any()


# --- words -------------------------------------------------------------------------------------


@cache
def bundled() -> Editor:
    return Editor.from_pretrained("tiny", device="cpu")


def column(mapper: Tensor, j: int) -> dict[int, float]:
    """The source's tokens that target token j takes from, with their shares."""
    return {i: float(v) for i, v in enumerate(mapper[:, j]) if v}


def test_refining_keeps_common_tokens_and_leaves_new_ones_alone() -> None:
    tokenizer = bundled().models.tokenizer
    # 0 start, a red house , grass end  ->  0 start, a house , foggy grass end
    found = alignment.align_refinement(tokenizer, ["a red house, grass"], ["a house, foggy grass"])
    aligned = found.aligned[0].tolist()
    assert aligned[:8] == [1, 1, 1, 1, 0, 1, 1, 1]  # foggy is new
    pairs = {j: column(found.mapper[0], j) for j in range(8)}
    assert pairs == {0: {0: 1}, 1: {1: 1}, 2: {3: 1}, 3: {4: 1}, 4: {}, 5: {5: 1}, 6: {6: 1},
                     7: {7: 1}}  # fmt: skip
    assert found.new_source[0].nonzero().flatten().tolist() == [2]  # red
    assert found.new_target[0].nonzero().flatten().tolist() == [4]


def test_replacing_takes_the_map_of_the_word_that_goes() -> None:
    tokenizer = bundled().models.tokenizer
    pair = ["a red house, grass"], ["a blue boat, grass"]
    found = alignment.align_replacement(tokenizer, *pair)
    assert torch.equal(found.mapper[0], torch.eye(tokenizer.length)) and found.aligned.all()
    assert found.new_target[0].nonzero().flatten().tolist() == [2, 3, 4]  # "boat," is one word
    assert alignment.align_refinement(tokenizer, *pair).aligned[0, :8].tolist() == [
        1,
        1,
        0,
        0,
        1,
        1,
        1,
        1,
    ]


def test_prompts_of_other_lengths_are_refined() -> None:
    tokenizer = bundled().models.tokenizer
    pair = ["a house, day"], ["a house, day with the sun"]
    for ours, other in zip(
        alignment.align_replacement(tokenizer, *pair),
        alignment.align_refinement(tokenizer, *pair),
        strict=True,
    ):
        assert torch.equal(ours, other)


def test_a_word_of_several_tokens_shares_its_map(editor: Editor) -> None:
    tokenizer = editor.models.tokenizer  # whose words are few: others are letters
    (one,), (several,) = (
        alignment.word_spans(tokenizer, "red"),
        alignment.word_spans(tokenizer, "day"),
    )
    assert (len(one), len(several)) == (1, 3)
    found = alignment.align_replacement(tokenizer, ["a red house"], ["a day house"])
    shares = [column(found.mapper[0], j) for j in range(6)]
    third = pytest.approx(1 / 3)
    assert shares == [{0: 1}, {1: 1}, {2: third}, {2: third}, {2: third}, {3: 1}]


def test_alignments_are_the_longest_common_order() -> None:
    assert alignment.align([1, 2, 3, 4], [1, 3, 5, 4]) == [(0, 0), (1, 2), (3, 3)]
    assert alignment.align([], [1]) == []
    assert alignment.align([7, 7], [7]) == [(0, 0)]  # of equals the first, as the authors do
