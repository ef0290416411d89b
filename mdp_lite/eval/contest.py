"""Every method on the same edits: MDP, its rivals, and the anchors that show what a score is worth.

All have the same UNet, weights, grid and guidance, and the same source paths.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.eval.choosing import SHARE, choose, handful
from mdp_lite.eval.edit_scores import scores
from mdp_lite.eval.given import Given, Track
from mdp_lite.eval.inversions import rounded
from mdp_lite.eval.reader import Reader
from mdp_lite.eval.rivals import words
from mdp_lite.eval.rivals.asked import Asked, Edited
from mdp_lite.eval.rivals.features import plug_and_play
from mdp_lite.eval.rivals.masactrl import masactrl
from mdp_lite.eval.rivals.plain import edit_friendly, regenerated, sdedit
from mdp_lite.eval.rivals.prompt_to_prompt import Control, prompt_to_prompt
from mdp_lite.eval.score import Figures, decode, drawn, round_trip
from mdp_lite.eval.sweep import Cell, swept
from mdp_lite.method.schedule import DEFAULTS, T_MAX, VARIANTS, paper_window
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD

Edit = Callable[[Given, Track], Edited]
ALIGNED = {"replace": words.replaced, "refine": words.refined}
ANCHORS = ("no edit", "vae", "truth")  # beside regenerating, which calls the UNet
# Chosen on the tune split; what has no line here is best there as its authors set it.
CONTROL, STRENGTH, SKIP = Control(cross=0.4, self_=0.4), 0.5, 0.27


class Method(NamedTuple):
    """How an edit is made, and from which of the tracks that are given."""

    track: str
    edit: Edit


class Made(NamedTuple):
    """Pictures (b, 3, 64, 64); UNet rows of an edit and of its source; seconds, by its batch's."""

    pictures: Tensor
    rows: float = 0.0
    source_rows: float = 0.0
    seconds: float = 0.0


def methods(case: str, n: int) -> dict[str, Method]:
    """All that are compared over n steps, by name, each with one setting for every kind of edit."""
    real = case == "real"
    own, path, tuned = (DEFAULT_METHOD, "replay", "null-text") if real else ("own",) * 3
    found = {f"mdp-{v}": Method(own, partial(mdp, variant=v)) for v in VARIANTS}
    paper = partial(mdp, variant="epsilon", cell=Cell("epsilon", *paper_window(n)))
    found["mdp-epsilon-paper"] = Method(path, paper)
    if not real:
        found["mdp-x-inverted"] = Method(DEFAULT_METHOD, partial(mdp, variant="x"))
    found["regenerate"] = Method(path, _regenerated)
    for name, how, control in (
        ("p2p-replace", "replace", CONTROL),
        ("p2p-refine", "refine", CONTROL),
        ("p2p-reweight", "refine", CONTROL._replace(weight=2.0)),
        ("p2p-blend", "refine", CONTROL._replace(blend=True)),
    ):
        found[name] = Method(tuned, partial(ptp, how=how, control=control))
    if real:
        edit = partial(ptp, how="refine", control=CONTROL)
        found["pnp-inversion-p2p"] = Method(path, edit)
    return found | {
        "sdedit": Method(path, _sdedit),
        "edit-friendly": Method(
            DEFAULT_METHOD, partial(_free, rival=partial(edit_friendly, skip=SKIP))
        ),
        "masactrl": Method(path, partial(_free, rival=masactrl)),
        "pnp-features": Method(path, partial(_free, rival=plug_and_play)),
    }


def settings(case: str, n: int) -> dict[str, Method]:
    """What the one setting of each method is chosen from, on the tune split.

    Prompt-to-Prompt's is chosen on generated pictures alone: null-text would take the most of all.
    """
    real = case == "real"
    own, path = (DEFAULT_METHOD, "replay") if real else ("own",) * 2
    found = {
        f"mdp-{cell.label}": Method(own, partial(mdp, variant=cell.variant, cell=cell))
        for cell in _cells(n)
    }
    if not real:
        found |= {
            f"mdp-{cell.label} inverted": Method(
                DEFAULT_METHOD, partial(mdp, variant="x", cell=cell)
            )
            for cell in _cells(n)
            if cell.variant == "x" and cell.t_max == n
        }
    found["mdp-chosen"] = Method(own, chosen)
    for cross, self_ in () if real else ((0.8, 0.4), (0.8, 0.6), (0.4, 0.4)):
        edit = partial(ptp, how="refine", control=Control(cross, self_))
        found[f"p2p-refine {cross:g}/{self_:g}"] = Method(own, edit)
    for strength in (0.5, 0.65, 0.8):
        found[f"sdedit {strength:g}"] = Method(path, partial(_sdedit, strength=strength))
    for skip in (0.2, 0.27, 0.36, 0.5):
        rival = partial(edit_friendly, skip=skip)
        found[f"edit-friendly {skip:g}"] = Method(DEFAULT_METHOD, partial(_free, rival=rival))
    for step in (0.08, 0.2):
        rival = partial(masactrl, step=step)
        found[f"masactrl {step:g}"] = Method(path, partial(_free, rival=rival))
    for features, attention in ((0.8, 0.5), (0.5, 0.3), (0.3, 0.2)):
        rival = partial(plug_and_play, features=features, attention=attention)
        label = f"pnp-features {features:g}/{attention:g}"
        found[label] = Method(path, partial(_free, rival=rival))
    return found


def _cells(n: int) -> list[Cell]:
    """Windows of all variants; those from the first step on lead all but beta along A alike."""
    late = round(T_MAX * n)
    windows = {
        "x": [(n, 0.2), (n, 0.27), (n, 0.34), (n, 0.4), (late, 0.34), (late, 0.52)],
        "epsilon": [(late, 0.2), (late, 0.27), (late, 0.34), (late, 0.4), (late, 0.52)],
        "c": [(late, 0.27), (late, 0.34), (late, 0.52)],
        "beta": [(n, 0.34)],
    }
    shares = {"beta": 0.5}  # whole ones are c's
    found = [
        Cell(variant, t_max, round(t_m * n), shares.get(variant, 1.0))
        for variant, some in windows.items()
        for t_max, t_m in some
    ]
    first = [one for one in found if one.t_m <= 0.4 * n and (one.variant != "x" or one.t_max == n)]
    pulled = [one._replace(leash=1.0) for one in first]
    weaker = [
        Cell(variant, t_max, round(0.34 * n), leash=pull)
        for variant, t_max in (("x", n), ("epsilon", late))
        for pull in (0.5, 0.75)
    ]
    return found + pulled + weaker


def anchors(given: Given) -> dict[str, Made]:
    """Pictures that no edit made: the one before, the VAE's round trip of it, the true answer."""
    found = {"no edit": Made(given.before), "vae": Made(round_trip(given.editor, given.before))}
    if given.answers:
        found["truth"] = Made(drawn(case.after for case in given.cases))
    return found


@torch.no_grad()
def made(given: Given, method: Method) -> Made:
    """The edits by one method, decoded, and what each took."""
    track, started = given.tracks[method.track], time.perf_counter()
    found = method.edit(given, track)
    pictures = decode(given.editor, found.x)
    seconds = (time.perf_counter() - started) / len(pictures)
    return Made(pictures, float(found.rows), track.rows, seconds)


def measured(reader: Reader, given: Given, one: Made) -> Figures:
    """Every measure of pictures, one number a case."""
    b = len(given.cases)
    found = scores(reader, given.cases, given.before, one.pictures, given.answers)
    found |= {"rows": [one.rows] * b, "source rows": [one.source_rows] * b}
    return {
        name: rounded(values) for name, values in (found | {"seconds": [one.seconds] * b}).items()
    }


def asked(given: Given, track: Track) -> Asked:
    """The edits as rivals are asked for them; null-text's own null rows where it has some."""
    to, null = given.to, track.path.null
    if null is not None:
        to = to._replace(null=null.to(to.c.dtype))
    return Asked(
        given.editor.models.unet, given.grid, track.path, to, given.editor.runner.v_prediction
    )


def mdp(given: Given, track: Track, variant: str, cell: Cell | None = None) -> Edited:
    """MDP at a window, by default the one that Editor.edit has."""
    edit = asked(given, track)
    cell = cell or usual(variant, len(given.grid.t))
    found, rows = swept(edit.unet, edit.grid, edit.source, edit.to, [cell], track.own, edit.v)
    return Edited(found[cell], rows)


def usual(variant: str, n: int) -> Cell:
    """What Editor.edit does where it is given no window."""
    t_max, t_m, schedule = DEFAULTS[variant]
    return Cell(variant, round(t_max * n), round(t_m * n), leash=float(schedule == "leash"))


def chosen(given: Given, track: Track, share: float = SHARE) -> Edited:
    """MDP at the window of a few that choosing without the true answer picks for each edit."""
    codec, (height, width) = given.editor.runner, given.before.shape[2:]
    z = torch.cat([codec.noise(one.seed + 2, width, height) for one in given.said])
    return choose(asked(given, track), handful(len(given.grid.t)), track.own, z, share)


def ptp(given: Given, track: Track, how: str, control: Control) -> Edited:
    """Prompt-to-Prompt with words aligned by replacing or refining."""
    tokenizer = given.editor.models.tokenizer
    sources, targets = ([getattr(one, name) for one in given.said] for name in ("source", "target"))
    return prompt_to_prompt(asked(given, track), ALIGNED[how](tokenizer, sources, targets), control)


def _free(given: Given, track: Track, rival: Callable[[Asked], Edited]) -> Edited:
    """A rival that needs nothing beside."""
    return rival(asked(given, track))


def _regenerated(given: Given, track: Track) -> Edited:
    return regenerated(asked(given, track))


def _sdedit(given: Given, track: Track, strength: float = STRENGTH) -> Edited:
    """SDEdit under noise that is not what the source was generated from."""
    codec, (height, width) = given.editor.runner, given.before.shape[2:]
    z = torch.cat([codec.noise(one.seed + 1, width, height) for one in given.said])
    return sdedit(asked(given, track), z, strength)
