"""Which of two bundled models makes the pictures that a person prefers, looked at blind.

    python -m benchmarks.preference make FOLDER [--first tiny] [--second small] [--seed 1]
    python -m benchmarks.preference count FOLDER

`make` writes sheets of pairs: each a caption of one subject that both worlds have, and a picture of
it by each model, in random order and on random sides, which --seed chooses. votes.txt has a line
for each pair, to be filled in with left, right or equal; key.json says which side is whose: do not
open it before. `count` prints the share of pairs in which the second model is preferred.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.eval import world
from mdp_lite.eval.interval import mean_interval
from mdp_lite.eval.village import captions as village_captions
from mdp_lite.eval.village import world as village
from mdp_lite.eval.village.record import USUAL
from mdp_lite.eval.worlds import VILLAGE, find_world
from mdp_lite.pictures.output import write_picture
from mdp_lite.pictures.sheets import Row, sheet

PAIRS, ROWS, SIDE = 40, 5, 256  # of all sheets; of one; pixels of a picture on it
SIDES, VOTES = ("left", "right"), ("left", "right", "equal")
OBJECTS = tuple(v for v in world.FIELDS["object"] if v in village.FIELDS["object"])
COLORS = tuple(v for v in world.FIELDS["color"] if v in village.FIELDS["color"])
GROUNDS = {"grass": "meadow", "sand": "sand", "water": "lake"}  # of the first world: of the second
FIELDS = ("object", "color", "ground", "time")
MOST = len(OBJECTS) * len(COLORS) * len(GROUNDS) * len(world.FIELDS["time"])  # subjects that differ


class Subject(NamedTuple):
    """What both pictures of a pair show, in each world's words, and the seed of both."""

    postcards: str
    village: str
    seed: int


def list_subjects(count: int, seed: int) -> list[Subject]:
    """So many subjects, MOST at most; no two are equal, and objects take turns."""
    rng, some = Random(seed), dict[str, Subject]()
    while len(some) < count:
        thing = OBJECTS[len(some) % len(OBJECTS)]
        one = make_subject(rng, thing)
        some.setdefault(one.postcards, one)
    found = list(some.values())
    rng.shuffle(found)
    return found


def make_subject(rng: Random, thing: str) -> Subject:
    """A thing in a colour, on a ground, at a time of day, and nothing unusual."""
    seed, ground = rng.getrandbits(31), rng.choice(list(GROUNDS))
    same = {"object": thing, "color": rng.choice(COLORS), "time": rng.choice(world.FIELDS["time"])}
    ours, theirs = world.sample(seed), village.sample(seed)
    for field, value in same.items():
        ours, theirs = world.change(ours, field, value), village.change(theirs, field, value)
    ours = world.change(ours, "ground", ground)
    for field, value in {**USUAL, "ground": GROUNDS[ground]}.items():
        theirs = village.change(theirs, field, value)
    prompts = world.caption(ours, FIELDS), village_captions.caption(theirs, FIELDS)
    return Subject(*prompts, seed % 2**16)


def word_subject(subject: Subject, editor: Editor) -> str:
    """The prompt of a subject in the words of the editor's world."""
    knows_village = find_world(editor.models.knowledge.pictures) is VILLAGE
    return subject.village if knows_village else subject.postcards


def draw_pair(
    editors: Sequence[Editor], subject: Subject, swapped: bool, steps: int | None
) -> list[Image.Image]:
    """The pictures of a subject by both models, as on the sheet; swapped: the second is left."""
    images = [
        editor.generate(
            word_subject(subject, editor), seed=subject.seed, num_inference_steps=steps
        ).image
        for editor in editors
    ]
    pictures = [one.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for one in images]
    return pictures[::-1] if swapped else pictures


def side_of_second(swapped: bool) -> str:
    """Where draw_pair puts the second model's picture."""
    return SIDES[0 if swapped else 1]


def make(args: argparse.Namespace) -> None:
    """Write the sheets, the empty votes and the key.

    Raises SystemExit for a number of pairs that there is not, and for a folder that has votes.
    """
    if not 1 <= args.pairs <= MOST:
        raise SystemExit(f"pairs must be 1 to {MOST}, got {args.pairs}")
    if (args.folder / "votes.txt").exists():
        raise SystemExit(f"{args.folder} has votes.txt already: name another folder")
    editors = [Editor.from_pretrained(name, device="cpu") for name in (args.first, args.second)]
    subjects, rng = list_subjects(args.pairs, args.seed), Random(f"sides {args.seed}")
    swapped = [k % 2 == 0 for k in range(len(subjects))]  # as often on either side
    rng.shuffle(swapped)
    args.folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for k, (subject, swap) in enumerate(zip(subjects, swapped, strict=True), 1):
        pictures = draw_pair(editors, subject, swap, args.steps)
        rows.append([(f"{k} {side}: {subject.postcards}", one)
                     for side, one in zip(SIDES, pictures, strict=True)])  # fmt: skip
    for i in range(0, len(rows), ROWS):
        page = args.folder / f"pairs_{i // ROWS + 1:02d}.png"
        write_picture(sheet(rows[i : i + ROWS]), page, None)
    seconds = [side_of_second(swap) for swap in swapped]
    models = {"first": args.first, "second": args.second, "seed": args.seed}
    key = json.dumps({**models, "second is": seconds}, indent=1)
    (args.folder / "key.json").write_text(key + "\n", "utf-8")
    votes = "".join(f"{k} \n" for k in range(1, len(subjects) + 1))
    (args.folder / "votes.txt").write_text(votes, "utf-8")
    print(f"wrote {len(subjects)} pairs to {args.folder}: fill in votes.txt, then count")


def read_votes(path: Path, count: int) -> list[str]:
    """The votes, one for each pair. Raises SystemExit for a line without one."""
    lines = [line.split() for line in path.read_text("utf-8").splitlines() if line.strip()]
    if [line[0] for line in lines] != [str(k) for k in range(1, count + 1)]:
        raise SystemExit(f"{path.name} must have a line for each of the pairs 1 to {count}")
    for line in lines:
        if len(line) != 2 or line[1] not in VOTES:
            got = " ".join(line)
            raise SystemExit(f"{path.name}: a vote must be one of {', '.join(VOTES)}, got {got!r}")
    return [line[1] for line in lines]


def count_votes(votes: Sequence[str], seconds: Sequence[str]) -> list[float]:
    """1 where the second model is preferred, 0 where the first is, half where neither is."""
    pairs = zip(votes, seconds, strict=True)
    return [0.5 if vote == "equal" else float(vote == second) for vote, second in pairs]


def count(args: argparse.Namespace) -> None:
    """Print the share of pairs in which the second model is preferred, with its interval."""
    missing = [name for name in ("key.json", "votes.txt") if not (args.folder / name).is_file()]
    if missing:
        raise SystemExit(f"{args.folder} has no {' and no '.join(missing)}: make the pairs first")
    key = json.loads((args.folder / "key.json").read_text("utf-8"))
    votes = read_votes(args.folder / "votes.txt", len(key["second is"]))
    share = mean_interval(count_votes(votes, key["second is"]))
    ties, names = votes.count("equal"), f"{key['second']} is preferred to {key['first']}"
    print(
        f"{names} in {share.mean:.0%} of {len(votes)} pairs [{share.low:.0%}, {share.high:.0%}]; "
        f"{ties} equal ones count half"
    )


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.preference", description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("what", choices=("make", "count"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", default="tiny")
    parser.add_argument("--second", default="small")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, help="DDIM steps; default each model's")
    return parser


def main() -> None:
    """Make the pairs, or count the votes."""
    args = make_parser().parse_args()
    {"make": make, "count": count}[args.what](args)


if __name__ == "__main__":
    main()
