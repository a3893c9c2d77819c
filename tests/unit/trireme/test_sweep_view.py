"""A sweep's progress goes to stderr: lines without a terminal, a bar on one."""

import pytest

from sweeps.rounds import Progress
from trireme.sweep_view import make_headline, show_progress


def make_progress(done: int, configs: int, passed: int, seconds: float, before: int = 0) -> Progress:
    return Progress("coarse", 1, 2, done, configs, passed, seconds, done - before)


STEPS = [
    make_progress(0, 100, 0, 0.0),
    make_progress(10, 100, 1, 1.0),
    make_progress(60, 100, 6, 2.0),
    make_progress(100, 100, 8, 4.0),
]


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress() as on_progress:
        for step in STEPS:
            on_progress(step)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "sweep: round 1 of 2 (coarse): starting, 0 of 100",
        "sweep: round 1 of 2 (coarse): 25 configs/s, 8.0 % pass, 0 s left, 100 of 100",
    ]


def test_a_bar_that_fits_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with show_progress() as on_progress:
        for step in STEPS:
            on_progress(step)
    out, err = capsys.readouterr()
    assert out == ""
    assert "100%" in err
    assert "round 1 of 2 (coarse): 25 configs/s, 8.0 % pass, 0 s left" in err


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (make_progress(0, 10, 0, 3.0), "starting"),
        (make_progress(5, 10, 5, 2.0), "2 configs/s, 100.0 % pass, 2 s left"),
        (make_progress(1_000, 100_000, 0, 10.0), "100 configs/s, 0.0 % pass, 16 min left"),
        (make_progress(60, 100, 6, 2.0, before=40), "10 configs/s, 10.0 % pass, 4 s left"),  # resumed
    ],
)
def test_headline(progress: Progress, words: str) -> None:
    assert make_headline(progress) == f"round 1 of 2 (coarse): {words}"
