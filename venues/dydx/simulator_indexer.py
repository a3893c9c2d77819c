"""The simulated Indexer's REST: paths and parameters in, rows of the store out.

Unknown paths answer 404 as the venue does. The board is asked with the kind "indexer".
Does not model: rate limits, compliance, rewards, affiliates, vaults; transfers and profit history are empty lists.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from market.records import NS_PER_S
from venues.dydx.indexer import (
    CANDLE_RESOLUTIONS_S,
    ROWS_MAX,
    AddressReply,
    AssetPositionsReply,
    CandlesReply,
    FillsReply,
    FundingPaymentsReply,
    FundingReply,
    HeightReply,
    MarketsReply,
    ParentSubaccountReply,
    PnlReply,
    PositionsReply,
    Restriction,
    Screening,
    SubaccountReply,
    TimeReply,
    TradesReply,
    TransfersBetweenReply,
    TransfersReply,
    encode_json,
    explain_no_subaccount,
    make_error,
    match_path,
    read_flag,
    read_time,
    show_time,
)
from venues.dydx.indexer_records import FillRow, OrderRow, ParentSubaccountRow, SubaccountRow, TradeRow
from venues.dydx.simulator_orders import Contract
from venues.dydx.simulator_store import Store

# What nobody has here: rewards, referrals, vaults, transfers, other traders.
_EMPTY: dict[str, Any] = {
    "/v4/transfers/between": TransfersBetweenReply(),
    "/v4/pnl": {"pnl": []},
    "/v4/pnl/parentSubaccountNumber": {"pnl": []},
    "/v4/historicalBlockTradingRewards/{address}": {"rewards": []},
    "/v4/historicalTradingRewardAggregations/{address}": {"rewards": []},
    "/v4/trader/search": {},
    "/v4/affiliates/metadata": {"referralCode": None, "isVolumeEligible": False, "isAffiliate": False},
    "/v4/affiliates/snapshot": {"affiliateList": [], "total": 0, "currentOffset": 0},
    "/v4/affiliates/total_volume": {"totalVolume": 0},
    "/v4/vault/v1/megavault/historicalPnl": {"megavaultPnl": []},
    "/v4/vault/v1/megavault/positions": {"positions": []},
    "/v4/vault/v1/vaults/historicalPnl": {"vaultsPnl": []},
}
_PARENT = ("parentSubaccountNumber", "parentSubaccount")


class _RefusedError(Exception):
    """A reply that is not 200; caught where the request came in."""

    def __init__(self, status: int, message: str, param: str = "") -> None:
        super().__init__(message)
        self.status, self.body = status, make_error(message, param=param, location="query" if param else "")


class Rest:
    """Answers of the Indexer."""

    def __init__(self, store: Store, settle: Callable[[], None]) -> None:
        """Answer from `store`, after `settle` has brought it to the present."""
        self.store, self.chain, self._settle = store, store.chain, settle
        self._is_ended = asyncio.Event()

    def stop(self) -> None:
        """Let go of the requests that a switch holds back."""
        self._is_ended.set()

    async def _hold(self, seconds: float | None) -> None:
        # For some time, or for ever; in no case longer than the simulator runs.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_ended.wait()

    def add_routes(self, app: web.Application) -> None:
        """Add the Indexer's paths."""
        app.router.add_get("/v4/{tail:.*}", self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one GET under /v4."""
        fate = self.chain.board.decide_request("dydx", "indexer", self.chain.world.now_ns())
        if fate.is_blackholed:
            await self._hold(None)
        if fate.status_before or fate.status_after:
            status = fate.status_before or fate.status_after
            return web.Response(status=status, text="upstream error")
        self._settle()
        try:
            status, reply = 200, self.answer(request.path, request.query)
        except _RefusedError as refused:
            status, reply = refused.status, refused.body
        except ValueError as error:
            status, reply = 400, make_error(str(error))
        if fate.reply_delay_ns:
            await self._hold(fate.reply_delay_ns / NS_PER_S)
        if fate.is_reply_lost and request.transport is not None:
            request.transport.abort()
        return web.Response(body=encode_json(reply), status=status, content_type="application/json")

    def answer(self, path: str, query: Mapping[str, str]) -> Any:
        """Return the reply to a path and its parameters."""
        matched = match_path(path)
        if matched is None:
            raise _RefusedError(404, "Not Found")
        template, parts = matched
        if "ticker" in parts:
            return self._answer_market(template, self._find(parts["ticker"]), query)
        name = path.split("/")[2]
        match name:
            case "perpetualMarkets":
                ticker = query.get("ticker") or query.get("market")
                if ticker is None:
                    return MarketsReply(self.store.show_markets())
                return MarketsReply({ticker: self.store.show_market(self._find(ticker))})
            case "time":
                now_ns = self.chain.world.venue_now_ns()
                return TimeReply(show_time(now_ns), now_ns // 10**6 / 1000)
            case "height":
                return HeightReply(str(self.store.height), show_time(self.store.time_ns))
            case "sparklines":
                return self._list_sparklines(query)
            case "addresses":
                return self._answer_address(template, parts)
            case "compliance":
                return Screening("COMPLIANT")
            case "screen":
                return Restriction()
        if template in _EMPTY:
            return _EMPTY[template]
        if "order_id" in parts:
            return self._find_order(parts["order_id"])
        return self._answer_account(name, path, query)

    def _find(self, ticker: str) -> Contract:
        contract = self.store.by_ticker.get(ticker)
        if contract is None:
            raise _RefusedError(404 if ticker else 400, f"{ticker} not found in tickers of type PERPETUAL")
        return contract

    def _find_order(self, order_id: str) -> OrderRow:
        row = self.store.orders.get(order_id)
        if row is None or self.store.is_hidden(row):
            raise _RefusedError(404, f"Unable to find order id {order_id}")
        return row

    def _answer_market(self, template: str, contract: Contract, query: Mapping[str, str]) -> Any:
        count = _read_limit(query, 100)
        match template.split("/")[2]:
            case "orderbooks":
                return self.store.show_book(contract)
            case "trades":
                trades = self.store.list_trades(contract, ROWS_MAX)
                return TradesReply(tuple(row for row in trades if _is_before(row, query))[:count])
            case "historicalFunding":
                newest = query.get("effectiveBeforeOrAt") or "9"
                fundings = self.store.list_fundings(contract, ROWS_MAX)
                return FundingReply(tuple(row for row in fundings if row.effective_at <= newest)[:count])
        resolution = query.get("resolution", "")
        if resolution not in CANDLE_RESOLUTIONS_S:
            allowed = ",".join(CANDLE_RESOLUTIONS_S)
            raise _RefusedError(400, f"resolution must be a valid Candle Resolution, one of {allowed}", "resolution")
        from_ns, to_ns = (read_time(query[name]) if query.get(name) else 0 for name in ("fromISO", "toISO"))
        return CandlesReply(self.store.list_candles(contract, resolution, count, from_ns, to_ns))

    def _list_sparklines(self, query: Mapping[str, str]) -> dict[str, tuple[Decimal, ...]]:
        shapes = {"ONE_DAY": ("1HOUR", 24), "SEVEN_DAYS": ("4HOURS", 42)}
        shape = shapes.get(query.get("timePeriod", ""))
        if shape is None:
            raise _RefusedError(400, "timePeriod must be a valid Time Period (ONE_DAY/SEVEN_DAYS)", "timePeriod")
        return {
            ticker: tuple(row.close for row in self.store.list_candles(contract, *shape))
            for ticker, contract in self.store.by_ticker.items()
        }

    def _answer_address(self, template: str, parts: Mapping[str, str]) -> Any:
        address, number = parts["address"], _read_number(parts.get("number", "0"))
        if template.endswith("/subaccountNumber/{number}"):
            return SubaccountReply(self._show(f"{address}/{number}"))
        if "parentSubaccountNumber" in template:
            children = [self._show(account_id) for account_id in self.store.list_children(address, number)]
            if not children:
                text = f"No subaccounts found for address {address} and parentSubaccountNumber {number}"
                raise _RefusedError(404, text)
            equity, free = (sum(column, Decimal(0)) for column in _columns(children))
            return ParentSubaccountReply(ParentSubaccountRow(address, number, equity, free, tuple(children)))
        owned = [account_id for account_id in self.store.holdings if account_id.startswith(f"{address}/")]
        if not owned:
            raise _RefusedError(404, f"No subaccounts found for address {address}")
        return AddressReply(tuple(self._show(account_id) for account_id in owned))

    def _show(self, account_id: str) -> SubaccountRow:
        row = self.store.show_subaccount(account_id)
        if row is None:
            address, _, number = account_id.partition("/")
            raise _RefusedError(404, explain_no_subaccount(address, int(number)))
        return row

    def _answer_account(self, name: str, path: str, query: Mapping[str, str]) -> Any:
        is_parent = path.endswith(_PARENT)
        field = "parentSubaccountNumber" if is_parent else "subaccountNumber"
        for needed in ("address", field):
            if needed not in query:
                raise _RefusedError(400, f"{needed} is required", needed)
        address, number = query["address"], _read_number(query[field])
        account_ids = self.store.list_children(address, number) if is_parent else [f"{address}/{number}"]
        limit = _read_limit(query, ROWS_MAX)
        match name:
            case "orders":
                read_flag(query, "returnLatestOrders")
                return _filter_orders(self.store.list_orders(account_ids), query)[:limit]
            case "fills":
                market = query.get("market") or query.get("ticker")
                rows = self.store.list_fills(account_ids)
                fills = [row for row in rows if market in (None, row.market) and _is_before(row, query)]
                return _show_page(fills, limit, query)
            case "transfers":
                return TransfersReply(())
            case "fundingPayments":
                oldest, ticker = query.get("afterOrAt") or "", query.get("ticker")
                rows_paid = self.store.list_funding_payments(account_ids)
                payments = [row for row in rows_paid if row.created_at >= oldest and ticker in (None, row.ticker)]
                return FundingPaymentsReply(tuple(payments)[:limit])
            case "historical-pnl":
                return PnlReply(())
        known = [row for one in account_ids if (row := self.store.show_subaccount(one)) is not None]
        if name == "assetPositions":
            return AssetPositionsReply(tuple(asset for row in known for asset in row.asset_positions.values()))
        statuses = {status for status in (query.get("status") or "OPEN").split(",") if status}
        if not statuses <= {"OPEN", "CLOSED", "LIQUIDATED"}:
            raise _RefusedError(400, "status must be a valid Position Status (OPEN, etc)", "status")
        if "OPEN" not in statuses:
            return PositionsReply(())
        return PositionsReply(tuple(position for row in known for position in row.open_perpetual_positions.values()))


def _columns(rows: list[SubaccountRow]) -> tuple[list[Decimal], list[Decimal]]:
    return [row.equity for row in rows], [row.free_collateral for row in rows]


def _is_due_by(row: OrderRow, query: Mapping[str, str]) -> bool:
    height, time = query.get("goodTilBlockBeforeOrAt") or "", query.get("goodTilBlockTimeBeforeOrAt") or ""
    if height.isdecimal() and not (isinstance(row.good_til_block, str) and int(row.good_til_block) <= int(height)):
        return False
    return not time or (isinstance(row.good_til_block_time, str) and row.good_til_block_time <= time)


def _is_before(row: TradeRow | FillRow, query: Mapping[str, str]) -> bool:
    height = query.get("createdBeforeOrAtHeight") or ""
    if height.isdecimal() and isinstance(row.created_at_height, str) and int(row.created_at_height) > int(height):
        return False
    return row.created_at <= (query.get("createdBeforeOrAt") or "9")


def _show_page(rows: list[FillRow], limit: int, query: Mapping[str, str]) -> FillsReply:
    # With "page" the reply says where it is in the whole.
    if not query.get("page"):
        return FillsReply(tuple(rows[:limit]))
    text = query["page"]
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 10**6):
        raise _RefusedError(400, "page must be a non-negative integer", "page")
    offset = (int(text) - 1) * limit
    return FillsReply(tuple(rows[offset : offset + limit]), limit, len(rows), offset)


def _filter_orders(rows: list[OrderRow], query: Mapping[str, str]) -> list[OrderRow]:
    statuses = [status for status in query.get("status", "").split(",") if status]
    wanted = {name: query[name] for name in ("ticker", "side", "type") if query.get(name)}
    return [
        row
        for row in rows
        if (not statuses or row.status in statuses)
        and all(getattr(row, name) == value for name, value in wanted.items())
        and _is_due_by(row, query)
    ]


def _read_number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise _RefusedError(400, "subaccountNumber must be a non-negative integer less than 128001", "subaccountNumber")
    return int(text)


def _read_limit(query: Mapping[str, str], default: int) -> int:
    text = query.get("limit") or str(default)
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= ROWS_MAX):
        text_of_refusal = f"limit must be a positive integer that is not greater than max: {ROWS_MAX}"
        raise _RefusedError(400, text_of_refusal, "limit")
    return int(text)
