"""The process of one stage: python -m benchmarks.gpu_first.stage NAME --findings FILE."""

import argparse
import faulthandler
from pathlib import Path

import torch

from benchmarks.gpu_first.findings import Findings, Setting
from benchmarks.gpu_first.stages import NAMES, find_stage

HUNG = 0.9  # of the limit, after which the log gets the stacks of all threads


def main() -> int:
    """Run the stage; 1 if a check of it failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--limit", type=float, required=True)
    parser.add_argument("--small", action="store_true", help="on a CPU, with the bundled model")
    options = parser.parse_args()
    faulthandler.dump_traceback_later(HUNG * options.limit)
    findings = Findings(options.findings)
    setting = Setting(torch.device("cpu" if options.small else "cuda"), options.small)
    find_stage(options.name).work(setting, findings)
    faulthandler.cancel_dump_traceback_later()
    return int(not all(one["ok"] for one in findings.checks))


if __name__ == "__main__":
    raise SystemExit(main())
