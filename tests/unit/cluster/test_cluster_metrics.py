"""Metrics are served as text; processes are known by pid and start time."""

import os
import subprocess
import sys
import urllib.request

import pytest

from cluster.metrics import Metrics
from cluster.processes import end, is_alive, list_descendants, wait_gone


def test_counts_are_served_per_role() -> None:
    with Metrics("executor", prefix="t") as metrics:
        metrics.counter("orders", "Orders sent").inc(3)
        metrics.counter("orders", "Orders sent").inc()
        metrics.gauge("positions", "Open positions").set(2)
        metrics.histogram("hop_seconds", "Lane hop").observe(3e-4)
        url = metrics.serve()
        text = urllib.request.urlopen(url).read().decode()
        port = int(url.split(":")[2].split("/")[0])
        with (
            Metrics("governor") as other,
            pytest.raises(OSError, match=f"metrics of governor cannot listen on .*:{port}"),
        ):
            other.serve(port)
    assert 't_orders_total{role="executor"} 4.0' in text
    assert 't_positions{role="executor"} 2.0' in text
    assert 't_hop_seconds_bucket{le="0.00025",role="executor"} 0.0' in text
    assert 't_hop_seconds_bucket{le="0.0005",role="executor"} 1.0' in text


def test_descendants_are_found_ended_and_seen_to_be_gone() -> None:
    sleeper = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", sleeper], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    (process,) = [process for process in list_descendants(os.getpid()) if process.pid == child.pid]
    assert is_alive(process)
    assert not is_alive(process._replace(start_ticks=process.start_ticks + 1))
    assert wait_gone([process], 0.01) == [process]
    assert end([process], 0.2) == []
    assert not is_alive(process)
    assert child.wait() == -9
    child.stdout.close()
