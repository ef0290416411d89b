"""Files and folders that the user may not read or write: one line, its name, exit code 2.

Root may read everything. As root, the commands run without the two capabilities that allow it.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from support.places import ENVIRONMENT

TEXTS = ["--source-prompt", "house", "--prompt", "boat", "--steps", "2", "--quiet"]
CASES = {  # words, and the name that the message has
    "picture": (["edit", "secret", *TEXTS, "-o", "a.png"], "secret"),
    "mask": (["edit", "ok.png", "--mask", "secret", *TEXTS, "-o", "a.png"], "secret"),
    "model": (["edit", "--model", "locked", *TEXTS, "-o", "a.png"], "locked"),
    "vae": (["edit", "--vae", "secret", *TEXTS, "-o", "a.png"], "secret"),
    "lora": (["edit", "--lora", "secret", *TEXTS, "-o", "a.png"], "secret"),
    "embedding": (["edit", "--embedding", "secret", *TEXTS, "-o", "a.png"], "secret"),
    "output": (["edit", *TEXTS, "-o", "locked/a.png"], "locked/a.png"),
    "cache": (["edit", "ok.png", "--cache", "locked", *TEXTS, "-o", "a.png"], "locked"),
    "job": (["batch", "secret.csv", "-o", "out"], "secret.csv"),
    "folder": (["batch", "ok.csv", "-o", "locked"], "locked"),
    "info": (["info", "locked"], "locked"),
}
PROGRAM = """
import contextlib, io, json, sys
from mdp_lite.__main__ import main
found = {}
for name, words in json.loads(sys.argv[1]).items():
    text = io.StringIO()
    with contextlib.redirect_stderr(text):
        code = main(words)
    found[name] = [code, text.getvalue()]
print(json.dumps(found))
"""
DROPPED = "-dac_override,-dac_read_search"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """The exit code of each case and what it says, from one process in a folder of such files."""
    folder = tmp_path_factory.mktemp("permissions")
    Image.new("RGB", (64, 64), "green").save(folder / "ok.png")
    (folder / "ok.csv").write_text("source_prompt,prompt\nhouse,boat\n")
    (folder / "secret").write_bytes((folder / "ok.png").read_bytes())
    shutil.copy(folder / "ok.csv", folder / "secret.csv")
    (folder / "locked").mkdir()
    locked = [folder / name for name in ("secret", "secret.csv", "locked")]
    drop = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and there is no setpriv to change that")
        drop = ["setpriv", f"--bounding-set={DROPPED}"]
    words = json.dumps({name: words for name, (words, _) in CASES.items()})
    for path in locked:
        path.chmod(0)
    try:
        done = subprocess.run(
            [*drop, sys.executable, "-c", PROGRAM, words],
            cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    finally:
        for path in locked:
            path.chmod(0o700)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_it_is_named_in_one_line(answers: dict[str, tuple[int, str]], case: str) -> None:
    code, text = answers[case]
    assert code == 2 and text.startswith("mdp-lite: ") and text.count("\n") == 1
    assert CASES[case][1] in text
    assert "ermission" in text or "must be writable" in text
