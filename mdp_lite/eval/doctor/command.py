"""The command `mdp-lite doctor`: all checks in order, and the report of them."""

import time
from collections.abc import Callable
from functools import partial

from mdp_lite.cli.commands.doctor import DoctorOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.reports import Report
from mdp_lite.eval.doctor.check import Check, collect_warnings, run_check
from mdp_lite.eval.doctor.installed import check_extras, check_versions
from mdp_lite.eval.doctor.model import (
    LoadedModel,
    check_memory,
    check_weights,
    describe_model,
    load_model,
)
from mdp_lite.eval.doctor.numbers import (
    check_capture,
    check_engine,
    check_kernel,
    check_precision,
    check_reconstruction,
)
from mdp_lite.eval.doctor.places import check_disk, check_hub
from mdp_lite.eval.doctor.printed import clean, print_checks
from mdp_lite.eval.doctor.speed import check_speed
from mdp_lite.eval.doctor.system import check_devices, check_environment
from mdp_lite.pipeline import check

MACHINE_CHECKS: dict[str, Callable[[DoctorOptions], Check]] = {
    "environment": check_environment,
    "versions": check_versions,
    "devices": check_devices,
    "extras": check_extras,
    "disk": check_disk,
    "hub": check_hub,
}
# The model comes before the other checks that compute, and its memory before its numbers: what
# they leave behind would count as the model's.
MODEL_CHECKS: dict[str, Callable[[LoadedModel], Check]] = {
    "weights": check_weights,
    "memory": check_memory,
    "engine": check_engine,
    "capture": check_capture,
    "precision": check_precision,
    "reconstruction": check_reconstruction,
    "speed": check_speed,
}


def doctor(args: DoctorOptions, console: Console) -> Report:
    """Run every check; the command fails if one of them does. A dry run computes nothing.

    Raises BadInput for a device that is none; one that is not here is a failed check.
    """
    if args.model.device is not None:
        check.device_name(args.model.device)
    started = time.monotonic()
    with collect_warnings() as warned:
        checks = [_run(name, partial(of, args), console) for name, of in MACHINE_CHECKS.items()]
        checks += check_model(args, console)
        checks.append(_run("kernel", partial(check_kernel, args), console))
    data, lines = print_checks(checks, warned)
    head = {"command": "doctor", "dry_run": args.run.dry_run}
    head |= {"model": clean(args.chosen_model.name), "seconds": time.monotonic() - started}
    return Report({}, head | data, lines, failed=data["counts"]["fail"] > 0)


def check_model(args: DoctorOptions, console: Console) -> list[Check]:
    """The checks of the model, which are skipped if it does not load."""
    loaded: list[LoadedModel] = []

    def load() -> Check:
        loaded.append(load_model(args))
        return describe_model(loaded[0])

    first = _run("model", load, console)
    reason = "the model did not load" if not loaded else "left out in a dry run"
    if not loaded or args.run.dry_run:
        return [first, *(Check(name, "skipped", reason) for name in MODEL_CHECKS)]
    return [
        first,
        *(_run(name, partial(of, loaded[0]), console) for name, of in MODEL_CHECKS.items()),
    ]


def _run(name: str, examine: Callable[[], Check], console: Console) -> Check:
    console.wait(f"checking {name}")
    return run_check(name, examine)
