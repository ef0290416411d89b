"""Eight processes that read and fill one small cache for some seconds; test_hammer.py runs it.

hammer.py CHECKPOINT FOLDER MAX_BYTES SECONDS prints one line of JSON, [calls, hits] of each.
"""

import json
import os
import random
import sys
import time
from pathlib import Path

import torch

from mdp_lite.editor import Editor
from mdp_lite.store.cache import Cache

PROCESSES, SEEDS = 8, 12


def ask(editor: Editor, right: list[bytes], name: int, seconds: float) -> list[int]:
    """Some seeds often, some seldom, so that entries are read, removed and made again."""
    rng, end, calls, hits = random.Random(name), time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        seed = rng.choice((0, 1, 2, rng.randrange(SEEDS)))
        found = editor.generate("a house", seed, 1)
        assert found.image.tobytes() == right[seed], f"a wrong source for seed {seed}"
        calls, hits = calls + 1, hits + (found.cost.unet_rows == 0)
    return [calls, hits]


def main(checkpoint: str, folder: str, max_bytes: str, seconds: str) -> int:
    torch.set_num_threads(1)
    cache = Cache(Path(folder), int(max_bytes))
    editor = Editor.from_pretrained(checkpoint, "cpu", cache=cache)
    plain = Editor(editor.models, editor.device)
    right = [plain.generate("a house", seed, 1).image.tobytes() for seed in range(SEEDS)]
    ends, children = [], []
    for name in range(PROCESSES):
        end, start = os.pipe()
        if not (child := os.fork()):
            os.write(start, json.dumps(ask(editor, right, name, float(seconds))).encode())
            os._exit(0)
        ends.append(end)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    if any(codes):
        return 1
    print(json.dumps([json.loads(os.read(end, 100)) for end in ends]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
