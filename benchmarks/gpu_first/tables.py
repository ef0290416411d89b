"""Tables of the results in Markdown. Each is empty if its stages have no result yet."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.gpu_first.results import Result

Results = Mapping[str, Result]
DTYPES = ("float16", "float32")
MODES = ("graph", "eager", "compile")
SIZE = "SD 1.5's size, 512x512, two rows, random weights"


def find(results: Results, stage: str, name: str) -> Any:
    """A figure of a stage, or None if there is none."""
    return results[stage].figures.get(name) if stage in results else None


def format_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, or nothing without rows."""
    lines = [
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows
    ]
    if not lines:
        return ""
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *lines])


def format_times(times: Mapping[str, Any]) -> str:
    """A median and its interval, in milliseconds."""
    return f"{times['median']:.2f} ms [{times['low']:.2f}, {times['high']:.2f}]"


def make_stages(results: Results) -> str:
    """What became of every stage."""
    rows = [
        (one.stage, one.status, f"{one.seconds:.0f} s", one.origin.commit, one.date, one.reason)
        for one in results.values()
    ]
    return format_table(("stage", "outcome", "took", "commit", "date (UTC)", "why"), rows)


def make_checks(results: Results) -> str:
    """Every check and what was seen."""
    rows = [
        (one.stage, check["what"], "yes" if check["ok"] else "**no**", f"{check['seen']}"[:120])
        for one in results.values()
        for check in one.checks
    ]
    return format_table(("stage", "must hold", "holds", "seen"), rows)


def list_times(results: Results, what: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The times of a step ("step") or a UNet call, by mode and dtype."""
    places = {(mode, dtype): (f"steps-{dtype}", f"{mode}: ms a {what}")
              for dtype in DTYPES for mode in MODES[:2]}  # fmt: skip
    places["compile", "float16"] = "compiled-step", f"compile: ms a {what}"
    found = {key: find(results, *place) for key, place in places.items()}
    return {key: times for key, times in found.items() if times}


def find_share(results: Results, dtype: str, milliseconds: float) -> float | None:
    """The share of the measured rate of matrix products that a step reaches."""
    model = find(results, f"steps-{dtype}", "model")
    rate = find(results, "limits", f"{dtype} FLOP/s")
    if not model or not rate:
        return None
    return model["FLOPs of a step"] / (milliseconds / 1e3) / rate


def make_steps(results: Results) -> str:
    """A guided step and its UNet call in each mode and dtype, with the share of the limit."""
    rows = []
    calls = list_times(results, "UNet call")
    for (mode, dtype), times in list_times(results, "step").items():
        share = find_share(results, dtype, times["median"])
        call = calls.get((mode, dtype))
        rows.append((
            f"{dtype}, {mode}", format_times(times), format_times(call) if call else "",
            "" if share is None else f"{share:.0%}",
        ))  # fmt: skip
    return format_table((SIZE, "a guided step", "its UNet call", "of the product rate"), rows)


def make_edits(results: Results) -> str:
    """A whole edit and the waits of the host, by dtype and mode."""
    rows = []
    for dtype in DTYPES:
        for mode in MODES[:2]:
            times = find(results, f"steps-{dtype}", f"{mode}: ms an edit")
            waits = find(results, f"steps-{dtype}", f"{mode}: host waits")
            if times and waits:
                cells = (waits["UNet call"], waits["step"], waits["edit"])
                rows.append((f"{dtype}, {mode}", format_times(times), *cells))
    head = ("a default edit of a computed source, 50 steps", "time", "host waits: UNet call",
            "step", "edit")  # fmt: skip
    return format_table(head, rows)


def make_settings(results: Results) -> str:
    """A step with each combination of settings."""
    rows = [
        (dtype, name, format_times(times))
        for dtype in DTYPES
        if (stage := results.get(f"settings-{dtype}"))
        for name, times in stage.figures.items()
        if isinstance(times, dict) and "median" in times
    ]
    return format_table(("dtype", "engine: settings that are on", "a guided step"), rows)


def make_memory(results: Results) -> str:
    """What torch holds after a warm-up, by the order in which graphs are recorded."""
    rows = []
    for dtype in DTYPES:
        stage = results.get(f"steps-{dtype}")
        for name, sizes in stage.figures.items() if stage else ():
            if name.startswith("memory, "):
                held = [f"{sizes[key] / 2**30:.2f} GiB" for key in
                        ("reserved before", "reserved", "peak allocated")]  # fmt: skip
                rows.append((dtype, name.removeprefix("memory, "), *held, sizes["graphs"]))
    head = ("dtype", "recorded", "reserved before", "reserved", "peak allocated", "graphs")
    return format_table(head, rows)


def make_cold_starts(results: Results) -> str:
    """Seconds of processes."""
    stage = results.get("cold-start")
    rows = []
    for name, took in stage.figures.items() if stage else ():
        if name.startswith("seconds: "):
            every = took if isinstance(took, list) else [took]
            rows.append(
                (name.removeprefix("seconds: "), ", ".join(f"{one:.2f} s" for one in every))
            )
    return format_table(("from the start of a process to a picture of 20 steps", "each time"), rows)


def make_limits(results: Results) -> str:
    """The measured rates, and the sheet's."""
    stage = results.get("limits")
    rows: list[tuple[str, str, str]] = []
    for name, rate in stage.figures.items() if stage else ():
        if name == "copy bytes/s":
            rows.append(("copy, read and written", f"{rate / 1e12:.3f} TB/s", ""))
        elif name.endswith(" FLOP/s"):
            dtype = name.removesuffix(" FLOP/s")
            sheet = find(results, "limits", f"{dtype} limit")
            known = sheet and sheet["name"].startswith("data sheet")
            said = f"{sheet['rate'] / 1e12:,.0f} TFLOP/s" if sheet and known else ""
            rows.append((f"product, {dtype}", f"{rate / 1e12:,.2f} TFLOP/s", said))
    return format_table(("rate", "measured", "data sheet"), rows)


def make_profile(results: Results) -> str:
    """Shares of a step's time by kind of operator."""
    shares = find(results, "profile", "shares") or {}
    return format_table(
        ("of an eager step in float16", "share of the device's time"),
        [(kind, f"{share:.1%}") for kind, share in shares.items()],
    )


def make_profile_notes(results: Results) -> str:
    """Launches, bytes and attention, in a sentence each."""
    operators, launches = (
        find(results, "profile", "operators"),
        find(results, "profile", "kernel launches"),
    )
    if not operators or launches is None:
        return ""
    said = [f"{launches} kernels launched, {operators['count']} operators that compute, "
            f"{operators['bytes'] / 1e9:.2f} GB read and written by them."]  # fmt: skip
    rate = find(results, "limits", "copy bytes/s")
    if rate:
        said.append(
            f"At the rate of a copy these bytes take {1e3 * operators['bytes'] / rate:.2f} ms."
        )
    said.append(f"Attention: {', '.join(find(results, 'profile', 'attention') or ['none'])}.")
    return " ".join(said)


def make_kernels(results: Results) -> str:
    """The longest kernels of a step."""
    rows = [(f"`{name}`", count, f"{took:,.0f}") for name, count, took in
            find(results, "profile", "kernels") or ()]  # fmt: skip
    return format_table(("kernel", "launches", "microseconds"), rows)


def make_own_kernels(results: Results) -> str:
    """Our kernels against the other sides; the ratio is how many times as fast ours are."""
    stage = results.get("kernels")
    rows = []
    for name, times in stage.figures.items() if stage else ():
        if isinstance(times, dict) and "kernel" in times:
            other = next(side for side in times if side not in ("kernel", "of a copy"))
            both = f"{times['kernel']:.1f}", f"{times[other]:.1f}"
            ratio = f"{times[other] / times['kernel']:.2f}"
            rows.append((name, *both, ratio, f"{times['of a copy']:.0%}"))
    head = ("case: against", "ours, us", "the other, us", "ratio", "of a copy's rate")
    return format_table(head, rows)


def summarize_own_kernels(results: Results) -> str:
    """The median ratio of each side over all cases."""
    stage = results.get("kernels")
    ratios: dict[str, list[float]] = {}
    for times in stage.figures.values() if stage else ():
        for side in (times if isinstance(times, dict) else {}).keys() & {"eager", "compiled"}:
            ratios.setdefault(side, []).append(times[side] / times["kernel"])
    said = [f"{statistics.median(some):.2f} times as fast as {side} ({len(some)} cases)"
            for side, some in sorted(ratios.items())]  # fmt: skip
    return f"Median over the cases: our kernels are {', '.join(said)}." if said else ""
