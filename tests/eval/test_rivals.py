"""Rivals: where each must be the source or plain sampling, what it costs, and how words meet."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.eval.rivals import words
from mdp_lite.eval.rivals.asked import Asked, Edited, Row, called
from mdp_lite.eval.rivals.attention import Count, blocks, blocks_above, probabilities
from mdp_lite.eval.rivals.features import first_block, handing, plug_and_play
from mdp_lite.eval.rivals.masactrl import masactrl
from mdp_lite.eval.rivals.plain import edit_friendly, regenerated, sdedit
from mdp_lite.eval.rivals.prompt_to_prompt import Control, changed, prompt_to_prompt
from mdp_lite.method.sample import Conditions, Path
from mdp_lite.models.transformer import SDPA
from mdp_lite.pipeline.result import Source
from support.inverting import G, N, double, picture

SOURCE, TARGET = "a red house", "a blue boat"
Rival = Callable[[Asked], Edited]


@pytest.fixture(scope="module")
def wide(editor: Editor) -> Editor:
    """The random model in float64: what differs is no rounding."""
    return double(editor)


def joined(sources: Iterable[Source]) -> Path:
    """One path of several sources."""
    paths = [source.path for source in sources]
    x, eps = (torch.cat([getattr(p, name) for p in paths], 1) for name in ("x", "eps"))
    noise = [p.noise for p in paths if p.noise is not None]
    c = torch.cat([p.c for p in paths])
    return Path(x, eps, c, noise=torch.cat(noise, 1) if noise else None)


def asked(editor: Editor, prompts: list[str], targets: list[str], real: str = "") -> Asked:
    """Edits of generated pictures, or of pictures inverted by a method."""
    if real:
        pictures = [picture(seed) for seed in range(len(prompts))]
        sources = editor.inverts(pictures, prompts, real, N, G)
    else:
        sources = [editor.generate(p, seed, N, G) for seed, p in enumerate(prompts)]
    c = torch.cat([editor.runner.condition(target) for target in targets])
    to = Conditions(c, editor.runner.condition(""), torch.tensor(G))
    return Asked(
        editor.models.unet, sources[0].grid, joined(sources), to, editor.runner.v_prediction
    )


def one(editor: Editor, target: str = TARGET, real: str = "") -> Asked:
    return asked(editor, [SOURCE], [target], real)


def ptp(editor: Editor, target: str, how: Control, source: str = SOURCE) -> Rival:
    aligned = words.refined(editor.models.tokenizer, [source], [target])
    return partial(prompt_to_prompt, words=aligned, how=how)


def distance(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


@torch.no_grad()
def run(rival: Rival, edits: Asked) -> Edited:
    return rival(edits)


def rivals(editor: Editor, target: str) -> dict[str, Rival]:
    return {
        "prompt-to-prompt": ptp(editor, target, Control(0.4, 0.4)),
        "reweighted": ptp(editor, target, Control(0.4, 0.4, weight=2)),
        "blended": ptp(editor, target, Control(0.4, 0.4, blend=True)),
        "masactrl": partial(masactrl, step=0.2),
        "plug-and-play": plug_and_play,
        "regenerated": regenerated,
    }


NAMES = ("prompt-to-prompt", "reweighted", "blended", "masactrl", "plug-and-play", "regenerated")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "plug-and-play"])
def test_towards_its_own_prompt_a_source_is_found_again(wide: Editor, name: str) -> None:
    # Plug-and-Play's null row has the features of the source's prompt, which its source had not.
    edits = one(wide, SOURCE)
    assert distance(run(rivals(wide, SOURCE)[name], edits).x, edits.source.x[-1]) < 1e-9


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_rival_is_neither_the_source_nor_plain_sampling(wide: Editor, name: str) -> None:
    edits = one(wide)
    found = run(rivals(wide, TARGET)[name], edits).x
    assert distance(found, edits.source.x[-1]) > 1e-4
    assert distance(found, run(regenerated, edits).x) > 1e-4


@pytest.mark.parametrize(
    "name, off",
    [
        ("masactrl", partial(masactrl, step=1.0)),
        ("plug-and-play", partial(plug_and_play, features=0.0, attention=0.0)),
        ("sdedit", None),
        ("prompt-to-prompt", None),
    ],
)
def test_what_injects_nothing_samples_anew(wide: Editor, name: str, off: Rival | None) -> None:
    edits = one(wide)
    if name == "prompt-to-prompt":
        off = ptp(wide, TARGET, Control(0.0, 0.0))
    if name == "sdedit":  # from the noise that its first step puts on the picture
        a, x = edits.grid.a[0], edits.source.x
        z = (x[0] - a.sqrt() * x[-1]) / (1 - a).sqrt()
        off = partial(sdedit, z=z, strength=1.0)
    assert off
    assert distance(run(off, edits).x, run(regenerated, edits).x) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_edits_together_are_those_alone(wide: Editor, name: str) -> None:
    prompts, targets = ["a red house", "a boat at night"], ["a blue house", "a red boat at night"]
    both = asked(wide, prompts, targets)
    aligned = words.refined(wide.models.tokenizer, prompts, targets)
    together = rivals(wide, TARGET)[name]
    if name in NAMES[:3]:
        together = partial(together, words=aligned)
    found = run(together, both).x
    for k in range(2):
        source = Path(both.source.x[:, k : k + 1], both.source.eps, both.source.c[k : k + 1])
        alone = both._replace(source=source, to=both.to._replace(c=both.to.c[k : k + 1]))
        single = rivals(wide, TARGET)[name]
        if name in NAMES[:3]:
            parts = words.Words(*(part[k : k + 1] for part in aligned))
            single = partial(single, words=parts)
        assert distance(run(single, alone).x, found[k : k + 1]) < 1e-9


@pytest.mark.parametrize("name", [*NAMES, "sdedit", "edit-friendly"])
def test_the_rows_are_those_the_unet_sees(wide: Editor, name: str) -> None:
    edits, rows = one(wide, real="edit-friendly"), []
    unet = deepcopy(edits.unet)
    unet.register_forward_hook(lambda module, given, out: rows.append(len(given[0])))
    z = torch.ones_like(edits.source.x[0])
    more = {"sdedit": partial(sdedit, z=z, strength=0.5), "edit-friendly": edit_friendly}
    found = run((rivals(wide, TARGET) | more)[name], edits._replace(unet=unet))
    assert found.rows == sum(rows) > 0


def test_sdedit_of_no_strength_is_the_picture(wide: Editor) -> None:
    edits = one(wide)
    found = sdedit(edits, torch.ones_like(edits.source.x[0]), 0.0)
    assert torch.equal(found.x, edits.source.x[-1]) and found.rows == 0


def test_edit_friendly_finds_the_picture_under_its_own_prompt(wide: Editor) -> None:
    edits = one(wide, SOURCE, "edit-friendly")
    assert distance(run(edit_friendly, edits).x, edits.source.x[-1]) < 1e-9
    other = one(wide, TARGET, "edit-friendly")
    assert distance(run(edit_friendly, other).x, edits.source.x[-1]) > 1e-4
    with pytest.raises(ValueError, match="needs a source with noise maps"):
        edit_friendly(one(wide))


def test_rivals_need_guidance(wide: Editor) -> None:
    edits = one(wide)
    with pytest.raises(ValueError, match="guidance must be other than 1"):
        regenerated(edits._replace(to=edits.to._replace(null=None)))


# --- attention ---------------------------------------------------------------------------------


def test_probabilities_are_those_of_the_denoisers_attention() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 4)
    assert torch.allclose(probabilities(q, k) @ v, SDPA(q, k, v), atol=1e-6)


def test_layers_are_told_apart_by_their_order(editor: Editor) -> None:
    unet, count, seen = editor.models.unet, Count(), []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen.append((count.layer(q), k.shape[2]))
        return SDPA(q, k, v)

    x, c = torch.zeros(1, 4, 8, 8), editor.runner.condition(SOURCE)
    unet(x, torch.tensor(1), c, attend)
    assert [layer.block for layer, _ in seen] == [0, 0, 1, 1, 2, 2, 3, 3] and blocks(unet) == 4
    for layer, keys in seen:
        assert keys == (c.shape[1] if layer.text else layer.cells)
    assert blocks_above(unet) == 2 == first_block(unet, 0.0)


def test_a_handing_unet_changes_the_targets_alone_and_shares_all_weights(editor: Editor) -> None:
    unet, injecting = editor.models.unet, handing(editor.models.unet)
    torch.manual_seed(0)
    c = editor.runner.condition(SOURCE)
    rows, t = [Row(torch.randn(2, 4, 8, 8), c) for _ in range(3)], torch.tensor(500)
    with torch.no_grad():
        plain, changed = called(unet, t, rows), called(injecting, t, rows)
        again = called(injecting, t, [rows[0]] * 3)
    assert distance(plain[0], changed[0]) < 1e-6
    assert min(distance(plain[k], changed[k]) for k in (1, 2)) > 1e-5
    assert max(distance(plain[0], one) for one in again) < 1e-5
    assert {id(w) for w in unet.parameters()} == {id(w) for w in injecting.parameters()}


def test_local_blend_lets_go_where_the_words_are_seen() -> None:
    maps = torch.zeros(2, 1, 16, 3)
    maps[0, 0, 0, 1] = 1.0  # the source's word is in the first of 4 x 4 cells
    maps[1, 0, 15, 2] = 0.5  # the target's in the last
    maps[1, 0, 3, 1] = 9.0  # of another word
    marks = [torch.tensor([[0.0, 1, 0]]), torch.tensor([[0.0, 0, 1]])]
    some = words.Words(torch.zeros(1, 3, 3), torch.zeros(1, 3), *marks)
    found = changed(maps, some, torch.zeros(1, 4, 8, 8))[0, 0].int()
    want = torch.zeros(8, 8, dtype=torch.int)
    want[:4, :4] = want[4:, 4:] = 1  # pooled to 2 x 2 cells, then each to 2 x 2 of the latent
    assert torch.equal(found, want)
    none = some._replace(new_source=torch.zeros(1, 3), new_target=torch.zeros(1, 3))
    assert not changed(maps, none, torch.zeros(1, 4, 8, 8)).any()


# --- words -------------------------------------------------------------------------------------


@cache
def bundled() -> Editor:
    return Editor.from_pretrained(device="cpu")


def column(mapper: Tensor, j: int) -> dict[int, float]:
    """The source's tokens that target token j takes from, with their shares."""
    return {i: float(v) for i, v in enumerate(mapper[:, j]) if v}


def test_refining_keeps_common_tokens_and_leaves_new_ones_alone() -> None:
    tokenizer = bundled().models.tokenizer
    # 0 start, a red house , grass end  ->  0 start, a house , foggy grass end
    found = words.refined(tokenizer, ["a red house, grass"], ["a house, foggy grass"])
    known = found.known[0].tolist()
    assert known[:8] == [1, 1, 1, 1, 0, 1, 1, 1]  # foggy is new
    pairs = {j: column(found.mapper[0], j) for j in range(8)}
    assert pairs == {0: {0: 1}, 1: {1: 1}, 2: {3: 1}, 3: {4: 1}, 4: {}, 5: {5: 1}, 6: {6: 1},
                     7: {7: 1}}  # fmt: skip
    assert found.new_source[0].nonzero().flatten().tolist() == [2]  # red
    assert found.new_target[0].nonzero().flatten().tolist() == [4]


def test_replacing_takes_the_map_of_the_word_that_goes() -> None:
    tokenizer = bundled().models.tokenizer
    pair = ["a red house, grass"], ["a blue boat, grass"]
    found = words.replaced(tokenizer, *pair)
    assert torch.equal(found.mapper[0], torch.eye(tokenizer.length)) and found.known.all()
    assert found.new_target[0].nonzero().flatten().tolist() == [2, 3, 4]  # "boat," is one word
    assert words.refined(tokenizer, *pair).known[0, :8].tolist() == [1, 1, 0, 0, 1, 1, 1, 1]


def test_prompts_of_other_lengths_are_refined() -> None:
    tokenizer = bundled().models.tokenizer
    pair = ["a house, day"], ["a house, day with the sun"]
    for ours, other in zip(words.replaced(tokenizer, *pair), words.refined(tokenizer, *pair),
                           strict=True):  # fmt: skip
        assert torch.equal(ours, other)


def test_a_word_of_several_tokens_shares_its_map(editor: Editor) -> None:
    tokenizer = editor.models.tokenizer  # whose words are few: others are letters
    (one,), (several,) = words.spans(tokenizer, "red"), words.spans(tokenizer, "day")
    assert (len(one), len(several)) == (1, 3)
    found = words.replaced(tokenizer, ["a red house"], ["a day house"])
    shares = [column(found.mapper[0], j) for j in range(6)]
    third = pytest.approx(1 / 3)
    assert shares == [{0: 1}, {1: 1}, {2: third}, {2: third}, {2: third}, {3: 1}]


def test_alignments_are_the_longest_common_order() -> None:
    assert words.aligned([1, 2, 3, 4], [1, 3, 5, 4]) == [(0, 0), (1, 2), (3, 3)]
    assert words.aligned([], [1]) == []
    assert words.aligned([7, 7], [7]) == [(0, 0)]  # of equals the first, as the authors do
