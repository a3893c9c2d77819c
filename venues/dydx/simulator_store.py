"""What the simulated Indexer knows: orders, fills and holdings as of its height, which may lag behind the chain's.

`take` hears every `AccountUpdate` of the chain, `settle` lets those in whose height has been reached. Market rows
(books, trades, candles, statistics) come from the market of the moment: only what blocks commit lags, as on the venue.
Does not keep: closed positions, transfers, profit history.
"""

import math
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from typing import TypeVar

from msgspec import UNSET, structs

from market.records import NS_PER_S
from venues.dydx.indexer import CANDLE_RESOLUTIONS_S, show_time
from venues.dydx.indexer_records import (
    BookLevel,
    BookSnapshot,
    CandleRow,
    FillRow,
    FundingPaymentRow,
    FundingRow,
    OrderRow,
    PerpetualMarket,
    SubaccountRow,
    TradeRow,
)
from venues.dydx.simulator_chain import AccountUpdate, Chain
from venues.dydx.simulator_orders import SIDES, Contract, Holding, show_subaccount, to_px
from venues.simulator.candles import Candle
from venues.simulator.funding import FundingSettled
from venues.simulator.house import PublicTrade

RowKind = TypeVar("RowKind")
SNAPSHOT_STATUSES = ("OPEN", "UNTRIGGERED", "BEST_EFFORT_OPENED")
_BOOK_LEVELS = 1000


def show_trade(trade: PublicTrade, contract: Contract, height: int | None = None) -> TradeRow:
    """Return a trade of the tape; `height` in lists only."""
    return TradeRow(
        id=f"{trade.trade_id:032x}",
        side=SIDES[trade.taker_side],
        size=contract.to_size(trade.qty_lots),
        price=to_px(trade.px),
        created_at=show_time(trade.ts_event_ns),
        created_at_height=UNSET if height is None else str(height),
    )


class Store:
    """The Indexer's tables."""

    def __init__(self, chain: Chain) -> None:
        """Begin empty; the caller hands over the chain's updates."""
        self.chain = chain
        self.height = chain.height
        self.time_ns = 0
        self.orders: dict[str, OrderRow] = {}  # by uuid, in the order of their first mention
        self.order_times_ns: dict[str, int] = {}
        self.fills: dict[str, list[FillRow]] = {}
        self.fundings: dict[str, list[FundingPaymentRow]] = {}
        self.holdings: dict[str, Holding] = {}
        self.by_ticker = {contract.units.ticker: contract for contract in chain.contracts}
        self._owners: dict[str, str] = {}
        self._backlog: deque[AccountUpdate] = deque()

    def take(self, update: AccountUpdate) -> None:
        """Remember an update until its height is reached."""
        self._backlog.append(update)

    def settle(self) -> list[AccountUpdate]:
        """Let in what is due; return it, oldest first."""
        limit = self.chain.height - self.chain.view().indexer_lag_blocks
        for height, ts_ns in self.chain.block_times:
            if self.height < height <= limit:
                self.height, self.time_ns = height, ts_ns
        due: list[AccountUpdate] = []
        while self._backlog and self._backlog[0].height <= limit:
            update = self._backlog.popleft()
            self._apply(update)
            due.append(update)
        return due

    def _apply(self, update: AccountUpdate) -> None:
        for order in update.orders:
            self._owners[order.id] = update.account_id
            self.order_times_ns.setdefault(order.id, self.chain.world.now_ns())
            self.orders[order.id] = structs.replace(order, total_optimistic_filled=UNSET)
        self.fills.setdefault(update.account_id, []).extend(update.fills)
        self.fundings.setdefault(update.account_id, []).extend(update.fundings)
        if update.holding is not None:
            self.holdings[update.account_id] = update.holding

    def is_hidden(self, order: OrderRow) -> bool:
        """Return whether a switch hides a waiting stop still."""
        hidden_ns = self.chain.view().stop_hidden_ns if order.status == "UNTRIGGERED" else 0
        return hidden_ns > 0 and self.chain.world.now_ns() < self.order_times_ns.get(order.id, 0) + hidden_ns

    def list_orders(self, account_ids: Iterable[str]) -> list[OrderRow]:
        """Return the orders of subaccounts, newest first."""
        wanted = set(account_ids)
        rows = [row for row in self.orders.values() if self._owners[row.id] in wanted and not self.is_hidden(row)]
        return self._repeat(rows[::-1])

    def list_fills(self, account_ids: Iterable[str]) -> list[FillRow]:
        """Return the fills of subaccounts, newest first."""
        return self._repeat([fill for one in account_ids for fill in reversed(self.fills.get(one, []))])

    def _repeat(self, rows: list[RowKind]) -> list[RowKind]:
        # A switch shows every row of the account's lists twice.
        if not self.chain.view().is_history_duplicated:
            return rows
        return [row for row in rows for _ in range(2)]

    def list_funding_payments(self, account_ids: Iterable[str]) -> list[FundingPaymentRow]:
        """Return the funding that subaccounts paid or received, newest first."""
        return [row for account_id in account_ids for row in reversed(self.fundings.get(account_id, []))]

    def list_children(self, address: str, parent: int) -> list[str]:
        """Return the account ids of a parent subaccount and its isolated children."""
        return [
            account_id
            for account_id in self.holdings
            if account_id.startswith(f"{address}/") and int(account_id.partition("/")[2]) % 128 == parent
        ]

    def oracle_pxs(self) -> dict[str, float]:
        """Return the oracle prices by instrument."""
        return {one: self.chain.market.get_mark(one).oracle_px for one in self.chain.by_instrument}

    def show_subaccount(self, account_id: str) -> SubaccountRow | None:
        """Return a subaccount at the oracle prices of the moment; None if nobody ever funded it."""
        holding = self.holdings.get(account_id)
        if holding is None:
            return None
        address, _, number = account_id.partition("/")
        return show_subaccount(address, int(number), holding, self.oracle_pxs(), self.height)

    # Markets.

    def show_market(self, contract: Contract) -> PerpetualMarket:
        """Return one market's row."""
        market, instrument, units = self.chain.market, contract.instrument, contract.units
        day = market.get_day_stats(instrument.instrument_id)
        oracle_px = market.get_mark(instrument.instrument_id).oracle_px
        open_interest = market.get_open_interest_lots(instrument.instrument_id) * contract.lot
        return PerpetualMarket(
            clob_pair_id=str(units.clob_pair_id),
            ticker=units.ticker,
            atomic_resolution=units.atomic_resolution,
            quantum_conversion_exponent=units.quantum_conversion_exponent,
            tick_size=units.tick_px,
            step_size=units.step_size,
            step_base_quantums=units.step_base_quantums,
            subticks_per_tick=units.subticks_per_tick,
            status=units.status,
            oracle_price=None if math.isnan(oracle_px) else to_px(oracle_px),
            price_change_24h=to_px(round(day.last_px - day.open_px, 8)),
            volume_24h=to_px(round(day.turnover_quote, 6)),
            trades_24h=day.trades,
            next_funding_rate=to_px(round(market.get_funding(instrument.instrument_id)[0], 12)),
            initial_margin_fraction=to_px(round(1.0 / instrument.leverage_max, 9)),
            maintenance_margin_fraction=to_px(instrument.maintenance_margin_frac),
            open_interest=open_interest,
            base_open_interest=open_interest,
            default_funding_rate_1h=Decimal(0),
        )

    def show_markets(self) -> dict[str, PerpetualMarket]:
        """Return every market's row by ticker."""
        return {contract.units.ticker: self.show_market(contract) for contract in self.chain.contracts}

    def show_book(self, contract: Contract) -> BookSnapshot:
        """Return a book, best first."""
        view = self.chain.market.get_book(contract.instrument.instrument_id, _BOOK_LEVELS)
        bids, asks = (
            tuple(BookLevel(to_px(level.px), contract.to_size(level.qty_lots)) for level in side)
            for side in (view.bids, view.asks)
        )
        return BookSnapshot(bids, asks)

    def list_trades(self, contract: Contract, count: int = 100) -> tuple[TradeRow, ...]:
        """Return the last trades, newest first."""
        trades = self.chain.market.list_trades(contract.instrument.instrument_id, count)
        return tuple(show_trade(trade, contract, self.height) for trade in reversed(trades))

    def list_candles(
        self, contract: Contract, resolution: str, count: int = 100, from_ns: int = 0, to_ns: int = 0
    ) -> tuple[CandleRow, ...]:
        """Return the last candles that open in [from, to), newest first."""
        interval_ns = CANDLE_RESOLUTIONS_S[resolution] * NS_PER_S
        end_ns = to_ns or self.chain.market.ts_now_ns + 1
        start_ns = max(from_ns, end_ns - (count + 1) * interval_ns)
        candles = self.chain.market.list_candles(contract.instrument.instrument_id, interval_ns, start_ns, end_ns)
        return tuple(self._show_candle(candle, contract, resolution) for candle in reversed(candles))[:count]

    def _show_candle(self, candle: Candle, contract: Contract, resolution: str) -> CandleRow:
        return CandleRow(
            started_at=show_time(candle.ts_open_ns),
            ticker=contract.units.ticker,
            resolution=resolution,
            low=to_px(candle.low_px),
            high=to_px(candle.high_px),
            open=to_px(candle.open_px),
            close=to_px(candle.close_px),
            base_token_volume=candle.volume_lots * contract.lot,
            usd_volume=to_px(round(candle.turnover_lots_px * contract.instrument.lot_base, 6)),
            trades=candle.count,
            starting_open_interest=Decimal(0),
        )

    def list_fundings(self, contract: Contract, count: int) -> tuple[FundingRow, ...]:
        """Return past fundings, newest first; the height is of now, as the market keeps none."""
        fundings = self.chain.market.list_fundings(contract.instrument.instrument_id)
        return tuple(self._show_funding(settled, contract) for settled in fundings[::-1][:count])

    def _show_funding(self, settled: FundingSettled, contract: Contract) -> FundingRow:
        return FundingRow(
            ticker=contract.units.ticker,
            rate=to_px(settled.funding_rate),
            price=to_px(settled.index_px),
            effective_at=show_time(settled.ts_event_ns),
            effective_at_height=str(self.height),
        )
