"""Numbers for people: 12.3 MB, 4.56 TFLOP, 1 row, 2 rows."""

SIZES = ("B", "kB", "MB", "GB", "TB")
FLOPS = ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP")


def format_count(count: float, units: tuple[str, ...]) -> str:
    """Three digits: 1719000000 in SIZES -> 1.72 GB."""
    for unit in units[:-1]:
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {units[-1]}"


def pluralize(count: int, word: str) -> str:
    """1, "row" -> 1 row; 1200, "row" -> 1,200 rows."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")
