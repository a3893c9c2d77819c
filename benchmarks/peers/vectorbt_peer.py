"""vectorbt on given signals: `Portfolio.from_signals` and five metrics. Runs in its own environment.

Does: one portfolio, all in, long, flat and short as told, filled at the next bar's open plus slippage, fees on both
sides; total return, Sharpe, maximal drawdown, win rate, profit factor. Does not: funding, stops, lots, any risk rule;
the signals are computed beforehand and not counted.

Run: python vectorbt_peer.py MARKET.npz REPEATS
"""

import json
import sys
import time

import numpy as np
import pandas as pd
import vectorbt as vbt


def main() -> None:
    """Time it and print one JSON object."""
    market, repeats = np.load(sys.argv[1]), int(sys.argv[2])
    index = pd.to_datetime(market["ts_open_ns"])
    close, fills_px = pd.Series(market["close_px"], index), pd.Series(market["open_px"], index)
    # Decided at a close, filled at the next open.
    target = pd.Series(np.append(0.0, market["targets"][:-1]), index)
    before = target.shift(fill_value=0.0)
    signals = {
        "entries": (target > 0) & (before <= 0),
        "exits": (target <= 0) & (before > 0),
        "short_entries": (target < 0) & (before >= 0),
        "short_exits": (target >= 0) & (before < 0),
    }
    costs = {"fees": float(market["fee_frac"]), "slippage": float(market["slippage_frac"])}
    seconds, metrics = [], {}
    for _ in range(repeats + 1):  # the first compiles
        start = time.perf_counter()
        portfolio = vbt.Portfolio.from_signals(
            close, **signals, **costs, price=fills_px, init_cash=float(market["cash_quote"]), freq="15min"
        )
        trades = portfolio.trades
        metrics = {
            "return_frac": float(portfolio.total_return()),
            "sharpe": float(portfolio.sharpe_ratio()),
            "drawdown_frac_max": float(-portfolio.max_drawdown()),
            "win_rate_frac": float(trades.win_rate()),
            "profit_factor": float(trades.profit_factor()),
        }
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"version": vbt.__version__, "seconds": seconds[1:], "trades": int(trades.count()), **metrics}))


if __name__ == "__main__":
    main()
