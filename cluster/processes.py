"""Processes by pid, from /proc: who descends from whom, is it truly gone. A pid may be reused; the start time tells."""

import contextlib
import os
import signal
import time
from typing import NamedTuple


class ProcessId(NamedTuple):
    """A process, told apart from a later one under the same pid by when it started."""

    pid: int
    start_ticks: int  # since boot; with the pid, unique


def _stat(pid: int) -> tuple[int, int, str] | None:
    """(parent pid, start ticks, state), or None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]), int(fields[19]), fields[0]


def list_descendants(pid: int) -> list[ProcessId]:
    """Return every living process below `pid`, children before grandchildren."""
    children: dict[int, list[ProcessId]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and (stat := _stat(int(entry))) is not None and stat[2] != "Z":
            children.setdefault(stat[0], []).append(ProcessId(int(entry), stat[1]))
    found: list[ProcessId] = []
    queue = [pid]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += [process.pid for process in below]
    return found


def is_alive(process: ProcessId) -> bool:
    """True if that very process still runs; a zombie does not."""
    stat = _stat(process.pid)
    return stat is not None and stat[1] == process.start_ticks and stat[2] != "Z"


def wait_gone(processes: list[ProcessId], timeout_s: float) -> list[ProcessId]:
    """Wait for the processes to end; return those that have not."""
    deadline_s = time.monotonic() + timeout_s
    alive = [process for process in processes if is_alive(process)]
    while alive and time.monotonic() < deadline_s:
        time.sleep(0.02)
        alive = [process for process in alive if is_alive(process)]
    return alive


def end(processes: list[ProcessId], timeout_s: float) -> list[ProcessId]:
    """SIGTERM, wait, SIGKILL, wait; return those that live even so."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if is_alive(process):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
        processes = wait_gone(processes, timeout_s)
    return processes
