"""The arithmetic of the table: medians, ratios to the anchor with intervals, the limit's share."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.measure import Measured
from benchmarks.peers.peers import Peer
from mdp_lite.eval.rounds import percentiles, ratio

CORES = {  # AuthenticAMD by family and first model: what the name does not say
    (25, 0x00): "Zen 3", (25, 0x10): "Zen 4", (25, 0x20): "Zen 3", (25, 0x60): "Zen 4",
    (25, 0xA0): "Zen 4", (26, 0x00): "Zen 5", (26, 0xFF): "Zen 5",
}  # fmt: skip


def describe_processor(text: str | None = None) -> str:
    """The processor by /proc/cpuinfo: "AMD EPYC, family 26 model 2 (Zen 5)"."""
    info = Path("/proc/cpuinfo")
    text = (info.read_text() if info.exists() else "") if text is None else text
    found = {key: re.search(rf"^{key}\s*: (.*)$", text, re.MULTILINE)
             for key in ("vendor_id", "model name", "cpu family", "model")}  # fmt: skip
    vendor, name, family, model = (one[1].strip() if one else "" for one in found.values())
    if not family.isdigit() or not model.isdigit():
        return name or "unknown"
    firsts = [first for kind, first in CORES if kind == int(family) and first <= int(model)]
    core = CORES[int(family), max(firsts)] if vendor == "AuthenticAMD" and firsts else None
    return f"{name}, family {family} model {model}" + (f" ({core})" if core else "")


def summarize(
    measured: Measured,
    peers: Sequence[Peer],
    anchor: str,
    flops: float | None = None,
    rates: Mapping[str, float] = {},  # noqa: B006
) -> dict[str, Any]:
    """The figures of one piece of work, for the JSON file.

    Ratios are to the anchor in the peer's own group. rates: FLOP/s of the limit by dtype; what has
    no limit of its own in it is compared with bfloat16's.
    """
    dtypes = {peer.name: peer.dtype for peer in peers}
    sides: dict[str, Any] = {}
    for group in measured.seconds:
        for name, seconds in group.items():
            if name in sides or not seconds:  # the anchor of a later group is under "anchors"
                continue
            one = percentiles(seconds)._asdict() | {"seconds": seconds} | measured.facts[name]
            if group.get(anchor) and name != anchor:
                one["ratio"] = ratio(seconds, group[anchor])._asdict()
            if flops and rates:
                limit = rates.get(dtypes[name], rates["bfloat16"])
                one["fraction_of_limit"] = flops / one["p50"] / limit
            sides[name] = one
    groups = [list(group) for group in measured.seconds]
    anchors = [group.get(anchor, []) for group in measured.seconds]
    return {"sides": sides, "missing": measured.missing, "groups": groups, "anchors": anchors}


def merge(old: Mapping[str, Any], new: Mapping[str, Any], anchor: str) -> dict[str, Any]:
    """A section with the peers that a new run measured, and of an old one those that it did not.

    Each ratio is to the anchor of its own group, so that groups may be of different runs. The
    anchor's own figure is the newest.
    """
    again = {*new["sides"], *new["missing"]} - {anchor}
    sides = {name: side for name, side in old["sides"].items() if name not in again}
    missing = {name: why for name, why in old["missing"].items() if name not in again}
    kept = [
        ([name for name in group if name not in again], seconds)
        for group, seconds in zip(old["groups"], old["anchors"], strict=True)
    ]
    kept = [(group, seconds) for group, seconds in kept if set(group) - {anchor}]
    return dict(new) | {
        "sides": sides | new["sides"],
        "missing": new["missing"] | missing,
        "groups": [group for group, _ in kept] + new["groups"],
        "anchors": [seconds for _, seconds in kept] + new["anchors"],
    }


def verdict(figures: Mapping[str, Any], peers: Sequence[Peer]) -> dict[str, Any] | None:
    """The fastest peer against the fastest of ours: names, and how many times; not those in 8 bits.

    A peer whose output is beyond the bound counts: it would be no merit to leave it out.
    Measured in one group they have an interval; else the quotient of their ratios to the anchor.
    """
    sides = figures["sides"]
    ours = [peer.name for peer in peers if peer.ours and peer.name in sides]
    theirs = [p.name for p in peers if not p.ours and not p.lossy and p.name in sides]
    if not ours or not theirs:
        return None
    scale = lambda name: sides[name].get("ratio", {}).get("value", 1.0)  # noqa: E731
    best, peer = min(ours, key=scale), min(theirs, key=scale)
    found = {"ours": best, "peer": peer, "times": scale(peer) / scale(best)}
    anchor = figures["groups"][0][0]  # its own seconds may be of a later run than the peer's
    if best == anchor and "ratio" in sides[peer]:
        one = sides[peer]["ratio"]
        return found | {"times": one["value"], "low": one["low"], "high": one["high"]}
    if any(best in group and peer in group for group in figures["groups"]):
        one = ratio(sides[peer]["seconds"], sides[best]["seconds"])
        found |= {"times": one.value, "low": one.low, "high": one.high}
    return found
