"""Two engines that share nothing with ours, to hold a `signals` replay against: backtesting.py, and one in pandas.

The pandas engine keeps cash flows (money paid for contracts, money got back) where ours keeps an average entry price,
and steps from one change of target to the next where ours steps from bar to bar.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from backtesting import Backtest, Strategy

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rules:
    """What both engines need to know; rates are fractions of notional."""

    lot_base: float
    cash_quote: float
    fee_frac: float
    slippage_frac: float


@dataclass
class Followed:
    """What an engine made of the targets. Trades run from flat to flat."""

    equity_quote: FloatArray
    position_lots: npt.NDArray[np.int64]
    trades: list[dict[str, float]] = field(default_factory=list)


def find_changes(targets: FloatArray) -> list[tuple[int, float]]:
    """Return (bar, target) where the target in force changes; NaN: it stays, 0.0 before the first."""
    changes, now = [], 0.0
    for bar in np.flatnonzero(~np.isnan(targets)):
        if targets[bar] != now:
            now = float(targets[bar])
            changes.append((int(bar), now))
    return changes


def follow_in_pandas(bars: pd.DataFrame, targets: FloatArray, funding: FloatArray, rules: Rules) -> Followed:
    """Follow the targets: decided at a close, filled at the next open; `funding` is the rate settled at each open."""
    opens, closes = bars["open"].to_numpy(), bars["close"].to_numpy()
    length, lot = len(bars), rules.lot_base
    lots, flows, paid_funding = np.zeros(length), np.zeros(length), np.zeros(length)
    fills: list[tuple[int, float, float, float]] = []  # bar, signed lots, px, fee
    funding_per_lot = -lot * opens * funding
    held, filled, cash = 0.0, 0, rules.cash_quote
    for bar, target in [*find_changes(targets), (length - 1, np.nan)]:
        last = min(bar + 1, length - 1)
        # What is held over (filled, last] pays the funding of those opens, that of the next fill included.
        paid_funding[filled + 1 : last + 1] = held * funding_per_lot[filled + 1 : last + 1]
        lots[filled:last] = held
        equity = cash + paid_funding[filled + 1 : bar + 1].sum() + held * lot * closes[bar]
        cash += paid_funding[filled + 1 : last + 1].sum()
        if np.isnan(target) or bar == length - 1:
            lots[filled:] = held
            break
        wanted = np.sign(target) * np.floor(abs(target) * equity / closes[bar] / lot + 1e-9)
        steps = [wanted - held] if held * wanted > 0 else [-held, wanted]
        for step in steps:
            if step != 0.0:
                px = opens[last] * (1.0 + np.sign(step) * rules.slippage_frac)
                fee = abs(step) * lot * px * rules.fee_frac
                fills.append((last, step, px, fee))
                flows[last] -= step * lot * px + fee
                cash -= step * lot * px + fee
        held, filled = wanted, last
    equity_quote = rules.cash_quote + np.cumsum(flows + paid_funding) + lots * lot * closes
    followed = Followed(equity_quote, lots.astype(np.int64))
    followed.trades = _group_trades(fills, paid_funding, closes, rules)
    return followed


def _group_trades(
    fills: list[tuple[int, float, float, float]], paid_funding: FloatArray, closes: FloatArray, rules: Rules
) -> list[dict[str, float]]:
    trades: list[dict[str, float]] = []
    own: list[tuple[int, float, float, float]] = []
    held = 0.0
    is_open_at_end = sum(fill[1] for fill in fills) != 0.0
    end = [(len(closes) - 1, -sum(fill[1] for fill in fills), closes[-1], 0.0)] if is_open_at_end else []
    for fill in [*fills, *end]:
        own.append(fill)
        held += fill[1]
        if held == 0.0:
            frame = pd.DataFrame(own, columns=["bar", "lots", "px", "fee"])
            side = np.sign(frame["lots"].iloc[0])
            entry, leave = frame[frame["lots"] * side > 0], frame[frame["lots"] * side < 0]
            first, last = int(frame["bar"].iloc[0]), int(frame["bar"].iloc[-1])
            funding = float(paid_funding[first + 1 : last + 1].sum())
            trades.append(
                {
                    "i_entry": first,
                    "i_exit": last,
                    "side": side,
                    "qty_base": abs(frame["lots"].cumsum()).max() * rules.lot_base,
                    "entry_px": np.average(entry["px"], weights=entry["lots"]),
                    "exit_px": np.average(leave["px"], weights=leave["lots"]),
                    "fee_quote": frame["fee"].sum(),
                    "funding_quote": funding,
                    "pnl_quote": -(frame["lots"] * frame["px"]).sum() * rules.lot_base - frame["fee"].sum() + funding,
                }
            )
            own = []
    return trades


def follow_in_backtesting_py(bars: pd.DataFrame, targets: FloatArray, rules: Rules) -> Followed:
    """Follow targets that go long, flat and short (never from one size to another) in backtesting.py.

    It counts in whole units, so one unit is one lot. It takes its spread at entries only, so slippage is passed as
    commission, which with fees at zero costs the same: |lots| x open x rate on both sides.
    """
    assert rules.fee_frac == 0.0 or rules.slippage_frac == 0.0
    data = bars[["open", "high", "low", "close"]].mul(rules.lot_base).rename(columns=str.capitalize)
    data.index = pd.to_datetime(bars["ts"].to_numpy(), unit="ms")
    changes = dict(find_changes(targets))

    class Follow(Strategy):
        def init(self) -> None:
            pass

        def next(self) -> None:
            target = changes.get(len(self.data) - 1)
            if target is None:
                return
            if target == 0.0:
                self.position.close()
                return
            size = int(abs(target) * self.equity / self.data.Close[-1] + 1e-9)
            (self.buy if target > 0.0 else self.sell)(size=size)

    stats = Backtest(
        data,
        Follow,
        cash=rules.cash_quote,
        commission=rules.fee_frac + rules.slippage_frac,
        margin=0.05,
        trade_on_close=False,
        exclusive_orders=True,
    ).run()
    table = stats["_trades"].sort_values("EntryBar")
    lots = np.zeros(len(bars), np.int64)
    followed = Followed(stats["_equity_curve"]["Equity"].to_numpy(), lots)
    for row in table.itertuples():
        lots[row.EntryBar : row.ExitBar] = row.Size
        followed.trades.append(
            {
                "i_entry": row.EntryBar,
                "i_exit": row.ExitBar,
                "side": np.sign(row.Size),
                "qty_base": abs(row.Size) * rules.lot_base,
                "entry_px": row.EntryPrice / rules.lot_base * (1.0 + np.sign(row.Size) * rules.slippage_frac),
                "exit_px": row.ExitPrice / rules.lot_base * (1.0 - np.sign(row.Size) * rules.slippage_frac),
                "pnl_quote": row.PnL,
            }
        )
    return followed
