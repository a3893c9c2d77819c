"""One replay as the JSON object that `trireme backtest --json` prints (DESIGN.md section 11)."""

import math
from typing import Any

import numpy as np

from market.reasons import Reason
from market.records import NS_PER_MS, Side
from sweeps.metrics import Metrics
from sweeps.records import IntArray, ReplayResult


def metrics_json(metrics: Metrics) -> dict[str, Any]:
    """Return the metrics as JSON values: what is not finite (a profit factor without losses) becomes None."""
    return {name: value if math.isfinite(value) else None for name, value in metrics._asdict().items()}


def trades_json(result: ReplayResult) -> list[dict[str, Any]]:
    """Return the closed trades in order of exit; with several instruments each trade also names its own."""
    is_several = len(set(result.instrument_ids)) > 1
    return [
        ({"instrument_id": result.instrument_ids[row["slot"]]} if is_several else {})
        | {
            "ts_entry_ms": int(row["ts_entry_ns"]) // NS_PER_MS,
            "ts_exit_ms": int(row["ts_exit_ns"]) // NS_PER_MS,
            "side": "long" if row["side"] == Side.BUY else "short",
            "qty": float(row["qty_base"]),
            "entry_px": float(row["entry_px"]),
            "exit_px": float(row["exit_px"]),
            "pnl_quote": float(row["pnl_quote"]),
            "fee_quote": float(row["fee_quote"]),
            "funding_quote": float(row["funding_quote"]),
            "exit_reason": Reason(row["exit_reason"]).name,
        }
        for row in result.trades
    ]


def denials_json(denials: IntArray) -> dict[str, int]:
    """Return {Reason name: count} of the reasons that occurred, most frequent first.

    >>> denials_json(np.bincount([Reason.COOLDOWN, Reason.NO_STOP, Reason.COOLDOWN]))
    {'COOLDOWN': 2, 'NO_STOP': 1}
    """
    order = np.argsort(-denials, kind="stable")
    return {Reason(int(reason)).name: int(denials[reason]) for reason in order if denials[reason] > 0}


def backtest_json(result: ReplayResult, metrics: Metrics, sha256: str) -> dict[str, Any]:
    """Return the whole object; `sha256` is that of the catalog data replayed, times are bar opens [UTC ms]."""
    ts_open_ns = result.bars[0]["ts_open_ns"]
    return {
        "metrics": metrics_json(metrics),
        "trades": trades_json(result),
        "denials": denials_json(result.denials),
        "data": {
            "instrument_id": ",".join(dict.fromkeys(result.instrument_ids)),
            "ts_first_ms": int(ts_open_ns[0]) // NS_PER_MS,
            "ts_last_ms": int(ts_open_ns[-1]) // NS_PER_MS,
            "bars": int(ts_open_ns.shape[0]),
            "sha256": sha256,
        },
    }
