"""Our side of the service on Ray, without Ray: sizes, refusals, load, health."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mdp_lite.__main__ import main
from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.commands.serve import ServeOptions
from mdp_lite.editor import Editor
from mdp_lite.names import Stopped
from mdp_lite.serve.cluster import ReplicaPolicy, application, resolve_sizes
from support.serving import run_service, wait_until


def load_of(rows: dict[str, float], requests: dict[str, float], outside: float = 0) -> Any:
    metrics = {"rows": rows, "requests": requests}
    return SimpleNamespace(aggregated_metrics=metrics, total_queued_requests=outside)


@pytest.mark.parametrize(
    ("load", "wanted"),
    [
        (SimpleNamespace(aggregated_metrics=None, total_queued_requests=3.0), 0),
        (load_of({}, {}), 0),
        (load_of({"a": 0}, {"a": 0}, outside=5), 0),
        (load_of({"a": 100}, {"a": 2}), 1),
        (load_of({"a": 100, "b": 50}, {"a": 2, "b": 1}), 1.5),
        (load_of({"a": 100}, {"a": 2}, outside=4), 3),  # taken to cost 50 each
    ],
)
def test_replicas_by_the_rows_that_wait(load: Any, wanted: float) -> None:
    assert ReplicaPolicy(100)(load) == (wanted, {})


def sizes_of(*words: str) -> tuple[Any, ...]:
    options = read_command_line(["serve", *words])
    assert isinstance(options, ServeOptions)
    args = resolve_sizes(options)
    sizes = args.replica
    return (
        sizes.replicas, sizes.max_replicas, sizes.replica_cpus, sizes.replica_rows,
        args.engine.mode,
    )  # fmt: skip


def test_sizes() -> None:
    assert sizes_of("--engine", "ray") == (1, 1, 1, 2000, "auto")
    assert sizes_of("--engine", "compile", "--replicas", "3") == (3, 3, 1, 2000, "compile")
    assert sizes_of("--max-replicas=4", "--replica-cpus=2", "--replica-rows=5") == (
        1,
        4,
        2,
        5,
        "auto",
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--replicas", "2"], "--replicas is for --engine ray, got 2 without it"),
        (["--replica-rows", "9"], "--replica-rows is for --engine ray, got 9 without it"),
        (["--engine", "ray", "--replicas", "0"], "replicas must be 1 or more, got 0"),
        (["--engine", "ray", "--replica-gpus", "-1"], "replica-gpus must be 0 or more, got -1"),
        (["--engine", "ray", "--replicas", "3", "--max-replicas", "2"], "--max-replicas must be 3"),
        (["--engine", "ray", "--replicaz", "2"], "--replicaz"),
        (["--engine", "rays"], "--engine"),
    ],
)
def test_wrong_sizes_are_refused(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdp_lite.serve.cluster.check_ray", lambda: None)
    assert main(["serve", *words, "--dry-run"]) == 2
    assert text in capsys.readouterr().err


def test_without_ray_the_error_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ray", "ray.serve"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["serve", "--engine", "ray", "--dry-run"]) == 2
    assert "pip install 'mdp-lite[serve,ray]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"replicaz": "2"}, "--replicaz"),
        ({"replicas": "two"}, "replicas"),
        ({"replicas": 0}, "replicas must be 1 or more, got 0"),
        ({"limit": ["steps=9", "stepz=9"]}, "limit must be one of"),
        ({"open": "yes"}, "--open"),
        ({"alias": "true"}, "--alias"),
        ({"host": "0.0.0.0"}, "needs an API key"),
    ],
)
def test_serve_run_refuses_unknown_options(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        application(options)


def test_the_pulse_comes_from_the_models_thread(editor: Editor) -> None:
    with run_service(editor) as at:
        at.service.pulse()
        assert at.service.batcher.clients == 0
        at.service.batcher.close()
        with pytest.raises(Stopped):
            at.service.pulse()
        wait_until(lambda: not at.service.live)
