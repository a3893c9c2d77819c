"""NautilusTrader on given signals: `BacktestEngine.run` over bars. Runs in its own environment.

Does: a margin account at one simulated venue, a strategy that sends market orders to reach the told position, fees by
the instrument; its own order checks (precision, balance) stay on, as they always are; its account and portfolio
statistics are what it keeps anyway. An order sent on a bar fills at that bar's close, one bar earlier than in the
others. Does not: funding, slippage, stops, any of our risk rules; the signals are computed beforehand, and turning
arrays into bars is not counted.

Run: python nautilus_peer.py MARKET.npz REPEATS
"""

import json
import sys
import time
from decimal import Decimal
from typing import Any

import nautilus_trader
import numpy as np
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy


class FollowConfig(StrategyConfig, frozen=True):
    """What the strategy trades."""

    bar_type: BarType
    cash_quote: float


class Follow(Strategy):
    """Holds what the array says at each bar, sized by the cash it began with."""

    targets: Any = None

    def on_start(self) -> None:
        self.bars = 0
        self.held = Decimal(0)
        self.instrument = self.cache.instrument(self.config.bar_type.instrument_id)
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar: Bar) -> None:
        target = self.targets[self.bars]
        before = self.targets[self.bars - 1] if self.bars else 0.0
        self.bars += 1
        if target == before:
            return
        wanted = self.instrument.make_qty(abs(target) * self.config.cash_quote / float(bar.close)).as_decimal()
        for change in (-self.held, wanted if target > 0 else -wanted):  # a reversal is two orders, as it is ours
            if change != 0:
                side = OrderSide.BUY if change > 0 else OrderSide.SELL
                quantity = self.instrument.make_qty(abs(change))
                self.submit_order(self.order_factory.market(self.instrument.id, side, quantity))
        self.held = wanted if target > 0 else -wanted


def main() -> None:
    """Time it and print one JSON object."""
    market, repeats = np.load(sys.argv[1]), int(sys.argv[2])
    instrument = TestInstrumentProvider.btcusdt_perp_binance()
    bar_type = BarType.from_str(f"{instrument.id}-15-MINUTE-LAST-EXTERNAL")
    index = pd.to_datetime(market["ts_open_ns"] + 900_000_000_000, utc=True)
    names = {"open": "open_px", "high": "high_px", "low": "low_px", "close": "close_px", "volume": "volume_base"}
    frame = pd.DataFrame({name: market[column] for name, column in names.items()}, index=index)
    bars = BarDataWrangler(bar_type, instrument).process(frame.round(1))
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    cash_quote = float(market["cash_quote"])
    engine.add_venue(Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, starting_balances=[Money(cash_quote, USDT)])
    engine.add_instrument(instrument)
    engine.add_data(bars)
    strategy = Follow(FollowConfig(bar_type=bar_type, cash_quote=cash_quote))
    strategy.targets = market["targets"]
    engine.add_strategy(strategy)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        engine.run()
        seconds.append(time.perf_counter() - start)
        trades = len(engine.cache.position_snapshots()) + len(engine.cache.positions_closed())
        balance = float(engine.portfolio.account(Venue("BINANCE")).balance_total(USDT).as_double())
        engine.reset()
    document = {"version": nautilus_trader.__version__, "seconds": seconds[1:], "trades": trades}
    print(json.dumps(document | {"return_frac": balance / cash_quote - 1.0}))


if __name__ == "__main__":
    main()
