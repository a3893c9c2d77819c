"""Directories of finished sweeps, as `trireme sweep` leaves them: made-up numbers in the real files."""

import functools
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.summary import SweepSummary
from sweeps.summary_file import write_summary
from tests.unit.sweeps.sweep_results import make_bare_sweep, make_sweep


@functools.cache
def make_summary() -> SweepSummary:
    """Return the summary of three rounds that found something."""
    with tempfile.TemporaryDirectory() as directory:
        return make_sweep(Path(directory)).summary


@functools.cache
def make_bare_summary() -> SweepSummary:
    """Return the least that a summary can be: one round, no holdout, no statistics, nothing passes."""
    with tempfile.TemporaryDirectory() as directory:
        return make_bare_sweep(Path(directory)).summary


def change_odds(summary: SweepSummary, **changes: Any) -> SweepSummary:
    """Return the summary with other statistics."""
    return replace(summary, overfitting=replace(summary.overfitting, **changes))


def write_sweep(directory: Path, summary: SweepSummary) -> Path:
    """Write what says that a sweep is finished, without the results of its rounds; return the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "sweep.json").write_text(json.dumps({"name": summary.name}))
    write_summary(directory, summary)
    return directory
