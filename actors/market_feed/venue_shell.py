"""The feed as an actor at a venue in real time: joins the bars that its client tells, and says when data are unwell."""

import asyncio
import time
from typing import Any

from actors.connections import make_market_data_client
from actors.market_feed.machine import MarketFeedMachine
from actors.market_feed.venue_source import CloseJoiner, VenueSource
from actors.messages import Alert, Message, Record, Send, Severity
from actors.shell import Heard, Shell, ShellSettings
from market.events import BarsClosed
from market.instruments import find_instrument
from venues.port import BarSeen, MarketDataClient, MarketEvent, Subscription, VenueUnavailableError

MARKET_LANE = "market"  # what the venue tells, as if it were a lane: journaled, so that a restart knows it
WATCH_S = 0.5
ASK_AGAIN_S = 2.0


class VenueFeedShell(Shell):
    """One connection for market data. After a restart it goes on after the last close that it published; what closed
    meanwhile is fetched, and published as history."""

    machine: MarketFeedMachine

    def __init__(self, settings: ShellSettings, source: VenueSource, subscribers: tuple[str, ...]) -> None:
        super().__init__(settings, MarketFeedMachine(source.interval_ns, subscribers))
        self._source = source
        self._joiner = CloseJoiner(source)
        self._data_ids = tuple(dict.fromkeys(source.data_ids))
        self._client: MarketDataClient | None = None
        self._seen: asyncio.Queue[BarSeen] = asyncio.Queue()
        self._live: list[BarsClosed] = []  # those that could be decided on
        self._ts_confirmed_ns = 0
        self._room = asyncio.Event()
        self._health: tuple[str, ...] = ()
        self._heard_count = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._running = asyncio.Lock()

    async def run(self) -> None:
        """Connect, publish the history, and go on with every close. Safe to repeat.

        Raises ValueError for what the venue does not list, VenueUnavailableError.
        """
        async with self._running:
            if self._client is not None:
                return
            instruments = [find_instrument(name) for name in self._data_ids]
            client = make_market_data_client(self._source.connection, instruments)
            wanted = [Subscription(name, bar_interval_ns=self._source.interval_ns) for name in self._data_ids]
            try:
                await client.open(wanted, self._on_market)
            except BaseException:
                await client.close()
                raise
            self._client = client
            self._tasks = [self._begin(self._publish(client)), self._begin(self._watch(client))]

    async def close(self) -> None:
        """Let go of the venue, then as every shell."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        await super().close()

    @property
    def _is_done(self) -> bool:
        return 0 < self._source.bars <= len(self._live)

    def _on_market(self, event: MarketEvent) -> None:
        if isinstance(event, BarSeen):
            self._seen.put_nowait(event)

    async def _publish(self, client: MarketDataClient) -> None:
        self._joiner.skip_to(self.machine.ts_published_ns)
        await self._fetch(client, self._joiner.count_missing(time.time_ns()) or self._source.history)
        while not self._is_done:
            for closed in self._joiner.take(time.time_ns(), bool(self._health)):
                while not self.machine.is_open:
                    self._room.clear()
                    await self._room.wait()
                await self._hear_market(closed)
                if self._is_done:
                    return
            seen = await self._seen.get()
            self._joiner.offer(seen.instrument_id, seen.bar)

    async def _fetch(self, client: MarketDataClient, count: int) -> None:
        for name in self._data_ids:
            while True:
                try:
                    bars = await client.fetch_bars(name, self._source.interval_ns, count)
                    break
                except VenueUnavailableError:
                    await asyncio.sleep(ASK_AGAIN_S)
            for bar in bars:
                self._joiner.offer(name, bar)

    async def _watch(self, client: MarketDataClient) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            health = client.check_health(time.time_ns())
            if bool(health) != bool(self._health):
                async with self._turn:
                    await self._perform_all(self._tell_health(health))
                    await self._flush_journal()
            self._health = health

    def _tell_health(self, health: tuple[str, ...]) -> list[Any]:
        venue = self._source.connection.venue
        if health:
            severity, key = Severity.WARNING, f"feed.health.{venue}"
            text = f"data of {venue} are unwell, nothing new is opened on them: {'; '.join(health)}"
        else:
            severity, key, text = Severity.INFO, f"feed.health.{venue}.restored", f"data of {venue} are well again"
        alert = Alert(severity, key, text, time.time_ns())
        return [Record(alert), Send(("herald",), alert)]

    async def _hear_market(self, closed: BarsClosed) -> None:
        assert self._journal is not None
        self._heard_count += 1
        self._note(closed)
        await super().hear(Heard(MARKET_LANE, self._journal.epoch, self._heard_count, closed))

    async def hear(self, heard: Heard) -> None:
        """Take the governor's confirmation, and make room."""
        await super().hear(heard)
        self._note(heard.message)
        self._room.set()

    def _recall(self, heard: Heard) -> None:
        super()._recall(heard)
        self._note(heard.message)

    def _note(self, message: Message) -> None:
        if not isinstance(message, BarsClosed):
            self._ts_confirmed_ns = max(self._ts_confirmed_ns, getattr(message, "ts_close_ns", 0))
        elif not message.is_history:
            self._live.append(message)

    def _advance_clock(self, message: Message) -> None:
        # The feed's own time is that of its bars; a confirmation speaks of the past.
        if isinstance(message, BarsClosed):
            self.ts_now_ns = max(self.ts_now_ns, message.ts_close_ns)

    def list_bars(self) -> list[BarsClosed]:
        """Return the closes that could be decided on, oldest first, as they were published."""
        return self._live

    def get_status(self) -> dict[str, Any]:
        """Add how far it is, and what is wrong with its data."""
        status = super().get_status()
        interval_ns, bars = self._source.interval_ns, self._source.bars
        ts_first_ns = self._live[0].ts_close_ns - interval_ns if self._live else 0
        ts_published_ns = self.machine.ts_published_ns
        return status | {
            "is_open": status["is_open"] and self._client is not None,
            "health": self._health,
            "ts_first_ns": ts_first_ns,
            "ts_published_ns": ts_published_ns,
            "ts_confirmed_ns": self._ts_confirmed_ns,
            "ts_last_ns": ts_first_ns + bars * interval_ns if bars and self._live else 0,  # 0: nobody knows
            "is_published": self._is_done,
        }
