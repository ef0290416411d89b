"""What is ours of the service on Ray, without Ray: sizes, what is refused, load, health."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mdp_lite.__main__ import main
from mdp_lite.batcher.batcher import Stopped
from mdp_lite.cli.arguments import build_parser
from mdp_lite.editor import Editor
from mdp_lite.serve.cluster import Load, application, sized
from support.serving import served, until


def seen(rows: dict[str, float], requests: dict[str, float], outside: float = 0) -> Any:
    told = {"rows": rows, "requests": requests}
    return SimpleNamespace(aggregated_metrics=told, total_queued_requests=outside)


@pytest.mark.parametrize(
    ("at", "wanted"),
    [
        (SimpleNamespace(aggregated_metrics=None, total_queued_requests=3.0), 0),
        (seen({}, {}), 0),
        (seen({"a": 0}, {"a": 0}, outside=5), 0),
        (seen({"a": 100}, {"a": 2}), 1),
        (seen({"a": 100, "b": 50}, {"a": 2, "b": 1}), 1.5),
        (seen({"a": 100}, {"a": 2}, outside=4), 3),  # taken to cost 50 each
    ],
)
def test_replicas_by_the_rows_that_wait(at: Any, wanted: float) -> None:
    assert Load(100)(at) == (wanted, {})


def sizes(*words: str) -> tuple[Any, ...]:
    args = sized(build_parser().parse_args(["serve", *words]))
    return args.replicas, args.max_replicas, args.replica_cpus, args.replica_rows, args.engine


def test_sizes() -> None:
    assert sizes("--engine", "ray") == (1, 1, 1, 2000, "auto")
    assert sizes("--engine", "compile", "--replicas", "3") == (3, 3, 1, 2000, "compile")
    assert sizes("--max-replicas=4", "--replica-cpus=2", "--replica-rows=5") == (1, 4, 2, 5, "auto")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replicas", "2"], "replicas is for --engine ray, got 2 without it"),
        (["--replica-rows", "0"], "replica-rows is for --engine ray"),
        (["--engine", "ray", "--replicas", "0"], "replicas must be 1 or more, got 0"),
        (["--engine", "ray", "--replica-gpus", "-1"], "replica-gpus must be 0 or more, got -1"),
        (["--engine", "ray", "--replicas", "3", "--max-replicas", "2"], "max-replicas must be 3"),
        (["--engine", "ray", "--replicaz", "2"], "unrecognized arguments: --replicaz"),
        (["--engine", "rays"], "invalid choice: 'rays'"),
    ],
)
def test_wrong_sizes_are_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdp_lite.serve.cluster.check_ray", lambda: None)
    assert main(["serve", *words, "--dry-run"]) == 2
    assert said in capsys.readouterr().err


def test_without_ray_it_is_said_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ray", "ray.serve"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["serve", "--engine", "ray", "--dry-run"]) == 2
    assert "pip install 'mdp-lite[serve,ray]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"replicaz": "2"}, "unrecognized arguments: --replicaz=2"),
        ({"replicas": "two"}, "replicas"),
        ({"replicas": 0}, "replicas must be 1 or more, got 0"),
        ({"limit": ["steps=9", "stepz=9"]}, "limit must be one of"),
        ({"open": "yes"}, "ignored explicit argument 'yes'"),
        ({"alias": "true"}, "expected one argument"),
        ({"host": "0.0.0.0"}, "needs an API key"),
    ],
)
def test_serve_run_refuses_what_it_does_not_know(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        application(said)


def test_the_pulse_is_that_of_the_models_thread(editor: Editor) -> None:
    with served(editor) as at:
        at.service.pulse()
        assert at.service.desk.members == 0
        at.service.desk.close()
        with pytest.raises(Stopped):
            at.service.pulse()
        until(lambda: not at.service.live)
