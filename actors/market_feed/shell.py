"""The feed as an actor: replays closed bars at a chosen speed, never further ahead than its machine allows."""

import asyncio
import time
from typing import Any

from actors.market_feed.machine import MarketFeedMachine
from actors.market_feed.source import MarketSource, iterate_closes
from actors.messages import Message
from actors.shell import Heard, Shell, ShellSettings
from market.events import BarsClosed


class MarketFeedShell(Shell):
    """One group of instruments.

    `speed` is market seconds per second; 0.0: as fast as the governor keeps up. After a restart it goes on after the
    last close that the governor is known to have confirmed: who heard a close twice drops the repeat.
    """

    machine: MarketFeedMachine

    def __init__(
        self, settings: ShellSettings, source: MarketSource, subscribers: tuple[str, ...], speed: float
    ) -> None:
        self._market = source.load()
        super().__init__(settings, MarketFeedMachine(self._market.interval_ns, subscribers))
        self._speed = speed
        self._task: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._ts_confirmed_ns = 0
        self._is_done = False

    async def run(self) -> None:
        """Begin to publish, in the background."""
        if self._task is None:
            self._task = self._begin(self._publish())

    async def close(self) -> None:
        """Stop publishing, then as every shell."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await super().close()

    async def _publish(self) -> None:
        interval_s = self._market.interval_ns / 1e9
        started_s, count = time.monotonic(), 0
        for closed in iterate_closes(self._market):
            if closed.ts_close_ns <= self._ts_confirmed_ns:
                continue
            while not self.machine.is_open:
                self._room.clear()
                await self._room.wait()
            count += 1
            if self._speed > 0.0:
                await asyncio.sleep(max(0.0, started_s + count * interval_s / self._speed - time.monotonic()))
            async with self._turn:
                self._advance_clock(closed)
                await self._perform_all(self.machine.handle(closed, self.ts_now_ns))
        self._is_done = True

    async def hear(self, heard: Heard) -> None:
        """Take the governor's confirmation, and make room."""
        await super().hear(heard)
        self._ts_confirmed_ns = max(self._ts_confirmed_ns, getattr(heard.message, "ts_close_ns", 0))
        self._room.set()

    def _recall(self, heard: Heard) -> None:
        super()._recall(heard)
        self._ts_confirmed_ns = max(self._ts_confirmed_ns, getattr(heard.message, "ts_close_ns", 0))

    def _advance_clock(self, message: Message) -> None:
        # The feed's own time is that of its bars; a confirmation speaks of the past.
        if isinstance(message, BarsClosed):
            self.ts_now_ns = max(self.ts_now_ns, message.ts_close_ns)

    def get_status(self) -> dict[str, Any]:
        """Add how far it is."""
        status = super().get_status()
        return status | {
            "is_open": status["is_open"] and self._task is not None,
            "ts_first_ns": int(self._market.bars["ts_open_ns"][0, 0]),
            "ts_published_ns": self.machine.ts_published_ns,
            "ts_confirmed_ns": self._ts_confirmed_ns,
            "ts_last_ns": int(self._market.bars["ts_open_ns"][0, -1]) + self._market.interval_ns,
            "is_published": self._is_done,
        }
