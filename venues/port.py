"""The venue port: all that the executor and the feeds ask of a venue. Each venue's `client.py` answers to it.

Two sides. `TradingClient` acts for one account and is the only owner of its key and nonces; `MarketDataClient` reads
books, trades, marks and bars without a key. Both supervise their own sockets: they reconnect, resubscribe and backfill
by themselves, and say through `check_health` when what they know is too old to open anything new on.

What holds for every client:
- Every call ends by its deadline (`ClientSettings.call_s`). Nothing blocks the caller's event loop.
- A venue's refusal is an event (`OrderRejected`, `CancelRejected`); what nobody answered is in `Answer.unknown_ids`.
  An unknown order is never sent again; `resolve` asks the venue for it by its client order id.
- Each event is told once, by the answer or by `on_events`, whichever hears first: fills are told apart by the venue's
  trade id, also over reconnects. A fill may come before the answer of its order.
- A group is an entry and what protects it. Where the venue knows no groups, the client keeps their promises: children
  of an entry that ended unfilled are canceled, the sibling of a filled child too, sizes follow what was filled.
- Prices leave rounded by `market.instruments.round_px`, sizes in whole lots, both written exactly.
- An enum value or field that the client does not know never ends a stream: it is counted and left out, and where it
  concerns an order, that order is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from market.events import Fill, OrderRequest, VenueEvent
from market.records import Bar
from venues.accounts import AccountState
from venues.book_feed import BookView, LostReason
from venues.orders import OrderReport


class PreflightError(ValueError):
    """The account, the key, the clock or the venue is not fit for trading; one line that says what to mend."""


class VenueUnavailableError(ConnectionError):
    """A question went without an answer: deadline, 5xx, cut connection. Nothing is known; ask again later."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How patient a client is. Seconds of local time, fractions of a price."""

    call_s: float = 5.0  # deadline of one call, signing and all retries of reads included
    connect_s: float = 5.0
    silence_s: float = 15.0  # without a message of a live channel: reconnect
    stale_s: float = 5.0  # book or account older than this: unhealthy
    backoff_s: float = 0.25  # before the second attempt to connect, doubled up to `backoff_s_max`
    backoff_s_max: float = 15.0
    reconcile_s: float = 5.0  # between comparisons of orders, fills and positions with the venue's own
    skew_s_max: float = 1.0  # clock of the venue against ours
    market_slippage_frac: float = 0.05  # worst price of a market order, from the mark
    stop_slippage_frac: float = 0.10  # worst price of a triggered stop, from its trigger
    unknown_s: float = 20.0  # how long an unanswered order may still arrive at the venue


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request, as far as the venue said. Ids in `unknown_ids` may or may not live there."""

    events: tuple[VenueEvent, ...] = ()
    unknown_ids: tuple[str, ...] = ()


OnEvents = Callable[[tuple[VenueEvent, ...]], None]  # called on the client's event loop


class TradingClient(Protocol):
    """One account at one venue. `venue_id` is the part of its instrument ids after the dot."""

    venue_id: str

    async def open(self, on_events: OnEvents, known: Sequence[OrderRequest] = ()) -> None:
        """Check key, account, clock and rules, connect, and begin to tell events.

        `known`: orders of an earlier life that may be open. What became of them meanwhile is told by `resolve`, some
        of it earlier; of other orders "" stands for the client order id where the venue does not keep ours. Members of
        one group are known by their `cause_id`.

        Raises PreflightError, VenueUnavailableError.
        """

    async def close(self) -> None:
        """Let go of sockets, tasks and threads. Orders stay at the venue. Safe to repeat."""

    async def submit(self, requests: Sequence[OrderRequest]) -> Answer:
        """Send one order, or an entry and what protects it. Raises nothing: what fails is refused or unknown."""

    async def cancel(self, client_order_id: str) -> Answer:
        """Cancel an order. Gone already is CancelRejected; unknown_ids names it when nobody answered."""

    async def modify(
        self,
        client_order_id: str,
        *,
        qty_lots: int | None = None,
        limit_px: float | None = None,
        trigger_px: float | None = None,
    ) -> Answer:
        """Change a resting order in place or by replacement; it keeps its client order id, and is never away without
        being told. `qty_lots` is the whole order, what is filled included. A protective stop is never absent in between
        longer than the venue makes unavoidable."""

    async def resolve(self, client_order_id: str) -> Answer:
        """Ask what became of an order whose outcome is unknown, and tell it whole: acceptance, fills, end.

        OrderRejected "never placed" only once it can no longer arrive; until then it stays in `unknown_ids`.
        """

    async def set_leverage(self, instrument_id: str, leverage: int) -> None:
        """Cap the leverage at the venue. Raises ValueError where the venue refuses, VenueUnavailableError."""

    async def fetch_open_orders(self) -> tuple[OrderReport, ...]:
        """Return what rests or waits for its trigger or parent. Raises VenueUnavailableError, as all of these."""

    async def fetch_order(self, client_order_id: str) -> OrderReport | None:
        """Return an order by our id; None: the venue has never heard of it, or has forgotten it."""

    async def fetch_fills(self, ts_from_ns: int) -> tuple[Fill, ...]:
        """Return all fills at or after that time, oldest first, told or not."""

    async def fetch_positions(self) -> Mapping[str, int]:
        """Return instrument_id -> signed lots of every open position, as the venue holds it."""

    async def fetch_account(self) -> AccountState:
        """Return what the account is worth, as the venue says."""

    def check_health(self, ts_now_ns: int) -> tuple[str, ...]:
        """Return why nothing new should be opened now, one line each; empty: all is well."""


@dataclass(frozen=True, slots=True)
class TradePrinted:
    """One public trade; `side` is the aggressor's. Quantity in base currency."""

    instrument_id: str
    trade_id: str
    side: int
    px: float
    qty_base: float
    ts_event_ns: int


@dataclass(frozen=True, slots=True)
class MarkSeen:
    """Mark and index price and the current funding rate, as last published; NaN where the venue did not say."""

    instrument_id: str
    mark_px: float
    index_px: float
    funding_rate: float
    ts_event_ns: int


@dataclass(frozen=True, slots=True)
class BarSeen:
    """One closed bar of a venue's own making, live or backfilled; each close once, in order, per instrument."""

    instrument_id: str
    interval_ns: int
    bar: Bar


MarketEvent = TradePrinted | MarkSeen | BarSeen
OnMarket = Callable[[MarketEvent], None]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What of one instrument is wanted. `bar_interval_ns` 0: no bars."""

    instrument_id: str
    has_book: bool = True
    has_trades: bool = False
    has_marks: bool = False
    bar_interval_ns: int = 0


class MarketDataClient(Protocol):
    """Market data of one venue, for whoever asks; no key."""

    venue_id: str

    async def open(self, subscriptions: Sequence[Subscription], on_market: OnMarket) -> None:
        """Connect and begin to tell. Raises ValueError for what the venue does not list, VenueUnavailableError."""

    async def close(self) -> None:
        """Let go of everything. Safe to repeat."""

    def take_book(self, instrument_id: str, ts_now_ns: int) -> BookView | LostReason:
        """Return the newest book (updates since the last call are conflated), or why there is none to trust."""

    async def fetch_bars(self, instrument_id: str, interval_ns: int, count: int) -> tuple[Bar, ...]:
        """Return the last closed bars, oldest first, at most `count`. Raises VenueUnavailableError."""

    def check_health(self, ts_now_ns: int) -> tuple[str, ...]:
        """Return what is wrong with the data now, one line each; empty: all is well."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a venue is. A simulator's are what `trireme venues serve` prints."""

    http: str
    ws: str
    grpc: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)  # of one venue only, such as "chain_id"
