"""The JSON object of `trireme backtest --json`: exact keys, and never a NaN."""

import doctest
import json
from dataclasses import replace

import numpy as np

import sweeps.export
import sweeps.metrics
from market.reasons import Reason
from sweeps.export import backtest_json, trades_json
from sweeps.metrics import compute_metrics
from sweeps.records import TRADE_DTYPE
from tests.unit.sweeps.results import make_bars, make_result, make_trades

METRICS = [
    *("trades", "win_rate_frac", "sharpe", "return_frac", "drawdown_frac_max", "profit_factor"),
    *("fees_quote", "funding_quote", "equity_last_quote"),
]
TRADE = [
    *("ts_entry_ms", "ts_exit_ms", "side", "qty", "entry_px", "exit_px", "pnl_quote", "fee_quote"),
    *("funding_quote", "exit_reason"),
]


def test_the_object_has_exactly_the_documented_keys() -> None:
    bars = make_bars(300)
    result = make_result(bars, make_trades(bars))
    text = json.dumps(backtest_json(result, compute_metrics(result), "ab12"), allow_nan=False)
    document = json.loads(text)
    assert list(document) == ["metrics", "trades", "denials", "data"]
    assert list(document["metrics"]) == METRICS
    assert all(list(trade) == TRADE for trade in document["trades"])
    assert document["denials"] == {"REWARD_TO_RISK": 120, "COOLDOWN": 41, "KELLY_TOO_LOW": 7}
    assert document["data"] == {
        "instrument_id": "BTC-PERP.ACME",
        "ts_first_ms": 19_000 * 86_400_000,
        "ts_last_ms": 19_000 * 86_400_000 + 299 * 900_000,
        "bars": 300,
        "sha256": "ab12",
    }
    first, row = document["trades"][0], result.trades[0]
    assert (first["side"], first["qty"], first["exit_reason"]) == ("long", 10.0, Reason(row["exit_reason"]).name)
    assert document["trades"][1]["side"] == "short"
    assert first["pnl_quote"] == row["pnl_quote"]
    assert first["ts_entry_ms"] * 1_000_000 == row["ts_entry_ns"]


def test_without_trades_nothing_is_nan() -> None:
    result = make_result(make_bars(10), np.zeros(0, TRADE_DTYPE))
    document = backtest_json(result, compute_metrics(result), "")
    assert json.dumps(document, allow_nan=False)
    assert document["metrics"]["profit_factor"] is None
    assert document["metrics"]["trades"] == 0
    assert document["trades"] == []


def test_trades_of_several_instruments_name_their_own() -> None:
    bars = make_bars(300)
    result = replace(make_result(bars, make_trades(bars)), instrument_ids=("BTC-PERP.ACME", "ETH-PERP.ACME"))
    assert trades_json(result)[0]["instrument_id"] == "BTC-PERP.ACME"


def test_examples_in_docstrings() -> None:
    for module in (sweeps.metrics, sweeps.export):
        tested = doctest.testmod(module)
        assert tested.attempted > 0
        assert tested.failed == 0
