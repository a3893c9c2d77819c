"""Binance's own connector reads the simulator, and the book it could keep is the exchange's."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.venues.others.other_client import PYTHON, needs_others
from tests.venues.others.serving import make_binance, serve

pytestmark = [needs_others, pytest.mark.timeout(240)]

BTC_ID = "BTC-PERP.BINANCE"
SCRIPT = Path(__file__).with_name("binance_with_connector.py")


def follow(snapshot: dict[str, Any], diffs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the books after each diff, kept as Binance's manual says."""
    sides = {"bids": dict(snapshot["bids"]), "asks": dict(snapshot["asks"])}
    books, last_id = [], int(snapshot["lastUpdateId"])
    for diff in diffs:
        if diff["u"] < snapshot["lastUpdateId"]:
            continue
        assert diff["pu"] == last_id or diff["U"] <= last_id <= diff["u"]
        last_id = diff["u"]
        for side, key in (("bids", "b"), ("asks", "a")):
            for px, qty in diff[key]:
                sides[side].pop(px, None)
                if float(qty) > 0.0:
                    sides[side][px] = qty
        books.append(
            {
                side: sorted(((float(px), float(qty)) for px, qty in levels.items()), reverse=side == "bids")
                for side, levels in sides.items()
            }
        )
    return books


def test_it_reads_what_the_market_did() -> None:
    with serve(make_binance()) as served:
        command = [str(PYTHON), str(SCRIPT), served.addresses["http"], served.addresses["ws"], "120"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        told = json.loads(done.stdout)
        books = follow(told["snapshot"], told["heard"]["depthUpdate"])
        assert len(books) >= 5
        for book in books:
            assert served.has_had_book(BTC_ID, book), book
        made = {(one.px, one.qty_lots) for one in served.call(served.market.list_trades, BTC_ID, 1000)}
        trades = [(float(row["p"]), round(float(row["q"]) * 1000)) for row in told["heard"]["aggTrade"]]
        assert len(trades) >= 5
        assert {px for px, _ in trades} <= {px for px, _ in made}
        assert all(told["heard"].values()), {kind: len(frames) for kind, frames in told["heard"].items()}
        asked = ("trades", "historical_trades", "continuous_klines", "index_price_klines", "mark_price_klines")
        assert all(told[name] for name in asked)
        assert (told["ping"], told["account_ratio"]) == ({}, [])
        assert told["ticker"]["symbol"] == told["ticker_price"]["symbol"] == told["constituents"]["symbol"] == "BTCUSDT"
        assert float(told["book_ticker"]["bidPrice"]) < float(told["book_ticker"]["askPrice"])
        assert told["exchange_info"] == ["BTCUSDT", "ETHUSDT"]
        assert told["klines"]
        assert told["agg_trades"]
        assert told["mark_price"]["symbol"] == told["open_interest"]["symbol"] == "BTCUSDT"
        assert abs(told["time"]["serverTime"] - served.simulator.world.now_ns() // 10**6) < 200_000
