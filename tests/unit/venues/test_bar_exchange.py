"""The paper venue: one table row or test for each sentence of "fills when" in market.fills and venues.bar_exchange."""

import math
from typing import Any

from market.events import (
    BarsClosed,
    Fill,
    OrderAccepted,
    OrderRequest,
    OrderType,
)
from market.fills import Costs
from market.instruments import Instrument
from market.records import Bar
from venues.bar_exchange import BarExchange
from venues.exchange import Events

BTC = Instrument("BTC-PERP.TEST", "BTC", "USDC", 0.01, 0.1, 0, 1, 10.0, 20.0, 0.025, 1)
ETH = Instrument("ETH-PERP.TEST", "ETH", "USDC", 0.1, 0.01, 0, 1, 10.0, 20.0, 0.025, 1)
COSTS = Costs(5.0, 2.0, 10.0)
MINUTE_NS = 60_000_000_000
ME = "me"


def make_bar(open_px: float, high_px: float, low_px: float, close_px: float, **fields: Any) -> Bar:
    values: dict[str, Any] = {
        "volume_base": 1.0,
        "funding_rate": math.nan,
        "open_interest_base": math.nan,
        "funding_open_rate": 0.0,
        "funding_inside_rate": 0.0,
        "signal": math.nan,
        "quality": 0,
    }
    values.update(fields)
    return Bar(0, open_px, high_px, low_px, close_px, **values)


class Market:
    """A test bench: an exchange with one account, and bars that follow each other by the minute."""

    def __init__(self, *instruments: Instrument, cash_quote: float = 10_000.0, costs: Costs = COSTS) -> None:
        self.exchange = BarExchange(instruments or (BTC,), costs)
        self.exchange.add_account(ME, cash_quote)
        self.ts_ns = 0

    def step(self, *bars: Bar) -> list[Any]:
        closed = tuple(bar._replace(ts_open_ns=self.ts_ns) for bar in bars)
        self.ts_ns += MINUTE_NS
        return mine(self.exchange.apply_bars(BarsClosed(self.ts_ns, closed), self.ts_ns))

    def submit(self, *requests: OrderRequest) -> list[Any]:
        return mine(self.exchange.submit(ME, requests, self.ts_ns, group=len(requests) > 1))

    def held_lots(self, instrument: Instrument = BTC) -> int:
        return self.exchange.position(ME, instrument.instrument_id).qty_lots


def mine(events: Events) -> list[Any]:
    assert {account_id for account_id, _ in events} <= {ME}
    return [event for _, event in events]


def market_order(client_order_id: str, side: int, qty_lots: int, **fields: Any) -> OrderRequest:
    fields.setdefault("instrument_id", BTC.instrument_id)
    return OrderRequest(client_order_id, side=side, qty_lots=qty_lots, order_type=OrderType.MARKET, **fields)


def stop(client_order_id: str, side: int, qty_lots: int, trigger_px: float, **fields: Any) -> OrderRequest:
    fields.setdefault("instrument_id", BTC.instrument_id)
    kind = OrderType.STOP_MARKET
    return OrderRequest(
        client_order_id,
        side=side,
        qty_lots=qty_lots,
        order_type=kind,
        trigger_px=trigger_px,
        is_reduce_only=True,
        **fields,
    )


def take_profit(client_order_id: str, side: int, qty_lots: int, limit_px: float, **fields: Any) -> OrderRequest:
    fields.setdefault("instrument_id", BTC.instrument_id)
    kind = OrderType.TAKE_PROFIT_LIMIT
    return OrderRequest(
        client_order_id, side=side, qty_lots=qty_lots, order_type=kind, limit_px=limit_px, is_reduce_only=True, **fields
    )


FLAT_BAR = make_bar(100.0, 100.0, 100.0, 100.0)


def enter(market: Market, side: int = 1, stop_px: float = 95.0, take_profit_px: float = 110.0) -> None:
    market.submit(
        market_order("entry", side, 10),
        stop("stop", -side, 10, stop_px),
        take_profit("target", -side, 10, take_profit_px),
    )
    market.step(FLAT_BAR)


def kinds(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_market_order_waits_for_the_next_bar_and_fills_whole_at_its_open_with_slippage_and_taker_fee() -> None:
    market = Market()
    market.step(FLAT_BAR)
    (accepted,) = market.submit(market_order("a", 1, 10))
    assert isinstance(accepted, OrderAccepted)
    (fill,) = market.step(make_bar(101.0, 103.0, 100.0, 102.0))
    fill_px = 101.0 * (1.0 + 1 * 10.0 * 1e-4)
    fee_quote = 10 * 0.01 * fill_px * 5.0 * 1e-4
    assert fill == Fill("a", "1", "1", BTC.instrument_id, 1, fill_px, 10, fee_quote, False, 0, MINUTE_NS)
    state = market.exchange.account_state(ME)
    assert state.cash_quote == 10_000.0 + 0.0 - fee_quote
    assert state.equity_quote == state.cash_quote + 10 * 0.01 * (102.0 - fill_px)
    market.exchange.check_invariants()
