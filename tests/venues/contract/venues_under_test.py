"""The venues that must pass the contract: one entry each. A new venue needs its folder, and an entry here.

An entry says how to make the venue's clients on a running simulator, how to look into the exchange behind it, and
what the venue states as its limits. Tests never name a venue: what differs is a field here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from market.events import Fill
from market.instruments import LISTED, Instrument
from tests.venues.contract.stage import Stage
from trireme.venue_host import list_venue_instruments
from venues.binance.market_data import BinanceMarketData, FeedTuning
from venues.binance.streams import Market
from venues.dydx.client import DydxClient
from venues.dydx.market_data import DydxMarketData
from venues.dydx.order_terms import ConditionType
from venues.dydx.units import quantums_to_lots, subticks_to_float_px
from venues.hyperliquid.client import HyperliquidClient
from venues.hyperliquid.market_data import HyperliquidMarketData
from venues.port import ClientSettings, MarketDataClient, TradingClient
from venues.simulator.accounts import SimulatedAccount
from venues.simulator.driven_market import Mark
from venues.simulator.house import PublicTrade


class Resting(NamedTuple):
    """One order as the exchange itself holds it; `px` is the trigger of what waits for one, else the limit."""

    instrument_id: str
    side: int
    leaves_lots: int
    px: float
    is_reduce_only: bool


class TapeRow(NamedTuple):
    """One trade as the venue's tape has it."""

    trade_id: str
    side: int
    px: float
    qty_lots: int
    ts_ms: int


@dataclass(frozen=True)
class TradingVenue:
    """A venue that takes orders."""

    name: str
    make_client: Callable[[Stage, SimulatedAccount, ClientSettings], TradingClient]
    name_account: Callable[[SimulatedAccount], str]  # at the exchange
    list_resting: Callable[[Any, str], list[Resting]]  # simulator, account id
    order_channel: str  # on which it tells what becomes of orders
    read_trade_number: Callable[[str], int]  # the exchange's number in the venue's trade id
    money_step_quote: float  # the wire's step of money; 0.0: it writes every digit
    too_small_lots: int  # below what the venue takes, of BTC
    is_leverage_at_venue: bool  # False: the venue has none, the client keeps it

    def __str__(self) -> str:
        return self.name

    @property
    def btc(self) -> Instrument:
        """What most tests trade."""
        return LISTED[f"BTC-PERP.{self.name.upper()}"]

    @property
    def eth(self) -> Instrument:
        """What some trade besides."""
        return LISTED[f"ETH-PERP.{self.name.upper()}"]

    @property
    def instruments(self) -> list[Instrument]:
        """All that the client is made for."""
        return list_venue_instruments(self.name)


@dataclass(frozen=True)
class DataVenue:
    """A venue that publishes."""

    name: str
    make_client: Callable[[Stage, ClientSettings], MarketDataClient]
    list_tape: Callable[[Any, Instrument], Sequence[TapeRow]]  # simulator
    show_mark: Callable[[Mark], tuple[float, float]]  # mark and index px as this venue publishes them

    def __str__(self) -> str:
        return self.name

    @property
    def btc(self) -> Instrument:
        """What is read."""
        return LISTED[f"BTC-PERP.{self.name.upper()}"]


# Hyperliquid


def _trade_hyperliquid(stage: Stage, account: SimulatedAccount, settings: ClientSettings) -> TradingClient:
    return HyperliquidClient(
        stage.endpoints("hyperliquid"),
        list_venue_instruments("hyperliquid"),
        private_key=account.private_key,
        account_address=account.address,
        is_mainnet=False,
        settings=settings,
        clock_ns=stage.clock,
    )


def _list_resting(simulator: Any, account_id: str) -> list[Resting]:
    reports = simulator.world.market.exchange.open_orders(account_id)
    return [
        Resting(one.instrument_id, one.side, one.qty_leaves_lots, one.trigger_px or one.limit_px, one.is_reduce_only)
        for one in reports
    ]


def _read_hyperliquid(stage: Stage, settings: ClientSettings) -> MarketDataClient:
    instruments = list_venue_instruments("hyperliquid")
    return HyperliquidMarketData(stage.endpoints("hyperliquid"), instruments, settings=settings, clock_ns=stage.clock)


# dYdX


def _trade_dydx(stage: Stage, account: SimulatedAccount, settings: ClientSettings) -> TradingClient:
    return DydxClient(
        stage.endpoints("dydx"),
        list_venue_instruments("dydx"),
        private_key=account.private_key,
        address=account.address,
        settings=settings,
        clock_ns=stage.clock,
    )


def _list_resting_dydx(simulator: Any, account_id: str) -> list[Resting]:
    # Stops and targets wait on the chain, not at the exchange: the chain's orders are the whole of it.
    found = []
    for live in simulator.chain._orders.values():
        if live.account_id != account_id or live.status not in ("OPEN", "BEST_EFFORT_OPENED", "UNTRIGGERED"):
            continue
        order, contract = live.order, live.contract
        is_stop = order.condition_type == ConditionType.STOP_LOSS
        subticks = order.trigger_subticks if is_stop else order.subticks
        lots = quantums_to_lots(contract.units, contract.instrument, live.remaining_quantums)
        px = subticks_to_float_px(contract.units, subticks)
        side = 1 if order.side == 1 else -1
        found.append(Resting(contract.instrument.instrument_id, side, lots, px, order.is_reduce_only))
    return found


def _read_dydx(stage: Stage, settings: ClientSettings) -> MarketDataClient:
    instruments = list_venue_instruments("dydx")
    return DydxMarketData(stage.endpoints("dydx"), instruments, settings=settings, clock_ns=stage.clock)


# Binance


def _read_binance(stage: Stage, settings: ClientSettings) -> MarketDataClient:
    tuning = FeedTuning(first_message_s=120.0, frozen_s=60.0, bar_patience_s=60.0, funding_patience_s=120.0)
    instruments = list_venue_instruments("binance")
    return BinanceMarketData(
        stage.endpoints("binance"), instruments, settings=settings, clock_ns=stage.clock, tuning=tuning
    )


def _list_tape_binance(simulator: Any, instrument: Instrument) -> Sequence[TapeRow]:
    # Binance publishes aggregates: fills of one taker at one px.
    rows = simulator.hubs[Market.USDM].feeds[f"{instrument.base}USDT"].agg_trades
    return [
        TapeRow(
            str(row.trade_id),
            -1 if row.is_buyer_maker else 1,
            float(row.px),
            round(float(row.qty) / instrument.lot_base),
            row.ts_trade_ms,
        )
        for row in rows
    ]


def _list_tape(show_id: Callable[[PublicTrade], str]) -> Callable[[Any, Instrument], Sequence[TapeRow]]:
    def list_all(simulator: Any, instrument: Instrument) -> Sequence[TapeRow]:
        trades: list[PublicTrade] = simulator.world.market.list_trades(instrument.instrument_id, 1_000_000)
        return [
            TapeRow(show_id(one), one.taker_side, one.px, one.qty_lots, one.ts_event_ns // 1_000_000) for one in trades
        ]

    return list_all


TRADING = (
    TradingVenue(
        name="hyperliquid",
        order_channel="orderUpdates",
        make_client=_trade_hyperliquid,
        name_account=lambda account: account.address.lower(),
        list_resting=_list_resting,
        read_trade_number=int,
        money_step_quote=1e-6,
        too_small_lots=1,
        is_leverage_at_venue=True,
    ),
    TradingVenue(
        name="dydx",
        order_channel="v4_subaccounts",
        make_client=_trade_dydx,
        name_account=lambda account: f"{account.address}/0",
        list_resting=_list_resting_dydx,
        read_trade_number=lambda trade_id: int(trade_id.rpartition("-")[2], 16),
        money_step_quote=0.0,
        too_small_lots=0,
        is_leverage_at_venue=False,
    ),
)

DATA = (
    DataVenue("binance", _read_binance, _list_tape_binance, lambda mark: (mark.mark_px, mark.oracle_px)),
    DataVenue(
        "hyperliquid",
        _read_hyperliquid,
        _list_tape(lambda trade: str(trade.trade_id)),
        lambda mark: (mark.mark_px, mark.oracle_px),
    ),
    DataVenue(
        "dydx",
        _read_dydx,
        _list_tape(lambda trade: f"{trade.trade_id:032x}"),
        lambda mark: (mark.oracle_px, mark.oracle_px),  # the chain knows no other
    ),
)


def count_lots(instrument: Instrument, qty_base: float) -> int:
    """Return a quantity in lots; it must be whole ones."""
    lots = round(qty_base / instrument.lot_base)
    assert abs(qty_base - lots * instrument.lot_base) < 1e-9, f"{qty_base} of {instrument.base} is no whole lots"
    return lots


def same_fill(venue: TradingVenue, fill: Fill) -> tuple[Any, ...]:
    """Return all that must be equal of a fill, told or the exchange's own, but for money."""
    number = venue.read_trade_number(fill.trade_id)
    ts_ms = fill.ts_event_ns // 1_000_000
    return number, fill.instrument_id, fill.side, fill.fill_px, fill.fill_qty_lots, fill.is_maker, ts_ms
