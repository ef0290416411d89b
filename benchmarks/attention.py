"""The native CPU attention against torch's: `python -m benchmarks.attention [--json FILE]`.

The shapes are those of Stable Diffusion 1.5's UNet at batch 2 and one of Stable Diffusion 2. The
two are run in turns, the order flipped each time; a ratio is one of medians."""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from mdp_lite_kernels.attention import attention, best_path, native_attention

SHAPES = [  # batch, heads, queries, keys, d
    (2, 8, 4096, 4096, 40),
    (2, 8, 1024, 1024, 80),
    (2, 8, 256, 256, 160),
    (2, 8, 64, 64, 160),
    (2, 8, 4096, 77, 40),
    (2, 8, 1024, 77, 80),
    (2, 8, 256, 77, 160),
    (2, 8, 64, 77, 160),
    (2, 5, 4096, 4096, 64),
]
Shape = tuple[int, int, int, int, int]


def time_call(run: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(shape: Shape, dtype: torch.dtype) -> dict[str, object]:
    """Medians of both, their ratio, GFLOP/s of the native one, errors against float64."""
    b, h, n, m, d = shape
    q, k, v = (torch.randn(b, x, h, d).to(dtype).transpose(1, 2) for x in (n, m, m))
    runs = {"torch": lambda: attention(q, k, v), "native": lambda: native_attention(q, k, v)}
    work = 4 * b * h * n * m * d
    times: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(9 if work > 1e9 else 51):
        for name in list(runs)[:: 1 if i % 2 else -1]:
            times[name].append(time_call(runs[name]))
    row = {name: 1e3 * statistics.median(x[1:]) for name, x in times.items()}  # the first warms up
    few = [x[:1, :1].double() for x in (q, k, v)]
    want = attention(*few)
    return {
        "shape": shape,
        "dtype": str(dtype).removeprefix("torch."),
        "torch_ms": row["torch"],
        "native_ms": row["native"],
        "ratio": row["torch"] / row["native"],
        "gflops": work / row["native"] / 1e6,
        "errors": [float((f()[:1, :1] - want).norm() / want.norm()) for f in runs.values()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="write the rows to this file")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    options = parser.parse_args()
    if not best_path():
        raise SystemExit("there is no native attention on this machine")
    print(f"path {best_path()}, {torch.get_num_threads()} threads, {options.dtype}")
    print("(b, h, n, m, d)           torch ms native ms  ratio  GFLOP/s  errors torch, native")
    rows = []
    for shape in SHAPES:
        row = compare(shape, getattr(torch, options.dtype))
        print(
            "{!s:24} {torch_ms:9.3f} {native_ms:9.3f} {ratio:6.2f} {gflops:8.0f}  "
            "{errors[0]:.2e} {errors[1]:.2e}".format(row["shape"], **row)
        )
        rows.append(row)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
