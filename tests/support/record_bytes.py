"""Record what commands write and what the Editor computes, to compare two versions of the code.

    python tests/support/record_bytes.py record before.json    # in one checkout
    python tests/support/record_bytes.py record after.json     # in the other
    python tests/support/record_bytes.py compare before.json after.json [RENAMES.json]

A record holds, for every command, its exit code, the JSON object that it prints (without seconds
and paths), and for every file that it writes the SHA-256 of its pixels (or bytes) and its settings.
Latents of the Editor are recorded as SHA-256 of their bytes. RENAMES maps old keys and words to new
ones; renames.json beside this file holds those since 258e500. Bits depend on the processor and on
torch: record both versions on one machine.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RED = "a red house on the left, grass, clear day with the sun"
BLUE = "a blue house on the left, grass, clear day with the sun"
SNOW = "an orange house on the right, snow, clear day with the sun"
MADE = ["--source-prompt", RED, "--seed", "7", "--prompt", BLUE, "--steps", "10"]
REAL = ["example.png", "--source-prompt", "an orange house on the right, grass", "--prompt", SNOW]

COMMANDS: dict[str, list[str]] = {
    "generate": ["generate", RED, "--seed", "3", "--steps", "12", "-o", "out.png"],
    "generate-wide": ["generate", RED, "--steps", "6", "--width", "96", "--height", "64"],
    "edit-default": ["edit", *MADE],
    "edit-all": ["edit", *MADE, "--variant", "all", "--schedule", "cosine", "-o", "all.png"],
    "edit-window": ["edit", *MADE, "--variant", "beta", "--t-max", "9", "--t-m", "4.5"],
    "edit-strength": ["edit", *MADE, "--variant", "x", "--strength", "0.3"],
    "edit-previews": ["edit", *MADE, "--previews", "previews.png"],
    "edit-real": ["edit", *REAL, "--steps", "10"],
    "edit-box": ["edit", *REAL, "--steps", "8", "--box", "8,8,40,40", "--save-mask", "mask.png"],
    "edit-auto": ["edit", *REAL, "--steps", "8", "--auto-mask", "--feather", "2"],
    "edit-mask": ["edit", *REAL, "--steps", "8", "--mask", "mask.png", "--variant", "c"],
    "edit-pad": ["edit", *REAL, "--steps", "8", "--fit", "pad", "--width", "96", "--height", "64"],
    "edit-null-text": ["edit", *REAL, "--steps", "6", "--method", "null-text", "--tune", "plan"],
    "edit-proximal": [
        "edit", *REAL, "--steps", "8", "--method", "negative-prompt", "--proximal", "0.7"
    ],
    "invert-replay": ["invert", "example.png", "--steps", "10", "--method", "replay"],
    "invert-fixed": ["invert", "example.png", "--steps", "6", "--method", "fixed-point"],
    "invert-direct": ["invert", "example.png", "--steps", "6", "--method", "direct"],
    "invert-ddim": ["invert", "example.png", "--method", "ddim", "--inversion-steps", "9"],
    "invert-save": ["invert", "example.png", "--steps", "10", "--save-source", "s.safetensors"],
    "edit-saved": ["edit", "s.safetensors", "--prompt", SNOW],
    "sweep": [
        "sweep", *MADE[:4], "--prompt", BLUE, "--steps", "8", "--variants", "epsilon,x",
        "--t-m", "3,5", "--rows", "4", "-o", "sweep",
    ],
    "batch": ["batch", "jobs.csv", "--steps", "6", "-o", "batch"],
    "plan": ["plan", *MADE, "--variant", "all"],
    "dry-run": ["edit", *MADE, "--dry-run"],
}  # fmt: skip
JOBS = f'image,source_prompt,prompt\nexample.png,an orange house,"{SNOW}"\n,"{RED}","{BLUE}"\n'
NOISE = {"seconds", "files", "eta_seconds", "path", "elapsed"}
PICTURES = (".png", ".jpg", ".webp")


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def cleaned(value: Any) -> Any:
    """JSON without what differs between two runs of one version."""
    if isinstance(value, dict):
        return {k: cleaned(v) for k, v in value.items() if k not in NOISE}
    return [cleaned(one) for one in value] if isinstance(value, list) else value


def record_file(path: Path) -> Any:
    """What a written file holds: pixels and settings of a picture, else its bytes."""
    if path.suffix in PICTURES:
        from PIL import Image

        with Image.open(path) as image:
            texts = {k: v for k, v in image.info.items() if isinstance(v, str)}
            return {"pixels": digest(image.tobytes()), "texts": texts}
    if path.suffix in (".jsonl", ".json"):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        return [cleaned(json.loads(line)) for line in lines]
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        tensors = load_file(path)
        return {k: digest(v.contiguous().numpy().tobytes()) for k, v in sorted(tensors.items())}
    return digest(path.read_bytes())


def record_commands(folder: Path) -> dict[str, Any]:
    """Run all commands in one folder, in order: later ones read what earlier ones wrote."""
    found = {}
    for name, words in COMMANDS.items():
        known = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
        command = [sys.executable, "-m", "mdp_lite", *words, "--json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        print(name, done.returncode, done.stderr.strip()[-200:], flush=True)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        new = [p for p in files if known.get(p) != p.stat().st_mtime_ns]
        found[name] = {
            "exit": done.returncode,
            "json": cleaned(json.loads(done.stdout)) if done.stdout else None,
            "files": {str(path.relative_to(folder)): record_file(path) for path in new},
        }
    return found


def record_editor(folder: Path) -> dict[str, str]:
    """Latents of the Editor's own calls."""
    import torch
    from PIL import Image

    from mdp_lite import Editor

    torch.set_num_threads(1)
    editor = Editor.from_pretrained("tiny", device="cpu", dtype="float32")
    made = editor.generate(RED, seed=5, num_inference_steps=10)
    real = editor.invert(Image.open(folder / "example.png"), "a house", num_inference_steps=10)
    latents = {}
    for case, source in (("generated", made), ("inverted", real)):
        for variant in ("epsilon", "c", "x", "beta", None):
            edit = editor.edit(source, BLUE, variant)
            latents[f"{case} {variant}"] = digest(edit.latent.contiguous().numpy().tobytes())
            latents[f"{case} {variant} cost"] = str(tuple(edit.cost))
    masked = editor.edit(real, SNOW, mask=(4, 4, 40, 50), strength=0.7)
    latents["masked"] = digest(masked.latent.contiguous().numpy().tobytes())
    latents["masked picture"] = digest(masked.picture.tobytes())
    return latents


def record(out: Path) -> None:
    """Write one record."""
    from mdp_lite_weights import files

    tiny = Path(files.__file__).parent / "tiny"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "example.png").write_bytes((tiny / "example.png").read_bytes())
        (folder / "jobs.csv").write_text(JOBS)
        found = {"commands": record_commands(folder), "editor": record_editor(folder)}
    out.write_text(json.dumps(found, indent=1, sort_keys=True))


def rename(value: Any, names: dict[str, str], parent: str = "") -> Any:
    """The same with old keys and words by their new names; "parent/key" names a key below a key."""
    if isinstance(value, dict):
        return {
            names.get(f"{parent}/{k}", names.get(k, k)): rename(v, names, k)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [rename(one, names, parent) for one in value]
    if isinstance(value, str) and value.startswith("{"):  # settings in a picture
        return rename(json.loads(value), names, parent)
    return names.get(value, value) if isinstance(value, str) else value


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """Where two records differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted({*a, *b})
        return [
            line
            for k in keys
            for line in differences(a.get(k, "missing"), b.get(k, "missing"), f"{place}/{k}")
        ]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [line for i, pair in pairs for line in differences(*pair, f"{place}/{i}")]
    return [] if a == b else [f"{place}: {a!r:.200} != {b!r:.200}"]


def main(words: list[str]) -> int:
    """The command line in the first lines of this file."""
    if words[0] == "record":
        record(Path(words[1]))
        return 0
    old, new = (json.loads(Path(path).read_text()) for path in words[1:3])
    names = json.loads(Path(words[3]).read_text()) if len(words) > 3 else {}
    found = differences(rename(old, names), rename(new, {}))
    print("\n".join(found) or "equal")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
