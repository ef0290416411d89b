"""The table in Markdown: seconds, ratios to mdp_lite with intervals, distances, and reasons."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.figures import verdict
from benchmarks.peers.peers import Peer

WORKS = {
    "step 1": "step, 1 row", "step 2": "step, 2 rows", "step 4": "step, 4 rows",
    "encode": "VAE encode", "decode": "VAE decode", "edit": "whole edit",
    "editor": "edit by Editor", "start": "cold start",
}  # fmt: skip
STEADY = 1.25  # the most that the anchor's slowest round may take of its fastest
APART = "Not the same work (8 bits, or an output beyond its bound):"
Sections = Mapping[str, Mapping[str, Any]]


def format_seconds(side: Mapping[str, Any] | None) -> str:
    """Seconds, and their ratio to the anchor's with its interval."""
    if side is None:
        return "-"
    seconds = f"{side['p50']:.2f}" if side["p50"] < 100 else f"{side['p50']:.0f}"
    one = side.get("ratio")
    return (
        f"{seconds} ({one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}])" if one else seconds
    )


def sections_of(data: Sections, size: str) -> dict[str, Mapping[str, Any]]:
    """The sections of one size of model, by the work."""
    found = {work: data.get(f"{work} {size}") for work in WORKS}
    return {work: one for work, one in found.items() if one}


def is_same_work(peer: Peer, sections: Sections) -> bool:
    """Whether a peer is exact by intent and every output of it was within the bound."""
    sides = [one["sides"].get(peer.name, {}) for one in sections.values()]
    return not peer.lossy and all(side.get("within", True) for side in sides)


def make_row(peer: Peer, sections: Sections) -> list[str]:
    """A peer's cells: name, dtype, its figures, peak memory in GB, distance to float32, notes."""
    sides = {work: one["sides"].get(peer.name) for work, one in sections.items()}
    peaks = [side["peak"] for side in sides.values() if side and "peak" in side]
    step = sides.get("step 2")
    far = f"{step['error']:.1e} ({step['dB']:.1f} dB)" if step else "-"
    peak = f"{max(peaks) / 1e9:.1f}" if peaks else "-"
    return [peer.name, peer.dtype, *map(format_seconds, sides.values()), peak, far, peer.note]


def list_missing(peers: Sequence[Peer], sections: Sections) -> list[str]:
    """Why a peer has no figure, each reason once."""
    lines = []
    for peer in peers:
        reasons: dict[str, list[str]] = {}
        for work, one in sections.items():
            if peer.name in one["missing"]:
                reasons.setdefault(one["missing"][peer.name], []).append(WORKS[work])
        lines += [f"- {peer.name} ({', '.join(works)}): {why}" for why, works in reasons.items()]
    return lines


def list_verdicts(peers: Sequence[Peer], sections: Sections) -> list[str]:
    """For each piece of work, whether the fastest of ours is ahead of the best exact peer."""
    lines = []
    for work, one in sections.items():
        found = verdict(one, peers)
        if found:
            noisy = " (not quiet)" if found["peer"] in find_disturbed(one) else ""
            ends = f" [{found['low']:.2f}, {found['high']:.2f}]" if "low" in found else ""
            times = found["times"]
            how = "ahead of" if times >= 1 else "behind"
            size = times if times >= 1 else 1 / times
            ends = (
                ends
                if times >= 1
                else ends and f" [{1 / found['high']:.2f}, {1 / found['low']:.2f}]"
            )
            lines.append(
                f"- {WORKS[work]}: {found['ours']} is {size:.2f} times{ends} {how} "
                f"{found['peer']}{noisy}"
            )
    return lines


def find_disturbed(one: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Peers whose group was not quiet, with the fastest and the slowest round of its anchor."""
    found: dict[str, tuple[float, float]] = {}
    for group, seconds in zip(one["groups"], one["anchors"], strict=True):
        if seconds and max(seconds) > STEADY * min(seconds):
            found |= dict.fromkeys(group[1:], (min(seconds), max(seconds)))
    return found


def list_disturbed(sections: Sections) -> list[str]:
    """What is to be measured again: who ran in a group that was not quiet."""
    return [
        f"- {WORKS[work]}, {name}: the first of its group took {ends[0]:.2f} to {ends[1]:.2f} s"
        for work, one in sections.items()
        for name, ends in find_disturbed(one).items()
    ]


def to_markdown(data: Sections, size: str, peers: Sequence[Peer], settings: str) -> str:
    """The whole page."""
    sections = sections_of(data, size)
    present = [p for p in peers if any(p.name in one["sides"] for one in sections.values())]
    heads = ["", "dtype", *(f"{WORKS[work]} (s)" for work in sections), "peak (GB)",
             "distance to float32", ""]  # fmt: skip
    lines = [settings, "", _line(heads), _line(["---"] * len(heads))]
    same = [peer for peer in present if is_same_work(peer, sections)]
    lines += [_line(make_row(peer, sections)) for peer in same]
    apart = [_line(make_row(peer, sections)) for peer in present if peer not in same]
    if apart:
        lines += ["", APART, "", _line(heads), _line(["---"] * len(heads)), *apart]
    lines += ["", *list_verdicts(peers, sections)]
    if noisy := list_disturbed(sections):
        lines += ["", "Not quiet, to be measured again:", "", *noisy]
    if reasons := list_missing(peers, sections):
        lines += ["", "Without a figure:", "", *reasons]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
