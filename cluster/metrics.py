"""Metrics of one process, counted in the process and served to Prometheus by a thread of its own.

Not through Ray: its metrics cost five times as much a count, rebuild a histogram's sum from bucket midpoints (wrong),
and keep dead actors' counters for ever. One registry per process; every actor on the order path counts here.
"""

from collections.abc import Sequence
from threading import Thread
from types import TracebackType
from typing import Self
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

# Bounds are part of a histogram's name: fixed, so that series from all actors and versions add up.
LATENCY_S_BOUNDS = (
    25e-6,
    50e-6,
    100e-6,
    250e-6,
    500e-6,
    1e-3,
    2.5e-3,
    5e-3,
    10e-3,
    25e-3,
    50e-3,
    0.1,
    0.25,
    0.5,
    1.0,
    5.0,
)


class Metrics:
    """The counters of one role, as `<prefix>_<name>{role=...}`. Asking twice for a name gives the same metric."""

    def __init__(self, role: str, prefix: str = "trireme") -> None:
        self.role = role
        self.registry = CollectorRegistry()
        self._prefix = prefix
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        self._server: WSGIServer | None = None
        self._thread: Thread | None = None

    def counter(self, name: str, says: str) -> Counter:
        """A total that only grows; served as `<name>_total`."""
        if name not in self._made:
            self._made[name] = Counter(f"{self._prefix}_{name}", says, ["role"], registry=self.registry)
        metric = self._made[name]
        assert isinstance(metric, Counter)
        return metric.labels(self.role)

    def gauge(self, name: str, says: str) -> Gauge:
        if name not in self._made:
            self._made[name] = Gauge(f"{self._prefix}_{name}", says, ["role"], registry=self.registry)
        metric = self._made[name]
        assert isinstance(metric, Gauge)
        return metric.labels(self.role)

    def histogram(self, name: str, says: str, bounds: Sequence[float] = LATENCY_S_BOUNDS) -> Histogram:
        """Counts by bucket; `bounds` are the upper ends, ascending."""
        if name not in self._made:
            self._made[name] = Histogram(
                f"{self._prefix}_{name}", says, ["role"], buckets=bounds, registry=self.registry
            )
        metric = self._made[name]
        assert isinstance(metric, Histogram)
        return metric.labels(self.role)

    def serve(self, port: int = 0, host: str = "127.0.0.1") -> str:
        """Serve on `port` (0: a free one) and return the URL. Raises OSError naming the port when it is taken."""
        assert self._server is None
        try:
            self._server, self._thread = start_http_server(port, host, self.registry)
        except OSError as error:
            where = f"metrics of {self.role} cannot listen on {host}:{port}"
            raise OSError(error.errno, f"{where}: {error.strerror}") from None
        return f"http://{host}:{self._server.server_port}/metrics"

    def close(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
