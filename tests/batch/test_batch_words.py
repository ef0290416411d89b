"""The progress of a batch in lines for people."""

import pytest

from mdp_lite.batch.run import format_duration, log_progress


def test_progress_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lines = [0.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    on_step = log_progress(lines.append)
    for done, now[0] in ((0, 10.0), (1, 30.0), (20, 100.0), (21, 110.0), (60, 170.0)):
        on_step(done, 1000)
    assert lines == [
        "20 of 1,000 edits, 0.2 a second, 82 min left",
        "60 of 1,000 edits, 0.353 a second, 44 min left",
    ]


def test_durations_for_people() -> None:
    texts = [format_duration(seconds) for seconds in (8, 119, 121, 7199, 7201, 200_000)]
    assert texts == ["8 s", "119 s", "2 min", "120 min", "2.0 h", "2.3 days"]
