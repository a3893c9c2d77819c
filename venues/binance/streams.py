"""Where Binance's streams live and how they are asked for: paths, stream names, control frames, their replies.

Both directions: a client builds targets (`make_target`), a simulator reads them (`parse_target`); frames are in
`control`. The trap this file exists for: since 2026-04-23 a USD-M stream asked for on the wrong path, or on the
unrouted legacy one, is acknowledged and then silent for ever. `find_delivery` says so as a value.
Does not model: SBE streams, `timeUnit=MICROSECOND`, COIN-M, user data (a private path connects and is silent).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

USDM_WS_URL = "wss://fstream.binance.com"
SPOT_WS_URL = "wss://stream.binance.com:9443"
SPOT_DATA_WS_URL = "wss://data-stream.binance.vision"

INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
SPOT_INTERVALS = ("1s", *INTERVALS)
STREAMS_MAX = 1024  # per connection; some pages of the manual say 200


class Market(StrEnum):
    """Which of the venue's markets: each has hosts, fields and limits of its own."""

    USDM = "usdm"
    SPOT = "spot"


class Route(StrEnum):
    """The first part of a USD-M socket path; spot has only `UNROUTED`."""

    PUBLIC = "public"  # the book: depth, bookTicker, and trade
    MARKET = "market"  # everything else that is public
    PRIVATE = "private"  # user data
    UNROUTED = ""  # legacy: behaves as PUBLIC


class Channel(StrEnum):
    """The kinds of stream this package encodes and decodes, and `OTHER`."""

    AGG_TRADE = "aggTrade"
    TRADE = "trade"
    DEPTH = "depth"
    PARTIAL_DEPTH = "partial_depth"
    BOOK_TICKER = "bookTicker"
    MARK_PRICE = "markPrice"
    KLINE = "kline"
    CONTINUOUS_KLINE = "continuousKline"
    TICKER = "ticker"  # of a day, or on spot of a window
    MINI_TICKER = "miniTicker"
    AVERAGE_PX = "avgPrice"  # spot
    FORCE_ORDER = "forceOrder"
    SERVER_SHUTDOWN = "serverShutdown"
    OTHER = "other"  # a name the venue has or may have: contractInfo, assetIndex, ...


class Delivery(StrEnum):
    """What a subscription that was acknowledged will bring."""

    FLOWS = "flows"
    WRONG_PATH = "acknowledged, then silent: the stream belongs to another path"
    UNKNOWN_NAME = "acknowledged, then silent: no such stream (names are lower-case before the @)"


@dataclass(frozen=True, slots=True)
class StreamName:
    """A parsed stream name. `symbol` lower-case, "" for all symbols; `speed_ms` -1: the channel's default."""

    text: str
    channel: Channel
    symbol: str
    speed_ms: int = -1
    levels: int = 0  # partial depth only
    interval: str = ""  # klines only
    is_array: bool = False
    kind: str = ""  # tickers: the word before any @, such as "ticker_1h"; continuous klines: the contract type


@dataclass(frozen=True, slots=True)
class Target:
    """A socket path that the venue accepts, and the streams it names."""

    route: Route
    is_combined: bool
    streams: tuple[str, ...] = ()
    listen_key: str = ""
    connection: str = ""  # ccxt's /ws/<n>: a number where a stream would be, no stream


@dataclass(frozen=True, slots=True)
class TargetRefusal:
    """A socket path that the venue does not serve: the HTTP status of the refused upgrade."""

    status: int
    detail: str


_SYMBOL = re.compile(r"[a-z0-9_一-鿿]{1,40}")
_SPEEDS_MS = {
    (Market.USDM, Channel.DEPTH): (0, 100, 250, 500),
    (Market.USDM, Channel.PARTIAL_DEPTH): (0, 100, 250, 500),
    (Market.SPOT, Channel.DEPTH): (100, 1000),
    (Market.SPOT, Channel.PARTIAL_DEPTH): (100, 1000),
}
DEFAULT_SPEED_MS = {
    (Market.USDM, Channel.DEPTH): 250,
    (Market.USDM, Channel.PARTIAL_DEPTH): 250,
    (Market.USDM, Channel.MARK_PRICE): 3000,
    (Market.USDM, Channel.KLINE): 250,
    (Market.USDM, Channel.AGG_TRADE): 100,
    (Market.USDM, Channel.FORCE_ORDER): 1000,
    (Market.USDM, Channel.CONTINUOUS_KLINE): 250,
    (Market.USDM, Channel.TICKER): 2000,
    (Market.USDM, Channel.MINI_TICKER): 2000,
    (Market.SPOT, Channel.TICKER): 1000,
    (Market.SPOT, Channel.MINI_TICKER): 1000,
    (Market.SPOT, Channel.AVERAGE_PX): 1000,
    (Market.SPOT, Channel.DEPTH): 1000,
    (Market.SPOT, Channel.PARTIAL_DEPTH): 1000,
    (Market.SPOT, Channel.KLINE): 2000,
}
_PLAIN = {
    Market.USDM: {"aggTrade", "trade", "bookTicker", "forceOrder"},
    Market.SPOT: {"aggTrade", "trade", "bookTicker"},
}
_TICKERS = {
    Market.USDM: {"ticker": Channel.TICKER, "miniTicker": Channel.MINI_TICKER},
    Market.SPOT: {
        **dict.fromkeys(("ticker", "ticker_1h", "ticker_4h", "ticker_1d"), Channel.TICKER),
        "miniTicker": Channel.MINI_TICKER,
        "avgPrice": Channel.AVERAGE_PX,
    },
}
_CONTRACT_TYPES = ("perpetual", "current_quarter", "next_quarter", "tradifi_perpetual")
_OTHERS = {  # known to the venue, unknown to this package -> the USD-M path they belong to
    "compositeIndex": Route.MARKET,
    "indexPrice": Route.MARKET,
    "contractInfo": Route.MARKET,
    "assetIndex": Route.MARKET,
    "tradingSession": Route.MARKET,
}
_PUBLIC_CHANNELS = frozenset({Channel.DEPTH, Channel.PARTIAL_DEPTH, Channel.BOOK_TICKER, Channel.TRADE})


@lru_cache(maxsize=8192)
def parse_stream(market: Market, text: str) -> StreamName | None:
    """Return what a stream name asks for; None if the venue has no such stream (it acknowledges it all the same).

    >>> parse_stream(Market.USDM, "btcusdt@depth20@500ms").levels, parse_stream(Market.USDM, "BTCUSDT@aggTrade")
    (20, None)
    """
    if text.startswith("!") or text == "tradingSession":
        return _parse_all_symbols(market, text)
    symbol, _, rest = text.partition("@")
    name, _, speed = rest.partition("@")
    if not _SYMBOL.fullmatch(symbol):
        return None
    if name in _PLAIN[market]:
        return StreamName(text, Channel(name), symbol) if not speed else None
    if name in _TICKERS[market] and not speed:
        return StreamName(text, _TICKERS[market][name], symbol, kind=name)
    if market is Market.USDM and name == "rpiDepth":
        return StreamName(text, Channel.DEPTH, symbol, 500) if speed in ("", "500ms") else None
    if market is Market.USDM and name.startswith("continuousKline_"):
        return _parse_continuous(text, symbol, name.removeprefix("continuousKline_"), speed)
    if name == "markPrice" and market is Market.USDM and speed in ("", "1s"):
        return StreamName(text, Channel.MARK_PRICE, symbol, 1000 if speed else -1)
    if name.startswith("kline_"):
        interval = name.removeprefix("kline_")
        is_known = interval in (SPOT_INTERVALS if market is Market.SPOT else INTERVALS)
        is_known = is_known and speed in (("", "+08:00") if market is Market.SPOT else ("",))
        speed_ms = 1000 if interval == "1s" else -1
        return StreamName(text, Channel.KLINE, symbol, speed_ms, interval=interval) if is_known else None
    if name in ("depth", "depth5", "depth10", "depth20"):
        levels = int(name.removeprefix("depth") or 0)
        channel = Channel.PARTIAL_DEPTH if levels else Channel.DEPTH
        speed_ms = int(speed[:-2]) if re.fullmatch(r"[0-9]{1,4}ms", speed) else -1
        if speed and speed_ms not in _SPEEDS_MS[market, channel]:
            return None
        return StreamName(text, channel, symbol, speed_ms, levels)
    return StreamName(text, Channel.OTHER, symbol) if _name_other(text) in _OTHERS else None


def _parse_continuous(text: str, pair: str, interval: str, speed: str) -> StreamName | None:
    # "btcusdt_perpetual@continuousKline_1m"
    for contract_type in _CONTRACT_TYPES:
        symbol = pair.removesuffix("_" + contract_type)
        if symbol != pair and interval in INTERVALS and not speed:
            return StreamName(text, Channel.CONTINUOUS_KLINE, symbol, interval=interval, kind=contract_type.upper())
    return None


def _parse_all_symbols(market: Market, text: str) -> StreamName | None:
    kind = text[1:].removesuffix("@arr")
    if kind in _TICKERS[market] and text.endswith("@arr") and kind != "avgPrice":
        return StreamName(text, _TICKERS[market][kind], "", 1000, is_array=True, kind=kind)
    if market is Market.SPOT:
        if text == "!serverShutdown":
            return StreamName(text, Channel.SERVER_SHUTDOWN, "")
    elif text in ("!markPrice@arr", "!markPrice@arr@1s"):
        return StreamName(text, Channel.MARK_PRICE, "", 1000 if text.endswith("@1s") else -1, is_array=True)
    elif text == "!forceOrder@arr":
        return StreamName(text, Channel.FORCE_ORDER, "")
    elif text == "!bookTicker":
        return StreamName(text, Channel.BOOK_TICKER, "", 5000)
    return StreamName(text, Channel.OTHER, "", is_array=text.endswith("@arr")) if _name_other(text) in _OTHERS else None


def _name_other(text: str) -> str:
    # "!assetIndex@arr", "defiusdt@compositeIndex", "tradingSession" -> the kind's word
    name = text[1:].partition("@")[0] if text.startswith("!") else text.partition("@")[2].partition("@")[0]
    return (name or text).partition("_")[0]


def find_route(market: Market, stream: str) -> Route | None:
    """Return the path a stream belongs to; None if there is no such stream.

    >>> find_route(Market.USDM, "btcusdt@markPrice@1s")
    <Route.MARKET: 'market'>
    """
    parsed = parse_stream(market, stream)
    if parsed is None:
        return None
    if market is Market.SPOT:
        return Route.UNROUTED
    if parsed.channel is Channel.OTHER:
        return _OTHERS[_name_other(stream)]
    return Route.PUBLIC if parsed.channel in _PUBLIC_CHANNELS else Route.MARKET


def find_delivery(market: Market, route: Route, stream: str) -> Delivery:
    """Return whether a stream that was asked for on a path brings anything. The venue acknowledges in every case."""
    home = find_route(market, stream)
    if home is None:
        return Delivery.UNKNOWN_NAME
    if market is Market.SPOT or home is route or (home is Route.PUBLIC and route is Route.UNROUTED):
        return Delivery.FLOWS
    return Delivery.WRONG_PATH


def make_target(route: Route, streams: Iterable[str] = (), is_combined: bool = True, listen_key: str = "") -> str:
    """Return the path and query of a socket for these streams.

    >>> make_target(Route.MARKET, ["btcusdt@aggTrade", "btcusdt@kline_15m"])
    '/market/stream?streams=btcusdt@aggTrade/btcusdt@kline_15m'
    """
    base = f"/{route.value}" if route.value else ""
    names = "/".join(streams)
    if listen_key:
        return f"{base}/ws?listenKey={listen_key}"
    if is_combined:
        return f"{base}/stream" + (f"?streams={names}" if names else "")
    return f"{base}/ws" + (f"/{names}" if names else "")


def group_by_route(market: Market, streams: Iterable[str]) -> dict[Route, tuple[str, ...]]:
    """Return which streams a client must ask for on which path.

    Raises: ValueError naming a stream that the venue does not have: it would be silent for ever.
    """
    groups: dict[Route, tuple[str, ...]] = {}
    for stream in streams:
        route = find_route(market, stream)
        if route is None:
            raise ValueError(f"stream {stream!r} is unknown to binance {market.value}; write like 'btcusdt@aggTrade'")
        groups[route] = (*groups.get(route, ()), stream)
    return groups


def parse_target(market: Market, target: str) -> Target | TargetRefusal:
    """Return what a socket's request target asks for, as the venue reads it."""
    try:
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        return TargetRefusal(400, "Bad Request")
    segments = [segment for segment in parts.path.split("/") if segment]
    route = Route.UNROUTED
    if market is Market.USDM and segments and segments[0] in ("public", "market", "private"):
        route = Route(segments.pop(0))
    if not segments or segments[0] not in ("ws", "stream"):
        return TargetRefusal(404, "Not Found")
    mode, *names = segments
    if mode == "stream":
        if names:
            return TargetRefusal(404, "Not Found")
        streams = tuple(name for name in query.get("streams", "").split("/") if name)
        return _limit(Target(route, True, streams))
    if route is Route.PRIVATE:
        return Target(route, False, listen_key=query.get("listenKey") or (names[0] if names else ""))
    if len(names) == 1 and names[0].isdecimal():
        return Target(route, False, connection=names[0])
    return _limit(Target(route, False, tuple(names)))


def _limit(target: Target) -> Target | TargetRefusal:
    return target if len(target.streams) <= STREAMS_MAX else TargetRefusal(400, "Bad Request")
