"""A sweep's progress goes to stderr: lines without a terminal, a bar on one."""

import pytest

from sweeps.tune import Progress
from trireme.sweep_view import make_headline, show_progress

STEPS = [Progress(0, 100, 0, 0.0), Progress(10, 100, 1, 1.0), Progress(60, 100, 6, 2.0), Progress(100, 100, 8, 4.0)]


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(100) as on_progress:
        for step in STEPS:
            on_progress(step)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "sweep: 0 of 100, starting workers",
        "sweep: 100 of 100, 25 configurations/s, 8.0 % pass so far, 0 s left",
    ]


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with show_progress(100) as on_progress:
        for step in STEPS:
            on_progress(step)
    out, err = capsys.readouterr()
    assert out == ""
    assert "100%" in err
    assert "25 configurations/s, 8.0 % pass so far" in err


@pytest.mark.parametrize(
    ("progress", "headline"),
    [
        (Progress(0, 10, 0, 3.0), "starting workers"),
        (Progress(5, 10, 5, 2.0), "2 configurations/s, 100.0 % pass so far, 2 s left"),
        (Progress(1_000, 100_000, 0, 10.0), "100 configurations/s, 0.0 % pass so far, 16 min left"),
    ],
)
def test_headline(progress: Progress, headline: str) -> None:
    assert make_headline(progress) == headline
