"""Hand-made replay results for the tests of metrics and reports: no replay, seeded numbers."""

import numpy as np

from market.reasons import Reason
from market.records import BAR_DTYPE, NS_PER_DAY, NS_PER_S
from sweeps.records import REASON_COUNT, TRADE_DTYPE, FloatArray, RecordArray, ReplayResult, Trade

TS_START_NS = 19_000 * NS_PER_DAY
INTERVAL_NS = 900 * NS_PER_S
EQUITY_START_QUOTE = 10_000.0


def make_bars(bars: int, seed: int = 1, ts_start_ns: int = TS_START_NS) -> RecordArray:
    """Return BAR_DTYPE[bars]: a random walk around 100 with honest ranges."""
    random = np.random.default_rng(seed)
    close_px = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.003, bars)))
    open_px = np.append(100.0, close_px)[:bars]
    out = np.zeros(bars, BAR_DTYPE)
    out["ts_open_ns"] = ts_start_ns + INTERVAL_NS * np.arange(bars)
    out["open_px"], out["close_px"] = open_px, close_px
    out["high_px"] = np.maximum(open_px, close_px) * 1.001
    out["low_px"] = np.minimum(open_px, close_px) * 0.999
    return out


def make_trades(bars: RecordArray, holding_bars: int = 20, pause_bars: int = 30) -> RecordArray:
    """Return TRADE_DTYPE[n] of one lot a trade, long and short in turn, filled at the opens."""
    rows = []
    for number, i_entry in enumerate(range(5, len(bars) - holding_bars, holding_bars + pause_bars)):
        i_exit, side = i_entry + holding_bars, 1 - 2 * (number % 2)
        entry_px, exit_px = bars["open_px"][i_entry], bars["open_px"][i_exit]
        fee_quote = 10.0 * (entry_px + exit_px) * 4e-4
        pnl_quote = side * 10.0 * (exit_px - entry_px) - fee_quote
        rows.append(
            Trade(
                slot=0,
                side=side,
                i_entry=i_entry,
                i_exit=i_exit,
                ts_entry_ns=bars["ts_open_ns"][i_entry],
                ts_exit_ns=bars["ts_open_ns"][i_exit],
                qty_lots=10,
                qty_base=10.0,
                entry_px=entry_px,
                exit_px=exit_px,
                pnl_quote=pnl_quote,
                fee_quote=fee_quote,
                funding_quote=0.0,
                exit_reason=Reason.STOP if pnl_quote < 0 else Reason.TAKE_PROFIT,
            )
        )
    return np.array(rows, TRADE_DTYPE)


def make_result(
    bars: RecordArray, trades: RecordArray, equity_quote: FloatArray | None = None, has_stops: bool = True
) -> ReplayResult:
    """Return a consistent result: equity from the trades (realized at their exit) unless given."""
    length = len(bars)
    position_lots, stops_px = np.zeros((1, length), np.int64), np.zeros((1, length))
    pnl_quote = np.zeros(length)
    for trade in trades:
        held = slice(trade["i_entry"], trade["i_exit"])
        position_lots[0, held] = trade["side"] * trade["qty_lots"]
        stops_px[0, held] = trade["entry_px"] * (1.0 - 0.02 * trade["side"])
        pnl_quote[trade["i_exit"]] += trade["pnl_quote"]
    denials = np.zeros(REASON_COUNT, np.int64)
    denials[[Reason.COOLDOWN, Reason.KELLY_TOO_LOW, Reason.REWARD_TO_RISK]] = 41, 7, 120
    return ReplayResult(
        instrument_ids=("BTC-PERP.ACME",),
        interval_ns=INTERVAL_NS,
        bars=bars[np.newaxis],
        equity_start_quote=EQUITY_START_QUOTE,
        equity_quote=EQUITY_START_QUOTE + np.cumsum(pnl_quote) if equity_quote is None else equity_quote,
        position_lots=position_lots,
        stops_px=stops_px if has_stops else None,
        trades=trades,
        denials=denials,
        fees_quote=float(trades["fee_quote"].sum()),
        funding_quote=float(trades["funding_quote"].sum()),
    )
