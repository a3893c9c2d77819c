"""The progress of a sweep on stderr: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from sweeps.rounds import Progress

LINE_EVERY_S = 5.0
BAR_WIDTH = 12  # so that the words fit beside it on 80 columns

OnProgress = Callable[[Progress], None]


@contextmanager
def show_progress() -> Iterator[OnProgress]:
    """Give what `sweeps.tune.run_rounds` calls with its progress."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines().update
        return
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=BAR_WIDTH),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("compiling kernels", total=None)
        yield lambda progress: bar.update(
            task, completed=progress.configs_done, total=progress.configs, description=make_headline(progress)
        )


class _Lines:
    # Without a terminal: a line every few seconds, and the last one.

    def __init__(self) -> None:
        self._shown_s = float("-inf")

    def update(self, progress: Progress) -> None:
        if time.monotonic() - self._shown_s >= LINE_EVERY_S or progress.configs_done == progress.configs:
            self._shown_s = time.monotonic()
            line = f"sweep: {make_headline(progress)}, {progress.configs_done:,} of {progress.configs:,}"
            print(line, file=sys.stderr, flush=True)


def make_headline(progress: Progress) -> str:
    """Return round, rate, pass rate so far and time left in a few words.

    >>> make_headline(Progress("coarse", 1, 3, 500, 2000, 25, 10.0, 500))
    'round 1 of 3 (coarse): 50 configs/s, 5.0 % pass, 30 s left'
    >>> make_headline(Progress("coarse", 1, 3, 0, 2000, 0, 0.0, 0))
    'round 1 of 3 (coarse): starting'
    """
    where = f"round {progress.round_number} of {progress.rounds} ({progress.round_name})"
    if not progress.configs_fresh:
        return f"{where}: starting"
    rate = progress.configs_per_s
    left_s = (progress.configs - progress.configs_done) / rate if rate else 0.0
    left = f"{left_s:.0f} s" if left_s < 120.0 else f"{left_s / 60.0:.0f} min"
    passed_frac = progress.passed / progress.configs_done
    return f"{where}: {rate:,.0f} configs/s, {100.0 * passed_frac:.1f} % pass, {left} left"
