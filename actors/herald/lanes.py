"""The herald as the actors reach it: alerts come in over conflated lanes, so that nobody ever waits for it."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from actors.herald.channels import Channel
from actors.herald.machine import RANKS, HeraldPolicy
from actors.herald.shell import HeraldShell
from actors.messages import Alert, Severity, decode
from cluster.lanes import LaneReceiver

NAME = "herald"
SHOWN_MAX = 5  # matters in the status
MATTERS_MAX = 1000


class HeraldLaneShell(HeraldShell):
    """A herald with one lane from each actor that may alert.

    Lanes keep, of what it has not taken, the newest alert of each matter; the ledger has every one. A restarted actor
    repeats the last alert of its earlier life: told once all the same.
    """

    def __init__(self, senders: tuple[str, ...], policy: HeraldPolicy, channels: Mapping[str, Channel]) -> None:
        super().__init__(policy, channels)
        self._senders = senders
        self._endpoints: dict[str, str] = {}
        self._inlets: dict[str, LaneReceiver] = {}
        self._newest: dict[str, tuple[Alert, Severity, int]] = {}  # key -> alert, worst severity, count; newest last
        self._opening = asyncio.Lock()
        self._is_connected = False

    async def open(self) -> dict[str, str]:
        """Check the channels and begin; it has no lanes of its own. Safe to repeat. Raises ValueError as `start`."""
        async with self._opening:
            if self._task is None:
                await self.start()
        return {}

    async def connect(self, endpoints: dict[str, str]) -> None:
        """Listen to the senders that are known by now. Called again when an endpoint has moved."""
        async with self._opening:
            self._endpoints.update(endpoints)
            for sender in self._senders:
                lane = f"{sender}>{NAME}"
                if lane in self._endpoints and lane not in self._inlets:
                    receiver = LaneReceiver(self._make_finder(lane), self._take, lane=lane, name=NAME)
                    self._inlets[lane] = await receiver.start()
            self._is_connected = True

    async def close(self) -> None:
        """Take the lanes down, then send what waits, for a while."""
        await asyncio.gather(*(inlet.close() for inlet in self._inlets.values()))
        self._inlets = {}
        await self.stop()

    def acknowledge(self, key: str, by: str) -> None:
        """Stop repeating a matter ("*": all), and show it no more."""
        super().acknowledge(key, by)
        for known in [known for known in self._newest if key in ("*", known)]:
            del self._newest[known]

    def get_status(self) -> dict[str, Any]:
        """Return how many matters nobody has acknowledged, the newest of them first; notes (INFO) need nobody."""
        open_matters = [matter for matter in self._newest.values() if matter[1] is not Severity.INFO]
        shown = [
            {"severity": severity.value, "key": alert.key, "text": alert.text, "count": count}
            for alert, severity, count in open_matters[: -SHOWN_MAX - 1 : -1]
        ]
        return {
            "name": NAME,
            "failure": None,  # who cannot tell anybody stops nobody
            "is_open": self._is_connected,
            "endpoints": {},
            "alerts": shown,
            "alerts_total": len(open_matters),
        }

    def _make_finder(self, lane: str) -> Callable[[], str]:
        return lambda: self._endpoints[lane]

    def _take(self, payload: bytes) -> None:
        alert = decode(payload)
        assert isinstance(alert, Alert), alert
        before, severity, count = self._newest.pop(alert.key, (None, alert.severity, 0))
        if alert == before:
            self._newest[alert.key] = (alert, severity, count)
            return
        severity = max(severity, alert.severity, key=RANKS.__getitem__)
        self._newest[alert.key] = (alert, severity, count + 1)
        if len(self._newest) > MATTERS_MAX:
            del self._newest[next(iter(self._newest))]
        self.notify(alert)
