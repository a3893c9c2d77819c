"""Binance's own futures connector, unmodified, reads a market: prints one JSON object of what it was told.

Runs in `.venv-others`: binance_with_connector.py HTTP WS SECONDS_MAX.
"""

import json
import sys
import threading
import time

from binance.um_futures import UMFutures
from binance.websocket.um_futures.websocket_client import UMFuturesWebsocketClient

SYMBOL = "BTCUSDT"
WANTED = {
    "depthUpdate": 12,
    "bookTicker": 5,
    "aggTrade": 5,
    "markPriceUpdate": 2,
    "kline": 2,
    "24hrTicker": 1,
    "24hrMiniTicker": 1,
    "continuous_kline": 1,
}


def main():
    """Listen until enough of everything was heard, asking REST in between."""
    http, ws, seconds_max = sys.argv[1], sys.argv[2], float(sys.argv[3])
    heard, lock = {kind: [] for kind in WANTED}, threading.Lock()

    def note(_, text):
        told = json.loads(text)
        with lock:
            heard.get(told.get("e"), []).append(told)

    clients = [UMFuturesWebsocketClient(stream_url=f"{ws}/{path}", on_message=note) for path in ("public", "market")]
    clients[0].diff_book_depth(symbol=SYMBOL, speed=100)
    clients[0].book_ticker(symbol=SYMBOL)
    clients[1].agg_trade(symbol=SYMBOL)
    clients[1].mark_price(symbol=SYMBOL, speed=1)
    clients[1].kline(symbol=SYMBOL, interval="1m")
    clients[1].ticker(symbol=SYMBOL)
    clients[1].mini_ticker(symbol=SYMBOL)
    clients[1].continuous_kline(pair=SYMBOL, contractType="perpetual", interval="1m")
    rest, until = UMFutures(key="k" * 64, base_url=http, timeout=30), time.monotonic() + seconds_max
    while not heard["depthUpdate"] and time.monotonic() < until:
        time.sleep(0.05)
    snapshot = rest.depth(SYMBOL, limit=1000)
    while any(len(heard[kind]) < count for kind, count in WANTED.items()) and time.monotonic() < until:
        time.sleep(0.05)
    answers = {
        "snapshot": snapshot,
        "time": rest.time(),
        "exchange_info": [row["symbol"] for row in rest.exchange_info()["symbols"]],
        "klines": rest.klines(SYMBOL, "1m", limit=5),
        "agg_trades": rest.agg_trades(SYMBOL, limit=20),
        "mark_price": rest.mark_price(SYMBOL),
        "funding_rate": rest.funding_rate(SYMBOL),
        "open_interest": rest.open_interest(SYMBOL),
        "open_interest_hist": rest.open_interest_hist(SYMBOL, "5m"),
        "ping": rest.ping(),
        "trades": rest.trades(SYMBOL, limit=20),
        "historical_trades": rest.historical_trades(SYMBOL, limit=20),
        "continuous_klines": rest.continuous_klines(SYMBOL, "PERPETUAL", "1m", limit=5),
        "index_price_klines": rest.index_price_klines(SYMBOL, "1m", limit=5),
        "mark_price_klines": rest.mark_price_klines(SYMBOL, "1m", limit=5),
        "ticker": rest.ticker_24hr_price_change(SYMBOL),
        "ticker_price": rest.ticker_price(SYMBOL),
        "book_ticker": rest.book_ticker(SYMBOL),
        "taker_ratio": rest.taker_long_short_ratio(SYMBOL, "5m"),
        "account_ratio": rest.long_short_account_ratio(SYMBOL, "5m"),
        "constituents": rest.index_price_constituents(SYMBOL),
    }
    for client in clients:
        client.stop()
    with lock:
        sys.stdout.write(json.dumps({**answers, "heard": heard}) + "\n")


main()
