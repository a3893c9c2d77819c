"""What the trading client does unasked: compares what it knows with the venue, asks, backfills, and says how it is.

Every `reconcile_s`: the clock, positions, open orders, unknown orders; after a reconnect, or where fills are short, all
fills since the last time they were whole. The venue is the truth: what differs after a backfill is unhealthy until it
does not. An order of ours that the venue's list lacks is asked for; one that it says is open all the same is missing.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from market.events import OrderRequest
from market.records import NS_PER_MS, NS_PER_S
from venues.hyperliquid import client_preflight, client_rows, info_replies, rules
from venues.hyperliquid import exchange_replies as replies
from venues.hyperliquid import info_requests as ask
from venues.hyperliquid.client_calls import ActionResult, Questions, Unanswered
from venues.hyperliquid.client_orders import OwnOrders
from venues.hyperliquid.client_rows import OwnOrder
from venues.hyperliquid.client_socket import Feed
from venues.hyperliquid.wire import MalformedMessageError
from venues.port import ClientSettings, VenueUnavailableError

_LOG = logging.getLogger(__name__)
_FILLS_MAX = 2000  # rows of one reply
_OVERLAP_MS = 5_000  # of backfills
_ASK_EVERY_S = 1.0  # the same order again, at most
_ROUND_S = 0.1
_LIMIT_ROUNDS = 3  # of reconciling, between looks at the request limit
_LIMIT_FRAC = 0.9
_REFUSAL_S = 30.0  # how long a refusal of all makes unhealthy
_BASELINE_TRIES = 5
_CAP_WORDS = "Too many cumulative requests"
_STRANGER_WORDS = "User or API Wallet"


class Upkeep:
    """The part of the client that lives between calls."""

    def __init__(
        self,
        own: OwnOrders,
        questions: Questions,
        checked: client_preflight.Checked,
        account: str,
        settings: ClientSettings,
        clock_ns: Callable[[], int],
        flush: Callable[[], None],
    ) -> None:
        self._own, self._questions, self._assets = own, questions, checked.assets
        self._account, self._settings, self._clock_ns, self._flush = account, settings, clock_ns, flush
        self._clock = checked.clock
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._later: dict[str, None] = {}
        self._asked_s: dict[str, float] = {}
        self._is_backfill_due = False
        self._fills_from_ms = 0  # all fills before are told
        self._ts_seen_ns = 0  # when the account was last compared
        self._rounds = 0
        self._missing: dict[str, str] = {}  # order id -> line
        self._mismatches: tuple[str, ...] = ()
        self._requests_frac = 0.0
        self._refusals_s: dict[str, float] = {}  # line -> monotonic time
        self.feed: Feed | None = None
        self.protect: Callable[[OwnOrder, float], Awaitable[None]]
        self.cancel: Callable[[str], Awaitable[Any]]
        self.shrink: Callable[[str], Awaitable[Any]]

    # For the client.

    def venue_now_ms(self) -> int:
        """Return what the venue's clock shows."""
        return self._clock_ns() // NS_PER_MS + self._clock.offset_ms

    async def begin(self) -> None:
        """Take the venue's state as the start: fills and positions that belong together."""
        fills: tuple[info_replies.Fill, ...] = ()
        for _ in range(_BASELINE_TRIES):
            fills = await self._questions.ask(ask.GetUserFills(self._account))
            positions = await self.fetch_positions()
            again: tuple[info_replies.Fill, ...] = await self._questions.ask(ask.GetUserFills(self._account))
            if len(again) == len(fills):
                break
        else:
            raise VenueUnavailableError("hyperliquid: the account trades faster than it can be read: is it shared?")
        self._own.begin(positions, fills)
        fundings: tuple[info_replies.UserFunding, ...] = await self._questions.ask(
            ask.GetUserFunding(self._account, max(0, self.venue_now_ms() - 7 * 86_400_000))
        )
        for row in fundings:
            self._own.note_old_funding(row)
        for fill in sorted(fills, key=lambda row: row.time):
            self._own.hear_fill(fill)  # those of orders of an earlier life
        self._fills_from_ms = max((row.time for row in fills), default=0)
        self._ts_seen_ns = self._clock_ns()

    def start(self) -> None:
        """Begin to look after things."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; safe to repeat."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def wake(self) -> None:
        """There may be something to do at once."""
        if self._own.is_waiting or self._is_backfill_due:
            self._woken.set()

    def ask_later(self, order_id: str) -> None:
        """Ask about an order with the next comparison."""
        self._later[order_id] = None

    def note_feed(self, is_up: bool) -> None:
        """The socket's subscriptions came into force, or were lost."""
        if is_up:
            self._is_backfill_due = True
            self._woken.set()

    def note_unreadable(self) -> None:
        """Something came that we could not read: ask about what it may have said."""
        self._is_backfill_due = True
        for order in self._own.list_open():
            self.ask_later(order.order_id)
        self._woken.set()

    def note_result(self, result: ActionResult) -> None:
        """Look at an action's result for what concerns all of them."""
        now_s = time.monotonic()
        words = [result.message] if isinstance(result, replies.ActionRefused) else []
        if isinstance(result, replies.StatusesReply):
            words = [outcome.error for outcome in result.statuses if isinstance(outcome, replies.Refused)]
        for text in words:
            if text.startswith(replies.ONLY_POST_ONLY):
                self._refusals_s["the venue takes only post-only orders, as after an upgrade"] = now_s
            elif text.startswith(_CAP_WORDS):
                self._refusals_s["the address has spent its requests: trade to earn more"] = now_s
            elif text.startswith(_STRANGER_WORDS):
                self._refusals_s["the venue does not know our key: approve the agent again"] = now_s
        if isinstance(result, Unanswered):
            self.wake()

    # Questions.

    async def ask_order(self, order_id: str, *, adopt: bool = False, seconds: float | None = None) -> bool:
        """Ask the venue about one order and take the answer in; return whether it knows it."""
        self._asked_s[order_id] = time.monotonic()
        request = ask.GetOrderStatus(self._account, order_id)
        reply: info_replies.OrderStatusReply = await self._questions.ask(request, seconds)
        order, now_ms = self._own.get(order_id), self.venue_now_ms()
        if not isinstance(reply.order, info_replies.OrderRow):
            self._own.hear_unheard_of(order_id, now_ms)
            if order is not None and not order.is_unheard and order.is_open:
                self._missing[order_id] = f"order {order_id} is open here and unknown to the venue"
            return False
        if order is None and adopt:
            order = self._adopt(reply.order)
        self._own.hear_row(reply.order)
        if order is not None and order.wanted is not None and now_ms > order.expires_ms:
            self._own.drop_modify(order_id)  # it can no longer arrive
            order.is_protect_due |= order.is_lost
        return True

    def _adopt(self, row: info_replies.OrderRow) -> OwnOrder | None:
        asset = self._assets.by_coin.get(row.order.coin)
        if asset is None or not isinstance(row.order.cloid, str):
            return None
        report = client_rows.write_report(asset, row, None, 0, is_armed=True)
        request = OrderRequest(
            report.client_order_id,
            report.instrument_id,
            report.side,
            report.qty_lots,
            report.order_type,
            report.limit_px,
            report.trigger_px,
            is_reduce_only=report.is_reduce_only,
        )
        self._own.adopt(request, self.venue_now_ms())
        self._fills_from_ms = min(self._fills_from_ms, row.order.timestamp)
        self._is_backfill_due = True
        return self._own.get(report.client_order_id)

    async def find_open(self, child: OwnOrder, seconds: float) -> bool:
        """Return whether a child thought lost is open at the venue, and keep it then."""
        request = ask.GetOrderStatus(self._account, child.order_id)
        reply: info_replies.OrderStatusReply = await self._questions.ask(request, seconds)
        if not isinstance(reply.order, info_replies.OrderRow):
            return False
        row = client_rows.read_row(child.asset, reply.order)
        if not row.status.status.is_open:
            if not child.oid:
                self._own.note_lost_oid(child.order_id, row.oid)
            return False
        self._own.keep_child(child.order_id, row)
        return True

    async def fetch_positions(self) -> dict[str, int]:
        """Return signed lots by instrument, of those we know."""
        state: info_replies.ClearinghouseState = await self._questions.ask(ask.GetClearinghouseState(self._account))
        found: dict[str, int] = {}
        for row in state.asset_positions:
            asset = self._assets.by_coin.get(row.position.coin)
            lots = 0 if asset is None else rules.read_lots(asset, row.position.szi)
            if asset is not None and lots:
                found[asset.instrument.instrument_id] = lots
        return found

    async def fetch_fills(self, from_ms: int) -> list[info_replies.Fill]:
        """Return the fills from a time on, oldest first, page by page."""
        found: dict[str, info_replies.Fill] = {}
        while True:
            request = ask.GetUserFillsByTime(self._account, from_ms)
            rows: tuple[info_replies.Fill, ...] = await self._questions.ask(request)
            found |= {client_rows.find_trade_id(row): row for row in rows}
            newest_ms = max((row.time for row in rows), default=from_ms)
            if len(rows) < _FILLS_MAX or newest_ms <= from_ms:
                return sorted(found.values(), key=lambda row: row.time)
            from_ms = newest_ms

    async def backfill(self) -> None:
        """Hear every fill since they were last whole."""
        rows = await self.fetch_fills(max(0, self._fills_from_ms - _OVERLAP_MS))
        for row in rows:
            self._own.hear_fill(row)
        self._is_backfill_due = False
        self._fills_from_ms = max((row.time for row in rows), default=self._fills_from_ms)

    # The rounds.

    async def _run(self) -> None:
        due_s = time.monotonic() + self._settings.reconcile_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due_s - time.monotonic())):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._do_due()
                if time.monotonic() >= due_s:
                    due_s = time.monotonic() + self._settings.reconcile_s
                    await self._reconcile()
            except (VenueUnavailableError, MalformedMessageError) as error:
                _LOG.warning("hyperliquid upkeep: %s", error)
            self._flush()
            await asyncio.sleep(_ROUND_S)

    async def _do_due(self) -> None:
        own = self._own
        for name in own.take_asks():
            if time.monotonic() - self._asked_s.get(name, -_ASK_EVERY_S) < _ASK_EVERY_S:
                self.ask_later(name)
                continue
            try:
                await self.ask_order(name)
            except VenueUnavailableError:
                self.ask_later(name)
                raise
        for name in own.take_cancels():
            self._tell(await self.cancel(name))
        for name in own.take_shrinks():
            self._tell(await self.shrink(name))
        for child in own.take_protects():
            await self.protect(child, self._settings.call_s)
        if self._is_backfill_due:
            await self.backfill()

    def _tell(self, answer: Any) -> None:
        self._own.give_back(answer.events)

    async def _reconcile(self) -> None:
        own = self._own
        self._clock = await client_preflight.read_clock(self._questions, self._clock_ns)
        own.retry_protects()
        for name in [*self._later, *(order.order_id for order in own.list_unknown())]:
            self._later.pop(name, None)
            await self.ask_order(name)
        await self._compare_orders()
        if own.is_short:
            await self.backfill()
        await self._compare_positions()
        self._rounds += 1
        if self._rounds % _LIMIT_ROUNDS == 1:
            limit: info_replies.UserRateLimit = await self._questions.ask(ask.GetUserRateLimit(self._account))
            self._requests_frac = limit.n_requests_used / max(1, limit.n_requests_cap)
        self._ts_seen_ns = self._clock_ns()

    async def _compare_orders(self) -> None:
        expected = [o.order_id for o in self._own.list_open() if not o.is_unheard and not o.is_lost]
        rows: tuple[info_replies.FrontendOrder, ...] = await self._questions.ask(
            ask.GetFrontendOpenOrders(self._account)
        )
        seen = {row.cloid.lower() for row in rows if isinstance(row.cloid, str)}
        missing: dict[str, str] = {}
        for name in expected:
            order = self._own.get(name)
            if name in seen or order is None or not order.is_open:
                continue
            self._missing.pop(name, None)
            await self.ask_order(name)
            if name in self._missing:
                missing[name] = self._missing[name]
            elif order.is_open and not order.is_lost:
                missing[name] = f"order {name} is not among the venue's open orders, which says it is open"
        self._missing = missing

    async def _compare_positions(self) -> None:
        own = self._own
        for _ in range(2):
            count = own.fills_count
            held = await self.fetch_positions()
            told = {name: lots for name, lots in own.positions.items() if lots}
            if held == told or own.fills_count != count:
                self._mismatches = () if held == told else self._mismatches
                return
            await self.backfill()
        told = {name: lots for name, lots in own.positions.items() if lots}
        self._mismatches = tuple(_list_differences(held, told))

    # How it is.

    def check_health(self, ts_now_ns: int) -> tuple[str, ...]:
        """Return what is wrong, one line each."""
        lines, settings, now_s = [], self._settings, time.monotonic()
        if self._task is None or self._task.done():
            lines.append("hyperliquid: the upkeep has ended: open a new client")
        if self.feed is None or not self.feed.is_ready:
            lines.append("hyperliquid: the socket is not connected")
        elif now_s - self.feed.heard_s > settings.silence_s:
            lines.append(f"hyperliquid: the socket is silent for {now_s - self.feed.heard_s:.1f} s")
        age_s = (ts_now_ns - self._ts_seen_ns) / NS_PER_S
        if age_s > settings.stale_s + settings.reconcile_s:
            lines.append(f"hyperliquid: the account was last compared {age_s:.1f} s ago")
        if self._clock.skew_s > settings.skew_s_max:
            lines.append(f"hyperliquid: the venue's clock is {self._clock.offset_ms / 1000.0:+.1f} s from ours")
        if self._requests_frac >= _LIMIT_FRAC:
            lines.append(f"hyperliquid: {self._requests_frac:.0%} of the address's requests are used")
        lines += [f"hyperliquid: {line}" for line, at_s in self._refusals_s.items() if now_s - at_s < _REFUSAL_S]
        lines += [f"hyperliquid: {line}" for line in (*self._missing.values(), *self._mismatches)]
        lines += [f"hyperliquid: order {name} could not be placed again" for name in sorted(self._own.naked)]
        unknown = [order.order_id for order in self._own.list_unknown()]
        lines += [f"hyperliquid: what became of order {name} is unknown" for name in unknown]
        return tuple(lines)


def _list_differences(held: Mapping[str, int], told: Mapping[str, int]) -> list[str]:
    return [
        f"position of {name} is {held.get(name, 0)} lots at the venue, {told.get(name, 0)} by our fills"
        for name in sorted({*held, *told})
        if held.get(name, 0) != told.get(name, 0)
    ]
