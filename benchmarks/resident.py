"""Resident memory of a process that loads SD 1.5's size, takes a guided step and decodes.

    python -m benchmarks.resident --models FOLDER    # writes 8.5 GB there, takes minutes

Weights are mapped files. The first call packs or copies those that it can't read where they lie,
so for a time the memory could hold a weight twice: packed, and as pages of the file. This counts
such idle pages, in which no weight lies that is still read, at each stage of a fresh process. Then
it gives them back by madvise(MADV_PAGEOUT), and counts again: that is the most that the engine
could gain by doing so. Linux only. Models:

- "bfloat16": files as diffusers writes them, whose weights do not lie at multiples of 64 bytes;
- "aligned": the same weights at multiples of 64 bytes, so that those of linear layers stay mapped;
- "float32": float32 files, loaded in bfloat16, so that all weights are cast.
"""

import argparse
import ctypes
import json
import mmap
import re
import shutil
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.loading import model, resident_bytes, run_python, warm
from benchmarks.record import RESULTS, Recorder, format_command
from mdp_lite import Editor
from mdp_lite.models.aligned import ALIGNMENT
from mdp_lite_weights.tensors import read_tensors

PAGE, MADV_PAGEOUT = mmap.PAGESIZE, 21  # of Linux 5.4
DTYPE = "bfloat16"
KINDS = {"bfloat16": "bfloat16", "aligned": "bfloat16", "float32": "float32"}  # and their files'
SIDE, TOKENS = 64, 77
NAMES = {torch.bfloat16: "BF16", torch.float32: "F32"}  # in headers of safetensors files


class Range(NamedTuple):
    """Addresses [start, end)."""

    start: int
    end: int


def list_mappings() -> list[Range]:
    """Where this process has mapped files of weights."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ends = [line.split()[0].split("-") for line in lines if line.endswith(".safetensors")]
    return [Range(*(int(end, 16) for end in pair)) for pair in ends]


def list_weights(editor: Editor) -> list[Range]:
    """The pages of all weights that lie in plain layout, in the order of their addresses."""
    models = editor.models
    parts = (models.text_encoder, models.unet, models.vae)
    plain = [one for part in parts for one in part.parameters() if not one.is_mkldnn]
    ends = [(one.data_ptr(), one.data_ptr() + one.nbytes) for one in plain]
    return sorted(Range(start // PAGE * PAGE, -(-end // PAGE) * PAGE) for start, end in ends)


def list_idle(mappings: list[Range], weights: list[Range]) -> Iterator[Range]:
    """The pages of mappings in which no weight lies.

    >>> list(list_idle([Range(0, 9)], [Range(2, 4), Range(3, 5), Range(20, 30)]))
    [Range(start=0, end=2), Range(start=5, end=9)]
    """
    for start, end in mappings:
        within = [one for one in weights if one.start < end and one.end > start]
        for one in [*within, Range(end, end)]:
            if one.start > start:
                yield Range(start, one.start)
            start = max(start, one.end)


def count_resident(ranges: list[Range]) -> int:
    """Bytes of these pages that are resident in this process."""
    present = 0
    with open("/proc/self/pagemap", "rb") as table:
        for start, end in ranges:
            table.seek(start // PAGE * 8)
            entries = array("Q", table.read((end - start) // PAGE * 8))
            present += sum(entry >> 63 for entry in entries)
    return present * PAGE


def describe(editor: Editor) -> dict[str, int]:
    """The memory of this process now, in bytes."""
    fields = {
        "peak": "VmHWM", "resident": "VmRSS", "anonymous": "RssAnon", "files": "RssFile",
    }  # fmt: skip
    found = re.search(r"Pss:\s+(\d+)", Path("/proc/self/smaps_rollup").read_text())
    mappings = list_mappings()
    assert found
    return {
        **{name: resident_bytes(field) for name, field in fields.items()},
        "proportional": int(found[1]) * 1024,
        "mapped": sum(end - start for start, end in mappings),
        "mapped_resident": count_resident(mappings),
        "mapped_idle": count_resident(list(list_idle(mappings, list_weights(editor)))),
    }


def give_back(editor: Editor) -> float:
    """Give the system all idle pages; returns the seconds of that."""
    advise = ctypes.CDLL(None, use_errno=True).madvise
    ranges = list(list_idle(list_mappings(), list_weights(editor)))
    begun = time.perf_counter()
    for start, end in ranges:
        if advise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_PAGEOUT):
            raise OSError(ctypes.get_errno(), "madvise")
    return time.perf_counter() - begun


@torch.no_grad()
def run_stages(folder: str) -> dict[str, Any]:
    """Load, encode a prompt, take a guided step, decode, give back; the memory after each."""
    editor = Editor.from_pretrained(folder, device="cpu", dtype=DTYPE, engine="eager")
    runner, stages = editor.runner, {"load": describe(editor)}
    c = runner.condition("a red house").expand(2, -1, -1)
    stages["text"] = describe(editor)
    x = torch.randn(2, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(c)
    out = runner.engine.denoise(x, torch.tensor(500), c)
    stages["step"] = describe(editor)
    runner.decode(out[:1].double())
    stages["decode"] = describe(editor)
    seconds = give_back(editor)
    stages["given back"] = describe(editor)
    same = torch.equal(out, runner.engine.denoise(x, torch.tensor(500), c))
    return {"stages": stages, "seconds_of_giving_back": seconds, "same_bits": same}


def align(source: Path, target: Path) -> None:
    """Copy a model; in its files weights lie at multiples of ALIGNMENT bytes, as far as can be."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    for path in source.rglob("*.safetensors"):
        tensors = read_tensors(path)
        names = sorted(tensors, key=lambda name: tensors[name].nbytes % ALIGNMENT > 0)
        header, at = dict[str, Any](), 0
        for name in names:
            one, start = tensors[name], at
            at += one.nbytes
            shape, offsets = list(one.shape), [start, at]
            header[name] = {"dtype": NAMES[one.dtype], "shape": shape, "data_offsets": offsets}
        text = json.dumps(header).encode()
        text += b" " * (-(8 + len(text)) % ALIGNMENT)
        with open(target / path.relative_to(source), "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                file.write(tensors[name].flatten().view(torch.uint8).numpy().tobytes())


def measure(where: Path, kind: str) -> dict[str, Any]:
    """The stages of a model of a kind, which is written if it is not there."""
    folder = plain = model(where, KINDS[kind])
    if kind == "aligned" and not (folder := where / f"{plain.name}-aligned").exists():
        align(plain, folder)
    warm(folder)
    printed = run_python("-m", "benchmarks.resident", "--one", str(folder))
    return {"dtype": DTYPE, "cells": SIDE, **json.loads(printed.splitlines()[-1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", metavar="FOLDER", help="this process, a model's folder")
    parser.add_argument("--models", type=Path, help="where the models are, or are to be written")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--out", type=Path, default=RESULTS / "resident.json")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_stages(args.one)))
        return
    if args.models is None:
        parser.error("--models is missing")
    command = format_command("resident", sys.argv[1:])
    recorder = Recorder(args.out, command, None, torch.device("cpu"))
    for kind in args.kinds:
        recorder.store(kind, measure(args.models, kind))


if __name__ == "__main__":
    main()
