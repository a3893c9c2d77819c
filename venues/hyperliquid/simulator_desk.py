"""What the Hyperliquid simulator does with a signed action: who signed, may it be, do it, answer in the venue's words.

The desk turns orders of the wire into requests of the exchange machine (`venues.simulator.driven_market`) and what
became of them, as the ledger heard it, into statuses. Signature first, then nonce (burned from here on), expiry, vault,
request limit, the action itself.
Children of a group are placed only if their parent fills whole; one that fills in part and is canceled takes them with
it, and the part stays naked: they were answered "waitingForFill" then, and end as "canceled". A parent that is refused
lends its words to its children. A trigger outside a group is answered as resting, with its id.
Does not model: the slippage bound of a trigger at market. Transfers, vaults and staking are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from msgspec import UNSET

from market.events import CancelRejected, OrderRequest, OrderType, TimeInForce
from market.records import NS_PER_MS
from venues.hyperliquid import exchange_actions as act
from venues.hyperliquid import exchange_replies as replies
from venues.hyperliquid import rules, signing, wire
from venues.hyperliquid.exchange_replies import ActionRefused, ExchangeReply, Outcome, Refused, Waiting
from venues.hyperliquid.simulator_accounts import (
    REQUESTS_INITIAL,
    AccountBook,
    Ledger,
    OrderRecord,
    Registry,
    average_px,
)
from venues.orders import Message
from venues.simulator.driven_market import Block
from venues.simulator.faults import NO_REQUEST_FAULT, RequestFate
from venues.simulator.shell import World

_SCHEDULE_AHEAD_MS = 5_000
_SCHEDULES_PER_DAY = 10
_DAY_MS = 86_400_000
_PRICE_BAND = 0.8
_TIFS = {
    "Gtc": TimeInForce.GTC,
    "Ioc": TimeInForce.IOC,
    "FrontendMarket": TimeInForce.IOC,
    "Alo": TimeInForce.POST_ONLY,
}
_TRIGGER_TYPES = {  # by tpsl and isMarket
    ("sl", True): OrderType.STOP_MARKET,
    ("sl", False): OrderType.STOP_LIMIT,
    ("tp", True): OrderType.MARKET_IF_TOUCHED,
    ("tp", False): OrderType.LIMIT_IF_TOUCHED,
}
_DEFAULT_ACTIONS = (act.SetReferrer, act.Noop, act.AgentSetAbstraction, act.SetUserAbstraction)


@dataclass(frozen=True, slots=True)
class _Case:
    """One action on its way: for which account, whose key, at what venue time, what goes wrong."""

    account_id: str
    book: AccountBook
    signer: str
    ts_ms: int
    fate: RequestFate


def limit_at_engine(record_order: act.WireOrder) -> float:
    """Return the px an order rests at, 0.0 for a trigger at market."""
    trigger = record_order.terms.trigger
    return 0.0 if trigger is not UNSET and trigger.is_market else rules.read_px(record_order.px)


def trigger_at_engine(order: act.WireOrder) -> float:
    """Return the px a trigger waits for, 0.0 for what is none."""
    trigger = order.terms.trigger
    return 0.0 if trigger is UNSET else rules.read_px(trigger.trigger_px)


def to_request(record: OrderRecord) -> OrderRequest:
    """Return the exchange machine's request for an order."""
    order, terms = record.wire_order, record.wire_order.terms
    kind, time_in_force = OrderType.LIMIT, TimeInForce.GTC
    if terms.trigger is not UNSET:
        kind = _TRIGGER_TYPES[terms.trigger.tpsl, terms.trigger.is_market]
    elif terms.limit is not UNSET:
        time_in_force = _TIFS[terms.limit.tif]
    return OrderRequest(
        record.key,
        record.asset.instrument.instrument_id,
        1 if order.is_buy else -1,
        record.lots,
        kind,
        limit_at_engine(order),
        trigger_at_engine(order),
        time_in_force,
        order.is_reduce_only,
        str(record.oid),
    )


class Desk:
    """Carries out signed actions. `network` None: signatures for either network are good."""

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        registry: Registry,
        assets: rules.AssetTable,
        network: signing.Network | None = None,
    ) -> None:
        self._world, self._ledger, self._registry, self._assets = world, ledger, registry, assets
        self._networks = signing.NETWORKS[::-1] if network is None else (network,)
        self.networks_used: dict[str, signing.Network] = {}  # by signer

    def handle(self, signed: act.SignedAction, fate: RequestFate = NO_REQUEST_FAULT) -> ExchangeReply:
        """Carry out an action and return the reply."""
        found = self._find_signer(signed)
        if isinstance(found, ActionRefused):
            return found
        signer, account_id = found
        ts_ms = self._world.venue_now_ns() // NS_PER_MS
        if fate.is_nonce_refused:
            return ActionRefused(f"Invalid nonce: duplicate nonce {signed.nonce}")
        refusal = self._registry.use_nonce(signer, signed.nonce, ts_ms)
        if refusal is not None:
            return ActionRefused(refusal)
        if signed.expires_after is not None and signed.expires_after < ts_ms:
            self._ledger.books[account_id].requests += 5
            return ActionRefused(replies.EXPIRED)
        if signed.vault_address is not None:
            vault = signed.vault_address.lower()
            book = self._ledger.books.get(vault)
            if vault != account_id and (book is None or book.account.master.lower() != account_id):
                return ActionRefused(f"Vault not registered: {vault}")
            account_id = vault
        case = _Case(account_id, self._ledger.books[account_id], signer, ts_ms, fate)
        return self._find_cap(case, signed.action) or self._perform(case, signed.action)

    def _find_signer(self, signed: act.SignedAction) -> tuple[str, str] | ActionRefused:
        first: str | None = None
        for network in self._networks:
            signer = signing.recover_signer(signed, network)
            if signer is None:
                continue
            first = first or signer.address
            is_user_signed = isinstance(signed.action, act.UserSigned)
            if is_user_signed and signer.network not in self._networks:
                continue
            user = self._registry.find_user(signer.address)
            if user is not None and (user == signer.address or not is_user_signed):
                self.networks_used[signer.address] = signer.network
                return signer.address, user
            if is_user_signed:
                return ActionRefused(replies.MUST_DEPOSIT.format(address=signer.address))
        if first is None:
            return ActionRefused(replies.UNRECOVERABLE)
        return ActionRefused(replies.UNKNOWN_SIGNER.format(address=first))

    def _find_cap(self, case: _Case, action: act.Action | act.UnknownAction) -> ActionRefused | None:
        book = case.book
        view = self._world.board.view(self._world.venue, self._world.now_ns(), "exchange")
        cap = REQUESTS_INITIAL + int(book.turnover_quote)
        if view.requests_max is not None:
            cap = view.requests_max
        book.requests += act.count_requests(action)
        if isinstance(action, act.CancelOrders | act.CancelByCloid):
            cap = min(cap + 100_000, 2 * cap)
        if book.requests > cap:
            volume = f"{book.turnover_quote:.2f}"
            return ActionRefused(replies.REQUESTS_SPENT.format(used=book.requests, cap=cap, volume=volume))
        if view.is_upgrading and any(not _is_post_only(order) for order in act.list_orders(action)):
            return ActionRefused(replies.ONLY_POST_ONLY)
        return None

    def _perform(self, case: _Case, action: act.Action | act.UnknownAction) -> ExchangeReply:
        match action:
            case act.PlaceOrders():
                return replies.StatusesReply("order", self._cut(case, self._place(case, action)))
            case act.CancelOrders():
                outcomes = [self._cancel(case, cancel.asset, cancel.oid) for cancel in action.cancels]
                return replies.StatusesReply("cancel", self._cut(case, outcomes))
            case act.CancelByCloid():
                outcomes = [self._cancel(case, cancel.asset, cancel.cloid) for cancel in action.cancels]
                return replies.StatusesReply("cancel", self._cut(case, outcomes))
            case act.ModifyOrders():
                outcomes = [self._modify(case, modify.oid, modify.order) for modify in action.modifies]
                return replies.StatusesReply("order", self._cut(case, outcomes))
            case act.ModifyOrder():
                outcome = self._modify(case, action.oid, action.order)
                return ActionRefused(outcome.error) if isinstance(outcome, Refused) else replies.DefaultReply()
            case act.UpdateLeverage():
                return self._set_leverage(case, action)
            case act.UpdateIsolatedMargin():
                return self._move_margin(case, action)
            case act.ScheduleCancel():
                return self._schedule(case, action)
            case act.ApproveAgent():
                name = action.agent_name if isinstance(action.agent_name, str) else ""
                self._registry.add_agent(case.account_id, action.agent_address.lower(), name)
            case act.ApproveBuilderFee():
                tenths_bps = int(Decimal(action.max_fee_rate.rstrip("%")) * 1000) if _is_rate(action) else 0
                case.book.builder_fees[action.builder.lower()] = tenths_bps
            case _ if not isinstance(action, _DEFAULT_ACTIONS):
                kind = action.type if isinstance(action, act.UnknownAction) else type(action).__struct_config__.tag
                return ActionRefused(f"Action {kind} is not supported here")
        return replies.DefaultReply()

    def _cut(self, case: _Case, outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
        return tuple(outcomes[: case.fate.statuses_max])

    # Orders.

    def _place(self, case: _Case, action: act.PlaceOrders) -> list[Outcome]:
        if isinstance(action.builder, act.Builder):
            allowed = case.book.builder_fees.get(action.builder.address.lower(), -1)
            if action.builder.fee > allowed:
                return [Refused(replies.BUILDER_FEE)]
        if action.grouping == "normalTpsl" and len(action.orders) > 1:
            return self._place_group(case, action.orders)
        is_position_tpsl = action.grouping == "positionTpsl"
        return [self._place_one(case, order, is_position_tpsl=is_position_tpsl) for order in action.orders]

    def _place_one(self, case: _Case, order: act.WireOrder, *, is_position_tpsl: bool = False) -> Outcome:
        made = self._begin(case, order, is_position_tpsl=is_position_tpsl)
        if isinstance(made, Refused):
            return made
        self._submit(case, [made])
        return self._report(case, made)

    def _place_group(self, case: _Case, orders: Sequence[act.WireOrder]) -> list[Outcome]:
        refusals = [self._find_refusal(case, order, is_child=index > 0) for index, order in enumerate(orders)]
        first = next((refusal for refusal in refusals if refusal is not None), None)
        if first is not None:
            return [Refused(first)]
        if case.fate.is_child_rejected:
            parent = self._place_one(case, orders[0])
            return [parent, *(Refused(replies.word_with_asset(replies.BAD_TRIGGER, o.asset)) for o in orders[1:])]
        records: list[OrderRecord] = []
        for order in orders:
            made = self._begin(case, order, is_checked=True)
            assert isinstance(made, OrderRecord), "a checked order begins"
            made.is_child = bool(records)
            records.append(made)
        self._submit(case, records, group=True)
        parent, *children = (self._report(case, record) for record in records)
        if isinstance(parent, Refused):
            children = [parent if isinstance(child, Refused | Waiting) else child for child in children]
        return [parent, *children]

    def _begin(
        self, case: _Case, order: act.WireOrder, *, is_position_tpsl: bool = False, is_checked: bool = False
    ) -> OrderRecord | Refused:
        asset = self._assets.by_id.get(order.asset)
        if is_position_tpsl and asset is not None and Decimal(order.sz) == 0:
            held_lots = self._held_lots(case, asset)
            order = _with_size(order, rules.lots_to_number(asset, abs(held_lots)))
        refusal = None if is_checked else self._find_refusal(case, order)
        if refusal is not None:
            return Refused(refusal)
        assert asset is not None, "an order of an unknown asset is refused"
        lots = rules.read_lots(asset, Decimal(order.sz))
        record = self._ledger.add(case.account_id, asset, order, lots, case.ts_ms)
        record.is_position_tpsl = is_position_tpsl
        return record

    def _find_refusal(
        self, case: _Case, order: act.WireOrder, *, is_child: bool = False, replaced: OrderRecord | None = None
    ) -> str | None:
        asset = self._assets.by_id.get(order.asset)
        if asset is None:
            return replies.word_with_asset(replies.INVALID_SIZE, order.asset)
        held_lots = abs(self._held_lots(case, asset))
        is_exempt = order.is_reduce_only and Decimal(order.sz) >= rules.lots_to_number(asset, held_lots)
        refusal = rules.find_order_refusal(asset, order, is_exempt=is_exempt)
        if refusal is not None:
            return refusal
        known = case.book.by_cloid.get(order.cloid.lower() if isinstance(order.cloid, str) else "")
        if known is not None and known.is_open and known is not replaced:
            return replies.translate_message(Message.DUPLICATE, asset.asset_id)
        cap = self._world.board.view(self._world.venue, self._world.now_ns(), "order").orders_max
        if cap is not None and replaced is None and len(case.book.open_orders()) >= cap:
            return replies.word_with_asset(replies.ORDERS_SPENT.format(cap=cap), asset.asset_id)
        return self._find_px_refusal(asset, order, is_child)

    def _find_px_refusal(self, asset: rules.Asset, order: act.WireOrder, is_child: bool) -> str | None:
        mark_px = self._world.market.get_mark(asset.instrument.instrument_id).mark_px
        trigger, words = order.terms.trigger, None
        if trigger is UNSET:
            if not (1.0 - _PRICE_BAND) * mark_px <= float(order.px) <= (1.0 + _PRICE_BAND) * mark_px:
                words = replies.TOO_FAR
        elif not is_child:
            # One that the mark has passed already would trigger at once.
            is_above = order.is_buy == (trigger.tpsl == "sl")
            if (float(trigger.trigger_px) - mark_px) * (1 if is_above else -1) <= 0.0:
                words = replies.BAD_TRIGGER
        return None if words is None else replies.word_with_asset(words, asset.asset_id)

    def _held_lots(self, case: _Case, asset: rules.Asset) -> int:
        position = self._world.market.exchange.position(case.account_id, asset.instrument.instrument_id)
        return position.qty_lots

    def _submit(self, case: _Case, records: Sequence[OrderRecord], *, group: bool = False) -> Block:
        requests = [to_request(record) for record in records]
        return self._world.act(
            lambda ts_ns: self._world.market.submit(
                case.account_id, requests, ts_ns, group=group, fill_cap_lots=case.fate.fill_cap_lots
            )
        )

    def _report(self, case: _Case, record: OrderRecord) -> Outcome:
        # What is said of an order right after it was taken.
        asset, cloid = record.asset, record.cloid or UNSET
        if record.status == "filled" or (record.lots_filled and not record.is_open):
            lots = rules.lots_to_number(asset, record.lots_filled)
            return replies.Filled(lots, average_px(record.lots_px / record.lots_filled), record.oid, cloid)
        if record.is_child and record.message == Message.PARENT_CANCELED:
            return replies.WAITING_FOR_FILL  # it was taken, then went with its parent
        if not record.is_open:
            bid, ask = (
                wire.format_action(rules.px_to_number(px)) if px == px else ""
                for px in (self._world.market.exchange.get_best_px(asset.instrument.instrument_id, s) for s in (1, -1))
            )
            return Refused(replies.translate_message(record.message, asset.asset_id, bid, ask))
        if record.is_trigger and (record.is_child or record.is_position_tpsl):
            report = self._world.market.exchange.order_status(case.account_id, record.key)
            is_armed = report is not None and report.is_armed
            return replies.WAITING_FOR_TRIGGER if is_armed else replies.WAITING_FOR_FILL
        return replies.Resting(record.oid, cloid)

    def _cancel(self, case: _Case, asset_id: int, oid: int | str) -> Outcome:
        record = self._ledger.find(case.account_id, oid)
        if record is None or not record.is_open or record.asset.asset_id != asset_id:
            return Refused(replies.word_with_asset(replies.NOT_OPEN, asset_id))
        self._fill_first(case, record)
        if not record.is_open:
            return Refused(replies.word_with_asset(replies.NOT_OPEN, asset_id))
        self._world.act(lambda ts_ns: self._world.market.cancel(case.account_id, record.key, ts_ns))
        return replies.Success() if not record.is_open else Refused(replies.word_with_asset(replies.NOT_OPEN, asset_id))

    def _fill_first(self, case: _Case, record: OrderRecord) -> None:
        if case.fate.is_filled_first:
            lots = record.lots - record.lots_filled
            self._world.act(lambda ts_ns: self._world.market.fill_resting(case.account_id, record.key, lots, ts_ns))

    def _modify(self, case: _Case, oid: int | str, order: act.WireOrder) -> Outcome:
        old = self._ledger.find(case.account_id, oid)
        if old is not None:
            self._fill_first(case, old)
        if old is None or not old.is_open:
            return Refused(replies.word_with_asset(replies.NOT_MODIFIABLE, order.asset))
        refusal = self._find_refusal(case, order, is_child=old.is_trigger, replaced=old)
        if refusal is not None:
            return Refused(refusal)
        if _shape(order) != _shape(old.wire_order):
            self._world.act(lambda ts_ns: self._world.market.cancel(case.account_id, old.key, ts_ns))
            return self._place_one(case, order, is_position_tpsl=old.is_position_tpsl)
        lots = rules.read_lots(old.asset, Decimal(order.sz))
        if order.cloid is UNSET and old.cloid is not None:
            order = _with_cloid(order, old.cloid)
        record = self._ledger.add(case.account_id, old.asset, order, lots, case.ts_ms, key=old.key)
        record.previous, record.lots_before = old, old.lots_before + old.lots_filled
        record.is_position_tpsl = old.is_position_tpsl
        block = self._world.act(
            lambda ts_ns: self._world.market.modify(
                case.account_id,
                old.key,
                ts_ns,
                record.lots_before + lots,
                limit_at_engine(order) or None,
                trigger_at_engine(order) or None,
            )
        )
        refused = next((event for event in block.events_of(case.account_id) if isinstance(event, CancelRejected)), None)
        if refused is not None:
            self._ledger.take_back(case.account_id, record, old)
            return Refused(replies.translate_message(refused.message, order.asset))
        return self._report(case, record)

    # The rest.

    def _set_leverage(self, case: _Case, action: act.UpdateLeverage) -> ExchangeReply:
        asset = self._assets.by_id.get(action.asset)
        if asset is None or not 1 <= action.leverage <= asset.instrument.leverage_max:
            return ActionRefused("Invalid leverage value")
        instrument_id, market = asset.instrument.instrument_id, self._world.market
        is_isolated = not action.is_cross
        if self._held_lots(case, asset) and is_isolated != market.exchange.is_isolated(case.account_id, instrument_id):
            return ActionRefused(replies.LEVERAGE_TYPE)
        lacking_quote = self._find_lacking_quote(case, asset, action.leverage) if is_isolated else 0.0
        if lacking_quote > max(0.0, self._find_free_quote(case)):
            return ActionRefused(replies.MARGIN_NEEDED)

        def change(ts_ns: int) -> Block:
            # Modes and margin are the exchange's; they cause no events, and the block is that of the leverage.
            market.exchange.set_isolated(case.account_id, instrument_id, is_isolated, ts_ns)
            if lacking_quote > 0.0:
                market.exchange.move_isolated_margin(case.account_id, instrument_id, lacking_quote, ts_ns)
            return market.set_leverage(case.account_id, instrument_id, float(action.leverage), ts_ns)

        self._world.act(change)
        case.book.leverages[instrument_id] = action.leverage
        (case.book.isolated.add if is_isolated else case.book.isolated.discard)(instrument_id)
        return replies.DefaultReply()

    def _find_lacking_quote(self, case: _Case, asset: rules.Asset, leverage: int) -> float:
        # What an isolated position must have more at a lower leverage; at a higher one it keeps what it has.
        exchange, instrument = self._world.market.exchange, asset.instrument
        held = exchange.position(case.account_id, instrument.instrument_id)
        needed_quote = abs(held.qty_lots) * instrument.lot_base * held.avg_px / leverage
        return needed_quote - exchange.get_isolated_margin_quote(case.account_id, instrument.instrument_id)

    def _find_free_quote(self, case: _Case) -> float:
        state = self._world.market.exchange.cross_state(case.account_id)
        return state.equity_quote - state.margin_initial_quote

    def _move_margin(self, case: _Case, action: act.UpdateIsolatedMargin) -> ExchangeReply:
        asset, market = self._assets.by_id.get(action.asset), self._world.market
        if asset is None:
            return ActionRefused(replies.NO_ISOLATED)
        instrument_id, amount_quote = asset.instrument.instrument_id, action.ntli / 10.0**act.USD_DECIMALS
        if not (self._held_lots(case, asset) and market.exchange.is_isolated(case.account_id, instrument_id)):
            return ActionRefused(replies.NO_ISOLATED)
        leverage = float(case.book.leverages.get(instrument_id, asset.instrument.leverage_max))

        def change(ts_ns: int) -> Block:
            market.exchange.move_isolated_margin(case.account_id, instrument_id, amount_quote, ts_ns)
            return market.set_leverage(case.account_id, instrument_id, leverage, ts_ns)

        try:
            self._world.act(change)
        except ValueError:
            return ActionRefused(replies.MARGIN_NEEDED)
        return replies.DefaultReply()

    def _schedule(self, case: _Case, action: act.ScheduleCancel) -> ExchangeReply:
        if not isinstance(action.time, int):
            case.book.ts_cancel_ms = None
            return replies.DefaultReply()
        if action.time < case.ts_ms + _SCHEDULE_AHEAD_MS:
            return ActionRefused("Scheduled cancel time too early, must be at least 5 seconds from now.")
        day, count = case.book.cancel_day
        if day == case.ts_ms // _DAY_MS and count >= _SCHEDULES_PER_DAY:
            return ActionRefused("Too many scheduled cancels triggered today.")
        case.book.ts_cancel_ms = action.time
        return replies.DefaultReply()

    def tend(self) -> None:
        """Do what time asks for: scheduled cancels; stops of positions follow their size."""
        ts_ms = self._world.venue_now_ns() // NS_PER_MS
        for account_id, book in self._ledger.books.items():
            if book.ts_cancel_ms is not None and ts_ms >= book.ts_cancel_ms:
                self._cancel_scheduled(account_id, book, ts_ms // _DAY_MS)
            for record in book.open_orders():
                if record.is_position_tpsl:
                    self._follow_position(account_id, book, record)

    def _cancel_scheduled(self, account_id: str, book: AccountBook, day: int) -> None:
        book.ts_cancel_ms = None
        book.cancel_day = (day, book.cancel_day[1] + 1 if book.cancel_day[0] == day else 1)
        self._world.act(lambda ts_ns: self._world.market.cancel_all(account_id, ts_ns, message=Message.SCHEDULED))

    def _follow_position(self, account_id: str, book: AccountBook, record: OrderRecord) -> None:
        instrument_id = record.asset.instrument.instrument_id
        held_lots = abs(self._world.market.exchange.position(account_id, instrument_id).qty_lots)
        whole_lots = record.lots_before + record.lots_filled + held_lots
        if held_lots and record.lots - record.lots_filled < held_lots:
            self._world.act(lambda ts_ns: self._world.market.modify(account_id, record.key, ts_ns, whole_lots))


def _is_post_only(order: act.WireOrder) -> bool:
    limit = order.terms.limit
    return limit is not UNSET and limit.tif == "Alo"


def _is_rate(action: act.ApproveBuilderFee) -> bool:
    try:
        wire.parse_number(action.max_fee_rate.rstrip("%"), "maxFeeRate")
    except wire.MalformedMessageError:
        return False
    return True


def _shape(order: act.WireOrder) -> tuple[object, ...]:
    # What a modify can not change in place.
    limit, trigger = order.terms.limit, order.terms.trigger
    kind = limit.tif if limit is not UNSET else (trigger.tpsl, trigger.is_market) if trigger is not UNSET else ""
    return order.asset, order.is_buy, order.is_reduce_only, kind


def _with_size(order: act.WireOrder, size: Decimal) -> act.WireOrder:
    text = wire.format_action(size)
    return act.WireOrder(order.asset, order.is_buy, order.px, text, order.is_reduce_only, order.terms, order.cloid)


def _with_cloid(order: act.WireOrder, cloid: str) -> act.WireOrder:
    return act.WireOrder(order.asset, order.is_buy, order.px, order.sz, order.is_reduce_only, order.terms, cloid)
