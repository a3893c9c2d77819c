"""vectorbt on the given signals of many configurations at once: one column each. Runs in its own environment.

Does and does not do what `vectorbt_peer.py` does, as vectorbt is meant to be used for a grid: one call for all columns.

Run: python vectorbt_grid_peer.py MARKET.npz REPEATS
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
    targets = market["targets"]
    # Decided at a close, filled at the next open.
    target = pd.DataFrame(np.vstack([np.zeros((1, targets.shape[1])), targets[:-1]]), index)
    before = target.shift(fill_value=0.0)
    signals = {
        "entries": (target > 0) & (before <= 0),
        "exits": (target <= 0) & (before > 0),
        "short_entries": (target < 0) & (before >= 0),
        "short_exits": (target >= 0) & (before < 0),
    }
    costs = {"fees": float(market["fee_frac"]), "slippage": float(market["slippage_frac"])}
    seconds = []
    for _ in range(repeats + 1):  # the first compiles
        start = time.perf_counter()
        portfolio = vbt.Portfolio.from_signals(
            close, **signals, **costs, price=fills_px, init_cash=float(market["cash_quote"]), freq="15min"
        )
        trades = portfolio.trades
        portfolio.total_return(), portfolio.sharpe_ratio(), portfolio.max_drawdown()
        trades.win_rate(), trades.profit_factor()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"version": vbt.__version__, "seconds": seconds[1:], "configs": targets.shape[1]}))


if __name__ == "__main__":
    main()
