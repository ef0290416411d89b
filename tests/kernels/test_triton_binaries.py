"""The Triton kernels as machine code for five kinds of GPU, none of which need be here."""

import json

import pytest

from mdp_lite_kernels import shapes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shapes.TRITON, reason="Triton is for Linux alone"),
]
MOST_REGISTERS = 65536  # of all threads of a program: what one processor of each of these GPUs has
MOST_SHARED = 48 * 1024  # bytes that every GPU gives without being asked


def test_no_kernel_spills_and_all_fit() -> None:
    """Registers and shared memory are those of the table, where Triton is the table's."""
    from support import triton_binaries as binaries

    missing = [one for one in ("ptxas", "ptxas-blackwell") if not (binaries.TOOLS / one).is_file()]
    if missing:
        pytest.skip(f"this Triton has no {' and no '.join(missing)}")
    table, known = binaries.tabulate(), json.loads(binaries.FILE.read_text("utf-8"))
    for name, row in table["kernels"].items():
        for sm, one in row.items():
            print(f"{name:42} {sm:8} {one}")
            assert one["spilled"] == 0, (name, sm)
            assert one["registers"] * one["warps"] * 32 <= MOST_REGISTERS, (name, sm)
            assert one["shared"] <= MOST_SHARED, (name, sm)
    assert set(table["kernels"]) == set(known["kernels"])
    if table["triton"] == known["triton"]:
        assert table == known, "python -m support.triton_binaries writes the table anew"
