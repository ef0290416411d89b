"""The doctor on the disk: free space, the folder of sources, and the hub's cache."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from mdp_lite.checkpoint.load import read_setup
from mdp_lite.cli.commands.doctor import DoctorOptions
from mdp_lite.cli.units import SIZES, format_count, pluralize
from mdp_lite.eval.doctor.check import Check, judge
from mdp_lite.files import atomic, probe
from mdp_lite.names import MdpError

MIN_FREE = 10**9  # bytes that pictures, sources and a compiled package need, roughly
MODELS = "models--*"  # folders of the hub's cache


def check_disk(args: DoctorOptions) -> Check:
    """The working folder and that for temporary files have room; --cache can be written too."""
    folders = {"working folder": Path(), "temporary files": Path(tempfile.gettempdir())}
    if args.model.cache is not None:
        folders["cache of sources"] = Path(args.model.cache)
    found = {name: look_at_folder(folder) for name, folder in folders.items()}
    full = [name for name, one in found.items() if one["free_bytes"] < MIN_FREE]
    closed = [name for name in ("temporary files", "cache of sources") if name in found
              and found[name]["problem"]]  # fmt: skip
    text = "; ".join(describe_folder(name, one) for name, one in found.items())
    text += "" if args.model.cache is not None else "; no cache of sources (--cache)"
    want = f"free {format_count(MIN_FREE, SIZES)} for: {', '.join(full)}" if full else ""
    write = f"give a folder that can be written for: {', '.join(closed)}" if closed else ""
    advice = "; ".join(one for one in (want, write) if one)
    return judge("disk", not (full or closed), text, advice, {"folders": found})


def check_hub(args: DoctorOptions) -> Check:
    """The hub's cache, whether it can be written, and how the hub is asked; it is not asked now."""
    setup = read_setup()
    found = look_at_folder(setup.cache)
    count = len(list(setup.cache.glob(MODELS))) if setup.cache.is_dir() else 0
    offline = setup.offline or args.model.checkpoint.offline
    figures = {**found, "models": count, "offline": offline, "has_token": setup.has_token}
    text = f"{describe_folder('cache', found)}, {pluralize(count, 'model')}; "
    text += "offline" if offline else f"online, {setup.endpoint} (not asked)"
    text += f"; {'a' if setup.has_token else 'no'} token"
    works = offline or not (found["problem"] or found["free_bytes"] < MIN_FREE)
    advice = "set HF_HOME to a folder with room that can be written, or HF_HUB_OFFLINE=1"
    return judge("hub", works, text, advice, figures)


def look_at_folder(folder: Path) -> dict[str, Any]:
    """A folder: its path, the free bytes of its disk, and why it can't be written, or None.

    It need not exist yet. Nothing is left in it.
    """
    whole = folder.absolute()
    try:
        near = probe.check_folder("the folder", whole)
        problem = _find_problem(whole)
    except MdpError as error:
        near, problem = _find_parent(whole), str(error)
    return {
        "folder": str(whole), "free_bytes": shutil.disk_usage(near).free, "problem": problem
    }  # fmt: skip


def _find_problem(folder: Path) -> str | None:
    try:
        atomic.check(folder / "doctor")
    except OSError as error:
        return error.strerror or str(error)
    return None


def _find_parent(folder: Path) -> Path:
    """The nearest folder above that the system shows."""
    for one in folder.parents:
        try:
            if one.is_dir():
                return one
        except OSError:  # no permission for a folder above it
            continue
    return Path(folder.anchor)


def describe_folder(name: str, one: dict[str, Any]) -> str:
    """A folder in words."""
    problem = f", not writable: {one['problem']}" if one["problem"] else ""
    return f"{name} {one['folder']}, {format_count(one['free_bytes'], SIZES)} free{problem}"
