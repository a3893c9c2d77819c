"""Each sentence of `market.fills`, on a few bars worked out by hand, through the whole replay."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from market.catalog import MarketData, make_market
from market.events import FillKind
from market.fills import Costs
from market.instruments import find_instrument
from market.reasons import Reason
from market.records import BAR_DTYPE, NS_PER_S, Quality
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE, Limits, switch
from strategies.kernels.signals import SIGNALS_DEFAULT
from sweeps.records import ReplayResult
from sweeps.replay import replay
from sweeps.tape import TRACE_DECISION, TRACE_FILL, TRACE_FUNDING, TRACE_STOP_MOVE

INTERVAL_NS = 900 * NS_PER_S
TS_NS = 1_700_000_000_000_000_000 // INTERVAL_NS * INTERVAL_NS
CASH_QUOTE = 100_000.0
COSTS = Costs(fee_taker_bps=5.0, fee_maker_bps=2.0, slippage_bps=10.0)
WARM = 4  # quiet bars before the first signal: open and close 100, high 101, low 99, so ATR 2
STOPS_ONLY = switch(LIMITS_DEFAULT, False, "kelly", "reward_to_risk", "breaker", "hard_stop", "trailing", "daily_loss")
# Stop 3 ATRs away: 94 for a long from 100; target 2 ATRs away: 104.
PARAMS = SIGNALS_DEFAULT._replace(atr_bars=2, stop_atr=3.0, take_profit_atr=2.0)
ORDER, STOP, TAKE_PROFIT, LIQUIDATION = FillKind.ORDER, FillKind.STOP, FillKind.TAKE_PROFIT, FillKind.LIQUIDATION
TAKER_BUY, TAKER_SELL = 1.0 + 10.0 * 1e-4, 1.0 - 10.0 * 1e-4


@dataclass(frozen=True)
class B:
    """One bar; by default as quiet as the warm ones."""

    open_px: float = 100.0
    high_px: float = 101.0
    low_px: float = 99.0
    close_px: float = 100.0
    signal: float = float("nan")
    funding_open_rate: float = 0.0
    funding_inside_rate: float = 0.0
    quality: int = 0

    def mirror(self) -> "B":
        """The same bar upside down around 100, seen by the other side."""
        return replace(
            self,
            open_px=200.0 - self.open_px,
            high_px=200.0 - self.low_px,
            low_px=200.0 - self.high_px,
            close_px=200.0 - self.close_px,
            signal=-self.signal,
        )


LONG, QUIET, MISSING = B(signal=1.0), B(), B(high_px=100.0, low_px=100.0, quality=Quality.MISSING)


def make_bars(bars: list[B]) -> MarketData:
    """The warm bars, then these."""
    rows = np.zeros((1, WARM + len(bars)), BAR_DTYPE)
    rows["ts_open_ns"] = TS_NS + np.arange(rows.shape[1]) * INTERVAL_NS
    rows["funding_rate"] = rows["open_interest_base"] = np.nan
    for index, bar in enumerate([QUIET] * WARM + bars):
        for name, value in vars(bar).items():
            rows[name][0, index] = value
    return make_market([find_instrument("BTC-PERP.BINANCE")], rows, INTERVAL_NS)


def run(bars: list[B], limits: Limits = STOPS_ONLY, params: Any = PARAMS) -> tuple[ReplayResult, Any]:
    """The result, and the rows of its trace."""
    return replay(make_bars(bars), params, limits, COSTS, CASH_QUOTE, trace_rows_max=64)


def list_fills(trace: Any) -> list[tuple[int, FillKind, float]]:
    """(bar after the warm ones, kind, px) of every fill."""
    fills = trace[trace["kind"] == TRACE_FILL]
    bars = (fills["ts_ns"] - TS_NS) // INTERVAL_NS - WARM
    return [(int(bar), FillKind(int(row["reason"])), float(row["px"])) for bar, row in zip(bars, fills, strict=True)]


# A signal at the close of bar 0 fills at the open of bar 1; what follows is each case's own.
CASES: dict[str, tuple[list[B], list[tuple[int, FillKind, float]]]] = {
    "an order fills at the next open, worse by the slippage": (
        [LONG, B(open_px=100.5)],
        [(1, ORDER, 100.5 * TAKER_BUY)],
    ),
    "a stop fills at its trigger, worse by the slippage": (
        [LONG, QUIET, B(low_px=93.0)],
        [(1, ORDER, 100.0 * TAKER_BUY), (2, STOP, 94.0 * TAKER_SELL)],
    ),
    "a touch is enough for a stop": (
        [LONG, QUIET, B(low_px=94.0)],
        [(1, ORDER, 100.0 * TAKER_BUY), (2, STOP, 94.0 * TAKER_SELL)],
    ),
    "a miss by a little is not": ([LONG, QUIET, B(low_px=94.01)], [(1, ORDER, 100.0 * TAKER_BUY)]),
    "a bar that gaps through a stop fills it at the open": (
        [LONG, QUIET, B(open_px=90.0, low_px=89.0)],
        [(1, ORDER, 100.0 * TAKER_BUY), (2, STOP, 90.0 * TAKER_SELL)],
    ),
    "a stop is tested from the bar of the entry on": (
        [LONG, B(low_px=94.0)],
        [(1, ORDER, 100.0 * TAKER_BUY), (1, STOP, 94.0 * TAKER_SELL)],
    ),
    "a take-profit fills at its price": (
        [LONG, QUIET, B(high_px=104.0)],
        [(1, ORDER, 100.0 * TAKER_BUY), (2, TAKE_PROFIT, 104.0)],
    ),
    "a bar that gaps through a take-profit fills it at the open": (
        [LONG, QUIET, B(open_px=106.0, high_px=107.0)],
        [(1, ORDER, 100.0 * TAKER_BUY), (2, TAKE_PROFIT, 106.0)],
    ),
    "a bar that touches both takes the stop": (
        [LONG, QUIET, B(high_px=110.0, low_px=90.0)],
        [(1, ORDER, 100.0 * TAKER_BUY), (2, STOP, 94.0 * TAKER_SELL)],
    ),
    "a missing bar fills nothing": (
        [LONG, MISSING, MISSING, B(open_px=101.0)],
        [(3, ORDER, 101.0 * TAKER_BUY)],
    ),
    "a missing bar triggers nothing": (
        [LONG, QUIET, replace(MISSING, low_px=90.0), QUIET],
        [(1, ORDER, 100.0 * TAKER_BUY)],
    ),
    "a reversal reduces first, then enters": (
        [LONG, QUIET, B(signal=-1.0), QUIET],
        [(1, ORDER, 100.0 * TAKER_BUY), (3, ORDER, 100.0 * TAKER_SELL), (3, ORDER, 100.0 * TAKER_SELL)],
    ),
    "no order fills on the last close": ([QUIET, LONG], []),
}


@pytest.mark.parametrize("case", CASES)
def test_a_long_position(case: str) -> None:
    bars, expected = CASES[case]
    assert list_fills(run(bars)[1]) == expected


@pytest.mark.parametrize("case", CASES)
def test_a_short_position_is_its_mirror(case: str) -> None:
    bars, expected = CASES[case]
    fills = list_fills(run([bar.mirror() for bar in bars])[1])
    assert [fill[:2] for fill in fills] == [fill[:2] for fill in expected]
    for (_, _, px), (_, _, long_px) in zip(fills, expected, strict=True):
        assert px == pytest.approx(200.0 - long_px, abs=0.02)  # slippage is a share of the price, so nearly a mirror


def test_fees_are_the_takers_or_the_makers() -> None:
    result, trace = run([LONG, QUIET, B(high_px=104.0)])
    entry, exit_fill = trace[trace["kind"] == TRACE_FILL]
    assert entry["amount"] == pytest.approx(entry["qty_lots"] * 0.001 * entry["px"] * 5e-4)
    assert exit_fill["amount"] == pytest.approx(-exit_fill["qty_lots"] * 0.001 * 104.0 * 2e-4)
    assert result.fees_quote == pytest.approx(entry["amount"] + exit_fill["amount"])
    gain_quote = entry["qty_lots"] * 0.001 * (104.0 - entry["px"])
    assert result.trades["pnl_quote"][0] == pytest.approx(gain_quote - result.fees_quote)
    assert result.equity_quote[-1] == pytest.approx(CASH_QUOTE + result.trades["pnl_quote"][0])
    assert result.trades["exit_reason"].tolist() == [Reason.TAKE_PROFIT]


@pytest.mark.parametrize("side", [1, -1])
def test_funding_is_paid_on_the_position_before_or_after_the_fills(side: int) -> None:
    paid = B(open_px=101.0, high_px=102.0, close_px=101.0, funding_open_rate=1e-3, funding_inside_rate=1e-4)
    bars = [B(signal=float(side)), paid, paid, B(signal=0.0), paid]
    result, trace = run(bars, LIMITS_NONE)
    rows = trace[trace["kind"] == TRACE_FUNDING]
    lots = int(trace["qty_lots"][trace["kind"] == TRACE_FILL][0])
    # Bar 1: flat at its opening instant, in position inside. Bar 2: both. Bar 4: closed at its open, so only the first.
    assert ((rows["ts_ns"] - TS_NS) // INTERVAL_NS - WARM).tolist() == [1, 2, 2, 4]
    notional_quote = lots * 0.001 * 101.0
    assert rows["amount"] == pytest.approx([-notional_quote * rate for rate in (1e-4, 1e-3, 1e-4, 1e-3)])
    assert (rows["amount"] * side < 0.0).all()  # positive rate: longs pay
    assert result.funding_quote == pytest.approx(rows["amount"].sum())


def test_an_account_below_its_margin_is_liquidated_at_the_close() -> None:
    params = PARAMS._replace(size_frac=10.0)
    result, trace = run([LONG, QUIET, B(low_px=90.0, close_px=90.5), QUIET], LIMITS_NONE, params)
    # Bar 2 closes at the instant at which bar 3 opens.
    assert list_fills(trace) == [(1, ORDER, 100.0 * TAKER_BUY), (3, LIQUIDATION, 90.5 * TAKER_SELL)]
    assert result.trades["exit_reason"].tolist() == [Reason.LIQUIDATION]
    assert result.position_lots[0].tolist() == [0] * (WARM + 1) + [10_000_000, 0, 0]
    assert result.equity_quote[-2] == result.equity_quote[-1]


def test_the_stop_is_that_of_the_decision_and_rests_until_the_exit() -> None:
    result, trace = run([LONG, B(open_px=102.0, high_px=103.0), QUIET, B(signal=0.0), QUIET])
    decision = trace[trace["kind"] == TRACE_DECISION][0]
    assert (decision["px"], decision["amount"]) == (94.0, 104.0)
    assert result.stops_px is not None
    assert result.stops_px[0].tolist() == [0.0] * (WARM + 1) + [94.0, 94.0, 94.0, 0.0]


def test_a_trailing_stop_moved_at_a_close_counts_from_the_next_bar() -> None:
    limits = STOPS_ONLY._replace(trailing=LIMITS_DEFAULT.trailing)  # armed at +0.5 %, 2 % behind the best px
    rise = B(open_px=102.0, high_px=103.0, low_px=99.0, close_px=102.0)  # its low is below the stop it leads to
    _, trace = run([LONG, QUIET, rise, B(open_px=102.0, high_px=102.0, low_px=100.5)], limits)
    moves = trace[trace["kind"] == TRACE_STOP_MOVE]
    assert moves["px"].tolist() == [101.0 * (1.0 - 0.02), 103.0 * (1.0 - 0.02)]
    assert list_fills(trace)[1:] == [(3, STOP, 103.0 * (1.0 - 0.02) * TAKER_SELL)]


def test_a_position_open_at_the_end_is_a_trade_at_the_last_close_without_a_fill() -> None:
    result, trace = run([LONG, QUIET, B(high_px=103.0, close_px=102.0)])
    assert len(list_fills(trace)) == 1
    assert result.trades["exit_reason"].tolist() == [Reason.END_OF_DATA]
    assert result.trades["exit_px"].tolist() == [102.0]
    assert result.equity_quote[-1] == pytest.approx(CASH_QUOTE + result.trades["pnl_quote"][0])


def test_orders_during_a_pending_leg_are_denied() -> None:
    result, _ = run([LONG, replace(MISSING, signal=-1.0), QUIET])
    assert result.denials[Reason.ORDER_IN_FLIGHT] == 1
