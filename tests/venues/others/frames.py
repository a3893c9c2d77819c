"""What the simulators say over their sockets: real frames of theirs, to mutate and to measure decoders with."""

import json

from websockets.sync.client import connect

from tests.venues.others.serving import Served

_RECEIVE_S = 60.0


def record(uri: str, subscriptions: list[dict[str, object]], count: int) -> list[bytes]:
    """Subscribe over one connection and return the next frames."""
    frames: list[bytes] = []
    with connect(uri, open_timeout=_RECEIVE_S, close_timeout=5.0) as socket:
        for subscription in subscriptions:
            socket.send(json.dumps(subscription))
        while len(frames) < count:
            told = socket.recv(timeout=_RECEIVE_S)
            frames.append(told.encode() if isinstance(told, str) else told)
    return frames


def record_hyperliquid(served: Served, address: str, count: int) -> list[bytes]:
    """Return frames of every kind of feed."""
    kinds: list[dict[str, object]] = [{"type": kind, "coin": "BTC"} for kind in ("l2Book", "bbo", "trades")]
    kinds += [{"type": "candle", "coin": "BTC", "interval": "1m"}, {"type": "allMids"}]
    kinds += [{"type": "activeAssetCtx", "coin": "BTC"}]
    kinds += [{"type": kind, "user": address} for kind in ("userFills", "orderUpdates", "userEvents", "userFundings")]
    subscriptions: list[dict[str, object]] = [{"method": "subscribe", "subscription": kind} for kind in kinds]
    return record(served.addresses["ws"], subscriptions, count)


def record_dydx(served: Served, address: str, count: int) -> list[bytes]:
    """Return frames of every channel."""
    names = {
        "v4_orderbook": "BTC-USD",
        "v4_trades": "BTC-USD",
        "v4_candles": "BTC-USD/1MIN",
        "v4_subaccounts": f"{address}/0",
    }
    subscriptions: list[dict[str, object]] = [
        {"type": "subscribe", "channel": channel, "id": name} for channel, name in names.items()
    ]
    subscriptions += [{"type": "subscribe", "channel": channel} for channel in ("v4_markets", "v4_block_height")]
    return record(served.addresses["ws"], subscriptions, count)


def record_binance(served: Served, count: int) -> list[bytes]:
    """Return frames of the book's and the market's streams, half each."""
    public = "btcusdt@depth@100ms/btcusdt@bookTicker/btcusdt@trade"
    market = "btcusdt@aggTrade/btcusdt@markPrice@1s/btcusdt@kline_1m"
    base = served.addresses["ws"]
    frames = record(f"{base}/public/stream?streams={public}", [], count // 2)
    return frames + record(f"{base}/market/stream?streams={market}", [], count - count // 2)
