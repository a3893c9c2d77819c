"""What the client reads of an account: the Indexer's messages and rows, taken in by desk and health. No I/O waits here.

`AccountReader` fetches orders, fills, positions, funding and clocks over REST and hands them to the desk in an order
that keeps sums right: fills are fetched before and after positions, which count only if no fill came between.
"""

from collections.abc import Callable
from decimal import Decimal

from market.events import FundingPaid, OrderRequest
from market.records import NS_PER_MS, NS_PER_S
from venues.accounts import AccountState
from venues.dydx.client_health import ChainHealth
from venues.dydx.client_orders import OrderDesk
from venues.dydx.client_rest import IndexerRest, NotFoundError
from venues.dydx.indexer import HeightReply, MarketsReply, read_time
from venues.dydx.indexer_records import FundingPaymentRow, PerpetualMarket, PositionRow
from venues.dydx.indexer_stream import (
    BlockHeightUpdate,
    ChannelData,
    MarketsUpdate,
    ServerMessage,
    SubaccountSnapshot,
    SubaccountUpdate,
    Subscribed,
)
from venues.dydx.units import size_to_lots
from venues.orders import Message

OVERLAP_NS = 60 * NS_PER_S  # fills are asked for again from so long before the newest known
FILLS_PAGE = 200


class AccountReader:
    """Reads one subaccount into a desk."""

    def __init__(self, rest: IndexerRest, desk: OrderDesk, health: ChainHealth, clock_ns: Callable[[], int]) -> None:
        """Begin with nothing known."""
        self._rest, self._desk, self._health, self._clock_ns = rest, desk, health, clock_ns
        self._ts_fills_ns = self._ts_fundings_ns = 0
        self._funding_keys: dict[tuple[str, str], None] = {}
        self.markets: dict[str, PerpetualMarket] = {}
        self.funding_quote = 0.0
        self.equity_quote = 0.0

    # Messages.

    def take_message(self, message: ServerMessage, ts_now_ns: int) -> bool:
        """Take one message of the socket; return whether it begins a subscription (ask for what came before)."""
        match message:
            case Subscribed(contents=contents):
                self._take_contents(contents, ts_now_ns)
                return isinstance(contents, SubaccountSnapshot)
            case ChannelData(updates=updates):
                for update in updates:
                    self._take_contents(update, ts_now_ns)
        return False

    def _take_contents(self, contents: object, ts_now_ns: int) -> None:
        match contents:
            case SubaccountUpdate():
                self._desk.note_fills(contents.fills or ())
                for row in contents.orders or ():
                    self._desk.note_row(row, ts_now_ns)
            case SubaccountSnapshot():
                for row in contents.orders:
                    self._desk.note_row(row, ts_now_ns)
            case HeightReply():
                self._note_height(int(contents.height), read_time(contents.time) // NS_PER_MS)
            case BlockHeightUpdate():
                self._note_height(int(contents.block_height), read_time(contents.time) // NS_PER_MS)
            case MarketsReply():
                self.take_markets(contents, ts_now_ns)
            case MarketsUpdate():
                for ticker, price in (contents.oracle_prices or {}).items():
                    self._note_oracle(ticker, price.oracle_price, ts_now_ns)

    def take_markets(self, reply: MarketsReply, ts_now_ns: int) -> None:
        """Take every market's row."""
        self.markets |= reply.markets
        for ticker, market in reply.markets.items():
            if market.oracle_price is not None:
                self._note_oracle(ticker, market.oracle_price, ts_now_ns)

    def _note_oracle(self, ticker: str, px: Decimal, ts_now_ns: int) -> None:
        if ticker in self._desk.by_ticker:
            self._health.note_oracle(ticker, float(px), ts_now_ns)

    def _note_height(self, height: int, block_time_ms: int) -> None:
        self._desk.note_height(height, block_time_ms)
        self._health.note_indexer(height, block_time_ms)

    # Questions.

    async def ask_order(self, uuid: str) -> None:
        """Ask for an order and the newest fills, and take the answers. Raises VenueUnavailableError."""
        height, block_time_ms = await self._rest.fetch_height()
        row = await self._rest.fetch_order(uuid)
        await self.fetch_fills()
        self._note_height(height, block_time_ms)
        self._desk.note_answer(uuid, row, height, block_time_ms, self._clock_ns())

    async def fetch_fills(self) -> None:
        """Ask for the fills since the newest known and take them. Raises VenueUnavailableError."""
        rows = await self._rest.fetch_fills(max(0, self._ts_fills_ns - OVERLAP_NS), FILLS_PAGE)
        self._desk.note_fills(rows)
        self._ts_fills_ns = max([self._ts_fills_ns, *(read_time(row.created_at) for row in rows)])

    async def reconcile(self) -> list[FundingPaid]:
        """Compare everything with the Indexer's own; return funding not told yet. Raises VenueUnavailableError."""
        desk = self._desk
        ts_sent_ns = self._clock_ns()
        venue_ms = await self._rest.fetch_time_ms()
        self._health.note_clock(venue_ms, ts_sent_ns, self._clock_ns())
        height, block_time_ms = await self._rest.fetch_height()
        rows = await self._rest.fetch_orders()
        await self.fetch_fills()
        seen_before = desk.fills_seen
        positions = (await self._rest.fetch_positions()).positions
        await self.fetch_fills()
        self._note_height(height, block_time_ms)
        if desk.fills_seen == seen_before:
            desk.positions_lots = self.read_positions(positions)
        ts_now_ns = self._clock_ns()
        for row in rows:
            desk.note_row(row, ts_now_ns)
        paid = self._take_fundings(await self._rest.fetch_fundings(max(0, self._ts_fundings_ns - OVERLAP_NS)))
        self.equity_quote = float((await self._rest.fetch_subaccount()).subaccount.equity)
        self._health.ts_account_ns = ts_sent_ns
        return paid

    def read_positions(self, rows: tuple[PositionRow, ...]) -> dict[str, int]:
        """Return signed lots by instrument id of the open positions of our markets."""
        found: dict[str, int] = {}
        for row in rows:
            instrument_id = self._desk.by_ticker.get(row.market)
            if instrument_id is not None and row.status == "OPEN":
                size = abs(row.size) if row.side == "LONG" else -abs(row.size)
                if lots := size_to_lots(self._desk.contracts[instrument_id].instrument, size):
                    found[instrument_id] = lots
        return found

    def _take_fundings(self, rows: list[FundingPaymentRow]) -> list[FundingPaid]:
        paid = []
        for row in sorted(rows, key=lambda one: one.created_at):
            key = (row.ticker, row.created_at)
            instrument_id = self._desk.by_ticker.get(row.ticker)
            if key in self._funding_keys or instrument_id is None:
                continue
            self._funding_keys[key] = None
            ts_event_ns = read_time(row.created_at)
            self._ts_fundings_ns = max(self._ts_fundings_ns, ts_event_ns)
            self.funding_quote += float(row.payment)
            size = abs(row.size) if row.side == "LONG" else -abs(row.size)
            lots = size_to_lots(self._desk.contracts[instrument_id].instrument, size)
            amounts = float(row.rate), float(row.oracle_price), float(row.payment)
            paid.append(FundingPaid(instrument_id, lots, *amounts, ts_event_ns))
        return paid

    async def fetch_account(self) -> AccountState:
        """Return what the account is worth. Raises VenueUnavailableError."""
        await self.fetch_fills()
        self._take_markets_margin(await self._rest.fetch_markets())
        try:
            row = (await self._rest.fetch_subaccount()).subaccount
        except NotFoundError:
            return AccountState(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        cash = sum((one.size if one.side == "LONG" else -one.size for one in row.asset_positions.values()), Decimal(0))
        maintenance = Decimal(0)
        for ticker, position in row.open_perpetual_positions.items():
            size = abs(position.size) if position.side == "LONG" else -abs(position.size)
            if isinstance(position.entry_price, Decimal):
                cash += size * position.entry_price
            market = self.markets.get(ticker)
            if market is not None and market.oracle_price is not None:
                maintenance += abs(size) * market.oracle_price * market.maintenance_margin_fraction
        self.equity_quote = float(row.equity)
        return AccountState(
            cash_quote=float(cash),
            equity_quote=float(row.equity),
            margin_initial_quote=float(row.equity - row.free_collateral),
            margin_maintenance_quote=float(maintenance),
            fees_quote=self._desk.fees_quote,
            funding_quote=self.funding_quote,
        )

    def find_leverage_refusal(self, request: OrderRequest, leverage: int | None) -> str:
        """Return why an order would make its position too large for a leverage, "" if it would not."""
        if leverage is None or request.is_reduce_only:
            return ""
        contract = self._desk.contracts[request.instrument_id]
        px = self._health.oracle_px.get(contract.units.ticker, 0.0)
        held_lots = self._desk.positions_lots.get(request.instrument_id, 0)
        notional_quote = abs(held_lots + request.side * request.qty_lots) * contract.instrument.lot_base * px
        if notional_quote <= leverage * self.equity_quote:
            return ""
        return f"{Message.INSUFFICIENT_MARGIN}: position of {notional_quote:.2f} is above {leverage} times equity"

    def _take_markets_margin(self, reply: MarketsReply) -> None:
        self.markets |= reply.markets
