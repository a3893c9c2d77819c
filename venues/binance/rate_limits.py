"""Binance's request limits per IP, from both sides: the venue counts, refuses and bans; the client stays below.

Weights are counted in fixed UTC minutes. Every reply carries `X-MBX-USED-WEIGHT-1M`. Above the limit: 429 with
Retry-After until the minute ends. Requests that ignore it (`strikes_max`, a guess) are banned: 418, from 2 minutes,
doubling for repeaters up to 3 days. The pools of funding and statistics count requests in 5 minutes, no header.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from market.records import NS_PER_S
from venues.binance.endpoints import Pool
from venues.binance.rest import RestRefusal, RestRequest
from venues.binance.streams import Market

MINUTE_NS = 60 * NS_PER_S
WEIGHT_MAX = {Market.USDM: 2400, Market.SPOT: 6000}
POOLS = {Pool.FUNDING: (500, 5 * MINUTE_NS), Pool.STATISTICS: (1000, 5 * MINUTE_NS)}
BAN_FIRST_NS, BAN_LONGEST_NS = 2 * MINUTE_NS, 3 * 24 * 60 * MINUTE_NS
USED_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
RETRY_AFTER_HEADER = "Retry-After"


@dataclass(frozen=True, slots=True)
class Admission:
    """What the venue's limiter says to one request: the headers of the reply, and a refusal instead of it, or None."""

    headers: dict[str, str]
    refusal: RestRefusal | None = None


@dataclass(slots=True)
class _Address:
    window: int = -1
    used_weight: int = 0
    strikes: int = 0
    bans: int = 0
    ts_banned_until_ns: int = 0


class VenueLimiter:
    """The venue's side, one market: counts per IP address."""

    def __init__(self, market: Market, weight_max: int | None = None, strikes_max: int = 20) -> None:
        self._market = market
        self._weight_max = weight_max or WEIGHT_MAX[market]
        self._strikes_max = strikes_max
        self._addresses: dict[str, _Address] = {}
        self._pools: dict[tuple[str, Pool], tuple[int, int]] = {}  # window, count

    def admit(self, address: str, request: RestRequest | None, ts_now_ns: int) -> Admission:
        """Count one request (None: one that was refused for its form, weight 1); refuse it if over a limit."""
        found = self._addresses.setdefault(address, _Address())
        if ts_now_ns < found.ts_banned_until_ns:
            return self._ban(found, ts_now_ns)
        window = ts_now_ns // MINUTE_NS
        if window != found.window:
            found.window, found.used_weight, found.strikes = window, 0, 0
        if request is not None and request.endpoint.pool is not Pool.WEIGHT:
            return self._admit_pool(address, request.endpoint.pool, found, ts_now_ns)
        found.used_weight += request.weight if request is not None else 1
        if found.used_weight <= self._weight_max:
            return Admission(self._headers(found))
        found.strikes += 1
        if found.strikes > self._strikes_max:
            found.ts_banned_until_ns = ts_now_ns + min(BAN_LONGEST_NS, BAN_FIRST_NS << min(found.bans, 32))
            found.bans += 1
            return self._ban(found, ts_now_ns)
        return self._refuse(found, (window + 1) * MINUTE_NS - ts_now_ns)

    def _admit_pool(self, address: str, pool: Pool, found: _Address, ts_now_ns: int) -> Admission:
        largest, length_ns = POOLS[pool]
        window, count = self._pools.get((address, pool), (-1, 0))
        count = count + 1 if window == ts_now_ns // length_ns else 1
        self._pools[address, pool] = ts_now_ns // length_ns, count
        if count <= largest:
            return Admission(self._headers(found))
        return self._refuse(found, length_ns - ts_now_ns % length_ns)

    def _headers(self, found: _Address) -> dict[str, str]:
        headers = {USED_WEIGHT_HEADER: str(found.used_weight)}
        if self._market is Market.SPOT:
            headers["X-MBX-USED-WEIGHT"] = headers[USED_WEIGHT_HEADER]
        return headers

    def _refuse(self, found: _Address, wait_ns: int) -> Admission:
        wait_s = -(-wait_ns // NS_PER_S)
        if self._market is Market.USDM:
            msg = (
                f"Too many requests; current limit is {self._weight_max} requests per minute. "
                "Please use the websocket for live updates to avoid polling the API."
            )
        else:
            msg = (
                f"Too much request weight used; current limit is {self._weight_max} request weight per 1 MINUTE. "
                "Please use WebSocket Streams for live updates to avoid polling the API."
            )
        headers = self._headers(found) | {RETRY_AFTER_HEADER: str(wait_s)}
        return Admission(headers, RestRefusal(429, -1003, msg, wait_s))

    def _ban(self, found: _Address, ts_now_ns: int) -> Admission:
        wait_s = -(-(found.ts_banned_until_ns - ts_now_ns) // NS_PER_S)
        until_ms = found.ts_banned_until_ns // 1_000_000
        if self._market is Market.USDM:
            msg = (
                f"Way too many requests; IP banned until {until_ms}. "
                "Please use the websocket for live updates to avoid bans."
            )
        else:
            msg = (
                f"Way too much request weight used; IP banned until {until_ms}. "
                "Please use WebSocket Streams for live updates to avoid bans."
            )
        headers = self._headers(found) | {RETRY_AFTER_HEADER: str(wait_s)}
        return Admission(headers, RestRefusal(418, -1003, msg, wait_s))


class ClientBudget:
    """The client's side, one market: when a request may be sent so that the venue need not refuse it.

    It keeps to `share_frac` of the weight, believes the venue's header over its own count, and after a refusal sends
    nothing until Retry-After has passed (a minute if the venue did not say).
    """

    def __init__(self, market: Market, share_frac: float = 0.5) -> None:
        self._weight_max = int(WEIGHT_MAX[market] * share_frac)
        self._window = -1
        self._used_weight = 0
        self._ts_blocked_until_ns = 0
        self._pools: dict[Pool, tuple[int, int]] = {}

    def reserve_ns(self, request: RestRequest, ts_now_ns: int) -> int:
        """Return 0 and count the request if it may be sent now; otherwise how long to wait, counting nothing."""
        if ts_now_ns < self._ts_blocked_until_ns:
            return self._ts_blocked_until_ns - ts_now_ns
        pool = request.endpoint.pool
        if pool is not Pool.WEIGHT:
            largest, length_ns = POOLS[pool]
            window, count = self._pools.get(pool, (-1, 0))
            count = count if window == ts_now_ns // length_ns else 0
            if count >= largest // 2:
                return length_ns - ts_now_ns % length_ns
            self._pools[pool] = ts_now_ns // length_ns, count + 1
            return 0
        self._turn(ts_now_ns)
        if self._used_weight and self._used_weight + request.weight > self._weight_max:
            return MINUTE_NS - ts_now_ns % MINUTE_NS
        self._used_weight += request.weight
        return 0

    def note_headers(self, headers: Mapping[str, str], ts_now_ns: int) -> None:
        """Take in a reply's headers (names in any case)."""
        self._turn(ts_now_ns)
        for name, value in headers.items():
            if name.upper() == USED_WEIGHT_HEADER and value.isascii() and value.isdigit() and len(value) < 10:
                self._used_weight = max(self._used_weight, int(value))

    def note_refusal(self, refusal: RestRefusal, ts_now_ns: int) -> None:
        """Take in a refusal: after 429 and 418 nothing is sent for a while."""
        if refusal.is_rate_limit:
            wait_ns = refusal.retry_after_s * NS_PER_S or MINUTE_NS
            self._ts_blocked_until_ns = max(self._ts_blocked_until_ns, ts_now_ns + wait_ns)

    def _turn(self, ts_now_ns: int) -> None:
        window = ts_now_ns // MINUTE_NS
        if window != self._window:
            self._window, self._used_weight = window, 0
