"""The trading client of Hyperliquid: the port's `TradingClient` over the official SDK and a socket of our own.

Actions are signed and posted through the SDK (`client_calls`), with exact strings of our own (`client_wire`) and an
expiry `unknown_s` ahead, after which an unanswered one can no longer arrive. What is heard adds up in `client_orders`;
`client_upkeep` compares it with the venue's own state. Documented there and in `client_wire`: groups, take-profits,
what happens to the children of an entry that ends in part.

    client = HyperliquidClient(endpoints, instruments, private_key=key, account_address=master, is_mainnet=False)
    await client.open(on_events)

`endpoints.http` is the base URL, `endpoints.ws` the socket's ("wss://.../ws"). The key may be an agent's. Does not do:
sub-accounts and vaults, isolated margin, builder dexes and spot, protection of the filled part of a resting entry.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from market.events import CancelRejected, Fill, OrderRejected, OrderRequest, OrderType, VenueEvent
from market.instruments import Instrument
from market.records import NS_PER_MS
from venues.accounts import AccountState
from venues.hyperliquid import client_preflight, client_wire, frames, info_replies, rules, signing, wire
from venues.hyperliquid import exchange_actions as act
from venues.hyperliquid import exchange_replies as replies
from venues.hyperliquid import info_requests as ask
from venues.hyperliquid import subscriptions as subs
from venues.hyperliquid.client_calls import ActionResult, Actions, NotSent, Questions
from venues.hyperliquid.client_orders import NEVER_PLACED, OwnOrders
from venues.hyperliquid.client_rows import OwnOrder, Terms, write_report
from venues.hyperliquid.client_socket import Feed
from venues.hyperliquid.client_upkeep import Upkeep
from venues.hyperliquid.info_requests import InfoRequest
from venues.orders import Message, OrderReport, is_group
from venues.port import Answer, ClientSettings, Endpoints, OnEvents, VenueUnavailableError

_BATCH = "na"
_DEFAULTS = ClientSettings()
_MARGIN_MS = 1_000  # beyond an action's expiry, before it is taken for never arrived


class HyperliquidClient:
    """One account at Hyperliquid."""

    venue_id = wire.VENUE_ID

    def __init__(
        self,
        endpoints: Endpoints,
        instruments: Sequence[Instrument],
        *,
        private_key: str,
        account_address: str,
        is_mainnet: bool,
        settings: ClientSettings = _DEFAULTS,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._endpoints, self._instruments, self._settings = endpoints, tuple(instruments), settings
        self._wallet = signing.load_wallet(private_key)
        self._account, self._is_mainnet, self._clock_ns = account_address.lower(), is_mainnet, clock_ns
        self._questions: Questions | None = None
        self._actions: Actions | None = None
        self._feed: Feed | None = None
        self._upkeep: Upkeep | None = None
        self._own = OwnOrders(rules.AssetTable(()), self._account)
        self._assets = rules.AssetTable(())
        self._on_events: OnEvents = lambda events: None
        self._early: list[frames.Frame | frames.UnknownFrame] | None = []  # before the start is known
        self._marks: dict[str, tuple[float, float]] = {}  # by coin: px, monotonic time
        self._opened_ms = 0

    def __repr__(self) -> str:
        return f"HyperliquidClient({self._endpoints.http}, account {self._account})"

    # Opening and closing.

    async def open(self, on_events: OnEvents, known: Sequence[OrderRequest] = ()) -> None:
        """Check everything, connect, and begin to tell. Raises PreflightError, VenueUnavailableError."""
        try:
            await self._open(on_events, known)
        except BaseException:
            await self.close()
            raise

    async def _open(self, on_events: OnEvents, known: Sequence[OrderRequest]) -> None:
        settings, http = self._settings, self._endpoints.http
        self._on_events, self._early, self._marks = on_events, [], {}
        questions = self._questions = Questions(http, settings.call_s)
        key_address = str(self._wallet.address)
        checked = await client_preflight.check_all(
            questions, self._instruments, key_address, self._account, settings.skew_s_max, self._clock_ns
        )
        self._assets, self._own = checked.assets, OwnOrders(checked.assets, self._account)
        self._actions = Actions(
            http, self._wallet, self._account, is_mainnet=self._is_mainnet, meta=checked.meta, clock_ns=self._clock_ns
        )
        self._upkeep = Upkeep(self._own, questions, checked, self._account, settings, self._clock_ns, self._flush)
        self._upkeep.protect = self._protect
        self._upkeep.cancel = self.cancel
        self._upkeep.shrink = self._shrink
        user = self._account
        wanted: list[subs.Subscription] = [
            subs.SubOrderUpdates(user), subs.SubUserFills(user), subs.SubUserFundings(user),
            *(subs.SubActiveAssetCtx(coin) for coin in checked.assets.by_coin),
        ]  # fmt: skip
        self._feed = Feed(self._endpoints.ws, wanted, settings, self._on_frame, self._upkeep.note_feed)
        self._upkeep.feed = self._feed
        self._feed.start()
        if not await self._feed.wait_ready(settings.connect_s + settings.call_s):
            raise VenueUnavailableError(f"hyperliquid: no subscription came into force at {self._endpoints.ws}")
        self._opened_ms = self._upkeep.venue_now_ms()
        for request in known:
            self._own.adopt(request, self._opened_ms + int(settings.unknown_s * 1000))
        await self._upkeep.begin()
        early, self._early = self._early or [], None
        for frame in early:
            self._on_frame(frame)
        for request in known:
            await self._upkeep.ask_order(request.client_order_id)
        self._upkeep.start()
        self._flush()

    async def close(self) -> None:
        """Let go of everything; orders stay at the venue. Safe to repeat."""
        if self._upkeep is not None:
            await self._upkeep.stop()
        if self._feed is not None:
            await self._feed.stop()
        actions, self._actions = self._actions, None
        questions, self._questions = self._questions, None
        if actions is not None:
            await actions.close()
        if questions is not None:
            await questions.close()

    # Orders.

    async def submit(self, requests: Sequence[OrderRequest]) -> Answer:
        """Send one order, or an entry and what protects it. Raises nothing."""
        deadline = _Deadline(self._settings.call_s)
        group = len(requests) > 1 and is_group(requests[0], requests[1:])
        terms, refused = self._check(requests, group)
        if refused:
            ts_ns = self._clock_ns()
            words = {r.client_order_id: refused.get(r.client_order_id, Message.GROUP_INVALID) for r in requests}
            return Answer(tuple(OrderRejected(name, word, ts_ns) for name, word in words.items()))
        own, upkeep = self._own, self._need_upkeep()
        expires_ms = self._find_expiry_ms()
        own.add(requests, terms, expires_ms, group=group)
        ids = [request.client_order_id for request in requests]
        try:
            marks = await self._find_marks(requests)
            orders = tuple(
                self._write(own.get(name), term, term.qty_lots, marks) for name, term in zip(ids, terms, strict=True)
            )
        except (ValueError, VenueUnavailableError) as error:
            for name in ids:
                own.refuse(name, f"not sent: {error}", upkeep.venue_now_ms())
            return self._answer(ids)
        action = act.PlaceOrders(orders, "normalTpsl" if group else _BATCH)
        result = await self._act(action, expires_ms, deadline)
        await self._hear_placed(ids, result, deadline)
        return self._answer(ids)

    async def cancel(self, client_order_id: str) -> Answer:
        """Cancel an order. Gone already is CancelRejected."""
        deadline = _Deadline(self._settings.call_s)
        order = self._own.get(client_order_id)
        asset = None if order is None else order.asset
        if order is None:
            try:
                report = await self.fetch_order(client_order_id)
            except VenueUnavailableError:
                return Answer(unknown_ids=(client_order_id,))
            asset = None if report is None else self._assets.by_instrument.get(report.instrument_id)
        if asset is None:
            return self._refuse_cancel(client_order_id, Message.NOT_OPEN)
        if order is not None:
            order.is_cancel_sent = True
        action = act.CancelByCloid((act.CloidCancel(asset.asset_id, client_order_id),))
        result = await self._act(action, self._find_expiry_ms(), deadline)
        refusal = _find_refusal(result)
        if refusal is not None:
            return self._refuse_cancel(client_order_id, refusal)
        outcome = replies.spread_statuses(result, 1)[0] if isinstance(result, replies.StatusesReply) else None
        ts_ms = self._need_upkeep().venue_now_ms()
        is_heard = outcome is not None and self._own.hear_canceled(client_order_id, outcome, ts_ms)
        await self._follow(deadline)
        refused = self._tell_refusal(client_order_id, outcome)
        return Answer((*self._own.take_events(), *refused), () if is_heard else (client_order_id,))

    async def modify(
        self,
        client_order_id: str,
        *,
        qty_lots: int | None = None,
        limit_px: float | None = None,
        trigger_px: float | None = None,
    ) -> Answer:
        """Change a resting order by one action of the venue, which gives it a new oid and leaves no gap.

        `qty_lots` is the whole, what is filled included.
        """
        deadline = _Deadline(self._settings.call_s)
        order = self._own.get(client_order_id)
        if order is None or not order.is_open or order.is_unheard or order.wanted is not None:
            return self._refuse_cancel(client_order_id, Message.NOT_OPEN)
        filled_lots = max(order.filled_lots, order.expected_lots)
        try:
            wanted = Terms(
                order.terms.qty_lots if qty_lots is None else qty_lots,
                order.terms.limit_px if limit_px is None else self._round_limit(order.request, limit_px),
                order.terms.trigger_px if trigger_px is None else client_wire.round_trigger_px(order.asset, trigger_px),
            )
            wire_order = self._write(order, wanted, wanted.qty_lots - filled_lots, {})
        except ValueError:
            return self._refuse_cancel(client_order_id, Message.INVALID)
        order.wanted, order.expires_ms = wanted, self._find_expiry_ms()
        action = act.ModifyOrders((act.Modify(client_order_id, wire_order),))
        result = await self._act(action, order.expires_ms, deadline)
        refusal = _find_refusal(result)
        if refusal is not None:
            self._own.drop_modify(client_order_id)
            answer = self._refuse_cancel(client_order_id, refusal)
            return Answer((*answer.events, *self._own.take_events()))
        outcome = replies.spread_statuses(result, 1)[0] if isinstance(result, replies.StatusesReply) else None
        ts_ms = self._need_upkeep().venue_now_ms()
        is_heard = outcome is not None and self._own.hear_modified(client_order_id, outcome, ts_ms)
        await self._follow(deadline)
        is_unknown = not is_heard or order.wanted is not None
        refused = self._tell_refusal(client_order_id, outcome)
        return Answer((*self._own.take_events(), *refused), (client_order_id,) if is_unknown else ())

    async def resolve(self, client_order_id: str) -> Answer:
        """Ask what became of an order, and tell it whole."""
        upkeep = self._need_upkeep()
        try:
            is_known = await upkeep.ask_order(client_order_id, adopt=True)
            if self._own.is_short:
                await upkeep.backfill()
        except VenueUnavailableError:
            return Answer(self._own.take_events(), (client_order_id,))
        order = self._own.get(client_order_id)
        if order is None:
            if is_known or upkeep.venue_now_ms() <= self._opened_ms + int(self._settings.unknown_s * 1000) + _MARGIN_MS:
                return Answer(self._own.take_events(), (client_order_id,))
            rejected = OrderRejected(client_order_id, NEVER_PLACED, self._clock_ns())
            return Answer((*self._own.take_events(), rejected))
        await self._follow(_Deadline(self._settings.call_s))
        return self._answer([client_order_id])

    async def set_leverage(self, instrument_id: str, leverage: int) -> None:
        """Set cross leverage. Raises ValueError where the venue refuses, VenueUnavailableError."""
        asset = self._assets.get(instrument_id)
        if leverage < 1:
            raise ValueError(f"leverage of {instrument_id} is {leverage}: must be at least 1")
        action = act.UpdateLeverage(asset.asset_id, True, leverage)
        result = await self._act(action, self._find_expiry_ms(), _Deadline(self._settings.call_s))
        match result:
            case replies.DefaultReply():
                return
            case replies.ActionRefused(message):
                raise ValueError(f"leverage {leverage} of {instrument_id} was refused: {message}")
            case _:
                raise VenueUnavailableError(f"hyperliquid: leverage of {instrument_id} was not answered")

    # Questions.

    async def fetch_open_orders(self) -> tuple[OrderReport, ...]:
        """Return what rests or waits for its trigger or parent."""
        rows: tuple[info_replies.FrontendOrder, ...] = await self._ask(ask.GetFrontendOpenOrders(self._account))
        made = [self._report(info_replies.OrderRow(row, "open", row.timestamp)) for row in rows]
        return tuple(report for report in made if report is not None)

    async def fetch_order(self, client_order_id: str) -> OrderReport | None:
        """Return an order by our id; None: the venue has never heard of it, or has forgotten it."""
        if not client_wire.CLOID.fullmatch(client_order_id):
            return None
        reply: info_replies.OrderStatusReply = await self._ask(ask.GetOrderStatus(self._account, client_order_id))
        return self._report(reply.order) if isinstance(reply.order, info_replies.OrderRow) else None

    async def fetch_fills(self, ts_from_ns: int) -> tuple[Fill, ...]:
        """Return all fills at or after that time, oldest first, told or not."""
        rows = await self._need_upkeep().fetch_fills(max(0, ts_from_ns // NS_PER_MS))
        found = [fill for fill in map(self._own.describe_fill, rows) if fill is not None]
        return tuple(fill for fill in found if fill.ts_event_ns >= ts_from_ns // NS_PER_MS * NS_PER_MS)

    async def fetch_positions(self) -> Mapping[str, int]:
        """Return instrument_id -> signed lots, as the venue holds it."""
        return MappingProxyType(await self._need_upkeep().fetch_positions())

    async def fetch_account(self) -> AccountState:
        """Return what the account is worth; fees and funding as far as this client has seen them."""
        state: info_replies.ClearinghouseState = await self._ask(ask.GetClearinghouseState(self._account))
        equity_quote = float(state.margin_summary.account_value)
        unrealized = sum(float(row.position.unrealized_pnl) for row in state.asset_positions)
        maintenance = state.cross_maintenance_margin_used
        return AccountState(
            cash_quote=equity_quote - unrealized,
            equity_quote=equity_quote,
            margin_initial_quote=float(state.margin_summary.total_margin_used),
            margin_maintenance_quote=math.nan
            if not isinstance(maintenance, type(state.withdrawable))
            else float(maintenance),
            fees_quote=self._own.fees_quote,
            funding_quote=self._own.funding_quote,
        )

    def check_health(self, ts_now_ns: int) -> tuple[str, ...]:
        """Return why nothing new should be opened now, one line each."""
        if self._upkeep is None or self._actions is None:
            return ("hyperliquid: the client is not open",)
        return self._upkeep.check_health(ts_now_ns)

    # Parts.

    def _need_upkeep(self) -> Upkeep:
        if self._upkeep is None:
            raise VenueUnavailableError("hyperliquid: the client is not open: await open() first")
        return self._upkeep

    async def _ask(self, request: InfoRequest) -> Any:
        if self._questions is None:
            raise VenueUnavailableError("hyperliquid: the client is not open: await open() first")
        return await self._questions.ask(request)

    async def _act(self, action: act.Action, expires_ms: int, deadline: "_Deadline") -> ActionResult:
        if self._actions is None:
            return NotSent("the client is not open")
        result = await self._actions.act(action, expires_ms, deadline.left_s())
        self._need_upkeep().note_result(result)
        return result

    def _find_expiry_ms(self) -> int:
        return (0 if self._upkeep is None else self._upkeep.venue_now_ms()) + int(self._settings.unknown_s * 1000)

    def _check(self, requests: Sequence[OrderRequest], group: bool) -> tuple[list[Terms], dict[str, str]]:
        terms: list[Terms] = []
        refused: dict[str, str] = {}
        if self._upkeep is None or self._actions is None:
            return terms, {request.client_order_id: "not sent: the client is not open" for request in requests}
        for request in requests:
            name, asset = request.client_order_id, self._assets.by_instrument.get(request.instrument_id)
            if asset is None:
                refused[name] = Message.UNKNOWN_INSTRUMENT
                continue
            if self._own.get(name) is not None or sum(r.client_order_id == name for r in requests) > 1:
                refused[name] = Message.DUPLICATE
                continue
            try:
                client_wire.check_request(asset, request)
                limit_px = self._round_limit(request, request.limit_px)
                trigger_px = client_wire.round_trigger_px(asset, request.trigger_px)
                terms.append(Terms(request.qty_lots, limit_px, trigger_px))
            except ValueError as error:
                refused[name] = f"{Message.INVALID}: {error}"
        if group is False and len(requests) > 1:
            refused |= {r.client_order_id: Message.GROUP_INVALID for r in requests if r.client_order_id not in refused}
        return terms, refused

    def _round_limit(self, request: OrderRequest, limit_px: float) -> float:
        return client_wire.round_request_px(self._assets.get(request.instrument_id), limit_px, request.side)

    def _write(self, order: OwnOrder | None, terms: Terms, qty_lots: int, marks: Mapping[str, float]) -> act.WireOrder:
        assert order is not None, "an order is remembered before it is written"
        return client_wire.write_order(
            order.asset,
            order.request,
            qty_lots,
            terms.limit_px,
            terms.trigger_px,
            is_child=order.parent is not None and not order.is_alone,
            mark_px=marks.get(order.asset.coin, math.nan),
            settings=self._settings,
        )

    async def _find_marks(self, requests: Sequence[OrderRequest]) -> dict[str, float]:
        coins = {self._assets.get(r.instrument_id).coin for r in requests if r.order_type is OrderType.MARKET}
        oldest_s = time.monotonic() - self._settings.stale_s
        if all(coin in self._marks and self._marks[coin][1] >= oldest_s for coin in coins):
            return {coin: self._marks[coin][0] for coin in coins}
        meta, ctxs = await self._ask(ask.GetMetaAndAssetCtxs())
        return {info.name: float(ctx.mark_px) for info, ctx in zip(meta.universe, ctxs, strict=False)}

    async def _hear_placed(self, ids: Sequence[str], result: ActionResult, deadline: "_Deadline") -> None:
        own, ts_ms = self._own, self._need_upkeep().venue_now_ms()
        match result:
            case replies.StatusesReply():
                for name, outcome in zip(ids, replies.spread_statuses(result, len(ids)), strict=True):
                    own.hear_placed(name, outcome, ts_ms)
            case replies.ActionRefused(message) if "nonce" in message:
                await self._settle_refused(ids, message)  # a copy of it may have come before
            case replies.ActionRefused(message) | NotSent(message):
                words = message if isinstance(result, replies.ActionRefused) else f"not sent: {message}"
                for name in ids:
                    own.refuse(name, replies.read_message(words) or words, ts_ms)
            case _:
                own.mark_unknown(ids)
        await self._follow(deadline)
        for name in ids:
            order = own.get(name)
            if order is not None and order.is_open and not order.is_unheard and not order.is_lost:
                own.accept_waiting(name, ts_ms)

    async def _settle_refused(self, ids: Sequence[str], message: str) -> None:
        upkeep = self._need_upkeep()
        self._own.mark_unknown(ids)
        for name in ids:
            try:
                is_known = await upkeep.ask_order(name)
            except VenueUnavailableError:
                continue
            if not is_known:
                self._own.refuse(name, message, upkeep.venue_now_ms())

    async def _follow(self, deadline: "_Deadline") -> None:
        """Ask and do what follows at once, as far as time allows; the upkeep does the rest."""
        own, upkeep = self._own, self._need_upkeep()
        for name in own.take_asks():
            try:
                await upkeep.ask_order(name, seconds=deadline.left_s())
            except VenueUnavailableError:
                upkeep.ask_later(name)
        for child in own.take_protects():
            await self._protect(child, deadline.left_s())
        for name in own.take_asks():
            upkeep.ask_later(name)
        upkeep.wake()

    async def _protect(self, child: OwnOrder, seconds: float) -> None:
        # The parent ended in part, and its children with it: place this one again for what was filled.
        if not child.is_placing:
            child.is_placing = True
            try:
                await self._place_again(child, seconds)
            finally:
                child.is_placing = False

    async def _place_again(self, child: OwnOrder, seconds: float) -> None:
        own, upkeep, name, parent = self._own, self._need_upkeep(), child.order_id, child.parent
        deadline = _Deadline(seconds)
        if parent is None or not child.is_lost or child.wanted is not None:
            return
        try:
            if await upkeep.find_open(child, deadline.left_s()):
                return
        except VenueUnavailableError:
            return  # the upkeep tries again
        child.protects += 1
        child.wanted = child.terms._replace(qty_lots=min(child.terms.qty_lots, parent.expected_lots))
        child.expires_ms, child.is_alone = self._find_expiry_ms(), True
        order = self._write(child, child.wanted, child.wanted.qty_lots, {})
        result = await self._act(act.PlaceOrders((order,), _BATCH), child.expires_ms, deadline)
        ts_ms = upkeep.venue_now_ms()
        match result:
            case replies.StatusesReply():
                own.hear_protected(name, replies.spread_statuses(result, 1)[0], ts_ms)
            case replies.ActionRefused() | NotSent():
                child.wanted, child.is_alone = None, False  # the upkeep tries again
            case _:
                upkeep.ask_later(name)
        for asked in own.take_asks():
            try:
                await upkeep.ask_order(asked, seconds=deadline.left_s())
            except VenueUnavailableError:
                upkeep.ask_later(asked)

    async def _shrink(self, client_order_id: str) -> Answer:
        order = self._own.get(client_order_id)
        if order is None or order.filled_lots >= order.terms.qty_lots:
            return await self.cancel(client_order_id)
        return await self.modify(client_order_id, qty_lots=order.terms.qty_lots)

    def _refuse_cancel(self, client_order_id: str, message: str) -> Answer:
        return Answer((CancelRejected(client_order_id, message, self._clock_ns()),))

    def _tell_refusal(self, client_order_id: str, outcome: replies.Outcome | None) -> tuple[VenueEvent, ...]:
        if not isinstance(outcome, replies.Refused):
            return ()
        return self._refuse_cancel(client_order_id, replies.read_message(outcome.error) or outcome.error).events

    def _answer(self, ids: Sequence[str]) -> Answer:
        def is_unknown(order: OwnOrder | None) -> bool:
            if order is None or order.is_end_told:
                return False
            return (order.is_unheard and order.end is None) or order.wanted is not None or order.is_lost

        unknown = tuple(name for name in ids if is_unknown(self._own.get(name)))
        return Answer(self._own.take_events(), unknown)

    def _report(self, row: info_replies.OrderRow) -> OrderReport | None:
        asset = self._assets.by_coin.get(row.order.coin)
        if asset is None:
            return None
        order = self._own.get(row.order.cloid.lower()) if isinstance(row.order.cloid, str) else None
        if order is None:
            return write_report(asset, row, None, 0, is_armed=True)
        return write_report(asset, row, order.request, order.base_lots, is_armed=order.is_armed)

    # What comes by itself.

    def _on_frame(self, frame: frames.Frame | frames.UnknownFrame) -> None:
        if isinstance(frame, frames.ActiveAssetCtxFrame):
            self._marks[frame.data.coin] = float(frame.data.ctx.mark_px), time.monotonic()
            return
        if self._early is not None:
            self._early.append(frame)
            return
        own, upkeep = self._own, self._need_upkeep()
        match frame:
            case frames.OrderUpdatesFrame(updates):
                for update in updates:
                    own.hear_update(update)
            case frames.UserFillsFrame(data):
                for row in sorted(data.fills, key=lambda row: row.time):
                    own.hear_fill(row)
            case frames.UserFundingsFrame(data):
                for funding in data.fundings:
                    own.hear_funding(funding)
            case _:
                upkeep.note_unreadable()
        self._flush()

    def _flush(self) -> None:
        events: tuple[VenueEvent, ...] = self._own.take_events()
        if events:
            self._on_events(events)
        if self._upkeep is not None:
            self._upkeep.wake()


class _Deadline:
    """When a call of the port must have ended."""

    def __init__(self, seconds: float) -> None:
        self._end_s = time.monotonic() + seconds

    def left_s(self) -> float:
        """Return what is left [s], at least a little."""
        return max(0.001, self._end_s - time.monotonic())


def _find_refusal(result: ActionResult) -> str | None:
    # Why an action certainly did nothing.
    match result:
        case replies.ActionRefused(message):
            return replies.read_message(message) or message
        case NotSent(reason):
            return f"not sent: {reason}"
        case _:
            return None
