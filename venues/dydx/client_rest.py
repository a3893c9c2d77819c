"""Questions to the Indexer's REST, with deadlines: reads are repeated until one is answered or the time is up."""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import aiohttp

from market.records import NS_PER_MS
from venues.dydx.chain_errors import MalformedMessageError
from venues.dydx.indexer import (
    ROWS_MAX,
    FillsReply,
    FundingPaymentsReply,
    HeightReply,
    MarketsReply,
    OrdersReply,
    PositionsReply,
    SubaccountReply,
    TimeReply,
    decode_json,
    read_error,
    read_time,
    show_time,
)
from venues.dydx.indexer_records import FillRow, FundingPaymentRow, OrderRow
from venues.port import VenueUnavailableError

T = TypeVar("T")
PAGES_MAX = 50
_BACKOFF_S, _BACKOFF_S_MAX = 0.1, 1.0


class NotFoundError(LookupError):
    """The Indexer knows no such thing (404)."""


class IndexerRest:
    """One Indexer, asked for one subaccount ("" where only its markets matter)."""

    def __init__(self, base: str, call_s: float, address: str = "", number: int = 0) -> None:
        """Prepare; the connection begins with the first question."""
        self._base, self._call_s = base.rstrip("/"), call_s
        self._address, self._number = address, number
        self._session: aiohttp.ClientSession | None = None
        self.retries = 0

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, kind: type[T], path: str, parameters: Mapping[str, Any] | None = None) -> T:
        """Return the reply to one GET.

        Raises: NotFoundError; VenueUnavailableError when the deadline passes or the reply is none.
        """
        loop = asyncio.get_running_loop()
        until, wait_s, why = loop.time() + self._call_s, _BACKOFF_S, "no answer"
        while (left_s := until - loop.time()) > 0.0:
            try:
                status, body = await self._ask(path, parameters or {}, min(left_s, max(self._call_s / 3.0, 0.05)))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                why = type(error).__name__
            else:
                if status == 200:
                    return self._decode(kind, path, body)
                if status == 404:
                    raise NotFoundError(f"indexer {path}: {read_error(body)}")
                if status != 429 and status < 500:
                    raise VenueUnavailableError(f"indexer {path}: HTTP {status}: {read_error(body)}")
                why = f"HTTP {status}"
            self.retries += 1
            await asyncio.sleep(min(wait_s, max(0.0, until - loop.time())))
            wait_s = min(2.0 * wait_s, _BACKOFF_S_MAX)
        raise VenueUnavailableError(f"indexer {path}: {why} within {self._call_s:g} s; ask again later")

    def _decode(self, kind: type[T], path: str, body: bytes) -> T:
        try:
            return decode_json(kind, body)
        except MalformedMessageError as error:
            raise VenueUnavailableError(f"indexer {path}: {error}") from None

    async def _ask(self, path: str, parameters: Mapping[str, Any], timeout_s: float) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self._session.get(self._base + path, params=parameters, timeout=timeout) as reply:
            return reply.status, await reply.read()

    def _own(self, **more: Any) -> dict[str, Any]:
        return {"address": self._address, "subaccountNumber": str(self._number), **more}

    async def fetch_height(self) -> tuple[int, int]:
        """Return the Indexer's height and that block's time [ms]."""
        reply = await self.get(HeightReply, "/v4/height")
        return int(reply.height), read_time(reply.time) // NS_PER_MS

    async def fetch_time_ms(self) -> int:
        """Return the Indexer's clock."""
        return round((await self.get(TimeReply, "/v4/time")).epoch * 1000)

    async def fetch_markets(self) -> MarketsReply:
        """Return every market."""
        return await self.get(MarketsReply, "/v4/perpetualMarkets")

    async def fetch_orders(self, statuses: str = "") -> tuple[OrderRow, ...]:
        """Return the subaccount's orders, of some statuses only if said."""
        more = {"status": statuses} if statuses else {}
        try:
            return await self.get(OrdersReply, "/v4/orders", self._own(limit=str(ROWS_MAX), **more))
        except NotFoundError:
            return ()

    async def fetch_order(self, uuid: str) -> OrderRow | None:
        """Return one order; None: it never came, or was forgotten."""
        try:
            return await self.get(OrderRow, f"/v4/orders/{uuid}")
        except NotFoundError:
            return None

    async def fetch_fills(self, ts_from_ns: int = 0, limit: int = ROWS_MAX) -> list[FillRow]:
        """Return the fills at or after a time (to the ms), newest first, page by page."""
        found: dict[str, FillRow] = {}
        more: dict[str, str] = {}
        oldest_ns = ts_from_ns // NS_PER_MS * NS_PER_MS
        for _ in range(PAGES_MAX):
            try:
                reply = await self.get(FillsReply, "/v4/fills", self._own(limit=str(limit), **more))
            except NotFoundError:
                return []
            fresh = [row for row in reply.fills if row.id not in found]
            found |= {row.id: row for row in fresh}
            if not fresh or len(reply.fills) < limit or read_time(reply.fills[-1].created_at) < oldest_ns:
                break
            more = {"createdBeforeOrAt": reply.fills[-1].created_at}
        return [row for row in found.values() if read_time(row.created_at) >= oldest_ns]

    async def fetch_fundings(self, ts_from_ns: int = 0) -> list[FundingPaymentRow]:
        """Return funding paid and received at or after a time, newest first."""
        parameters = self._own(limit=str(ROWS_MAX))
        if ts_from_ns:
            parameters["afterOrAt"] = show_time(ts_from_ns)
        try:
            reply = await self.get(FundingPaymentsReply, "/v4/fundingPayments", parameters)
        except NotFoundError:
            return []
        return [row for row in reply.funding_payments if read_time(row.created_at) >= ts_from_ns]

    async def fetch_positions(self) -> PositionsReply:
        """Return the open positions."""
        try:
            return await self.get(PositionsReply, "/v4/perpetualPositions", self._own(status="OPEN"))
        except NotFoundError:
            return PositionsReply(())

    async def fetch_subaccount(self) -> SubaccountReply:
        """Return what the subaccount holds. Raises NotFoundError if it was never funded."""
        return await self.get(SubaccountReply, f"/v4/addresses/{self._address}/subaccountNumber/{self._number}")
