"""Who trades at the Hyperliquid simulator: accounts, agents, nonces, and what the venue remembers of orders and fills.

`Ledger` hears every block and keeps, per account, the rows that /info and the WebSocket tell: orders under venue ids of
its own (a modified order gets a new one, as at the venue), fills with start position and closed profit, funding. It
changes nothing in the market. `Registry` says who signed.

Does not model: pruned agents, agents' expiry, vaults; money only changes by trading and funding.
"""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from msgspec import UNSET

from market.events import (
    Fill,
    FillKind,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderTriggered,
)
from market.fills import Costs, apply_fill
from market.records import NS_PER_MS, POSITION_FLAT, Position
from venues.hyperliquid import frames, info_replies, lifecycle, rules, wire
from venues.hyperliquid.exchange_actions import WireOrder
from venues.hyperliquid.info_replies import FrontendOrder, OpenOrder, OrderRow
from venues.hyperliquid.nonces import NonceSet
from venues.lifecycle import OrderStatus
from venues.simulator.accounts import SimulatedAccount
from venues.simulator.driven_market import Block
from venues.simulator.house import HOUSE_IDS

BASE_COSTS = Costs(4.5, 1.5, 0.0)  # the venue's base tier
HOUSE_ADDRESSES = {name: f"0x{index + 1:040x}" for index, name in enumerate(HOUSE_IDS)}
REQUESTS_INITIAL = 10_000
_MONEY_DECIMALS, _PX_DECIMALS = 6, 8


def money(amount_quote: float) -> Decimal:
    """Return money as the venue writes it, to a millionth of a dollar."""
    return wire.reply_number(Decimal(f"{amount_quote:.{_MONEY_DECIMALS}f}"))


def average_px(px: float) -> Decimal:
    """Return a px that need not lie on the grid."""
    return wire.reply_number(Decimal(f"{px:.{_PX_DECIMALS}f}"))


def make_hash(*parts: object) -> str:
    """Return what stands for the hash of a transaction: the same parts give the same."""
    return "0x" + hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()


@dataclass(slots=True, eq=False)
class OrderRecord:
    """One order as the venue tells it; `key` is its client order id at the exchange machine."""

    oid: int
    key: str
    asset: rules.Asset
    wire_order: WireOrder
    lots: int
    ts_ms: int
    is_position_tpsl: bool = False
    is_child: bool = False  # of a group
    lots_before: int = 0  # filled before a modify gave it this oid
    lots_filled: int = 0
    lots_px: float = 0.0  # sum of lots x px
    status: str = ""  # "": not decided yet
    status_ms: int = 0
    message: str = ""  # the exchange machine's, why it ended
    previous: "OrderRecord | None" = None  # what a modify replaces with it

    @property
    def is_open(self) -> bool:
        """Whether it may still fill."""
        return self.status in ("open", "triggered")

    @property
    def cloid(self) -> str | None:
        """The client's id, in lower case."""
        cloid = self.wire_order.cloid
        return cloid.lower() if isinstance(cloid, str) else None

    @property
    def is_trigger(self) -> bool:
        """Whether it waits for a trigger px."""
        return self.wire_order.terms.trigger is not UNSET

    def left(self) -> Decimal:
        """Return the size still open, 0 once it has ended with a fill."""
        return rules.lots_to_number(self.asset, self.lots - self.lots_filled)

    def to_open(self) -> OpenOrder:
        """Return the short row."""
        return OpenOrder(
            self.asset.coin,
            info_replies.write_side(1 if self.wire_order.is_buy else -1),
            wire.reply_number(self.wire_order.px),
            self.left(),
            self.oid,
            self.ts_ms,
            rules.lots_to_number(self.asset, self.lots),
            self.cloid or UNSET,
            self.wire_order.is_reduce_only or UNSET,
        )

    def to_frontend(self) -> FrontendOrder:
        """Return the row with everything."""
        order, condition, trigger_px, kind, tif = self.wire_order, "N/A", Decimal("0.0"), "Limit", None
        trigger, limit = order.terms.trigger, order.terms.limit
        if trigger is not UNSET:
            trigger_px = wire.reply_number(trigger.trigger_px)
            is_above = order.is_buy == (trigger.tpsl == "sl")
            condition = info_replies.write_trigger_condition(trigger_px, is_above=is_above)
            kind = f"{'Stop' if trigger.tpsl == 'sl' else 'Take Profit'} {'Market' if trigger.is_market else 'Limit'}"
        elif limit is not UNSET:
            tif = limit.tif
        return FrontendOrder(
            self.asset.coin,
            info_replies.write_side(1 if order.is_buy else -1),
            wire.reply_number(order.px),
            self.left(),
            self.oid,
            self.ts_ms,
            condition,
            self.is_trigger,
            trigger_px,
            self.is_position_tpsl,
            order.is_reduce_only,
            kind,
            rules.lots_to_number(self.asset, self.lots),
            tif,
            (),
            self.cloid,
        )

    def to_row(self) -> OrderRow:
        """Return the row with what became of it."""
        return OrderRow(self.to_frontend(), self.status, self.status_ms)


@dataclass(slots=True)
class AccountBook:
    """What the venue remembers of one account."""

    account: SimulatedAccount
    orders: dict[int, OrderRecord] = field(default_factory=dict)  # by oid, in order
    by_key: dict[str, OrderRecord] = field(default_factory=dict)
    by_cloid: dict[str, OrderRecord] = field(default_factory=dict)  # the latest
    fills: list[info_replies.Fill] = field(default_factory=list)  # oldest first
    fundings: list[frames.FundingRow] = field(default_factory=list)
    positions: dict[str, Position] = field(default_factory=dict)
    funding_paid: dict[str, list[float]] = field(default_factory=dict)  # all time, since open, since change
    agents: dict[str, str] = field(default_factory=dict)  # address -> name
    builder_fees: dict[str, int] = field(default_factory=dict)
    leverages: dict[str, int] = field(default_factory=dict)
    isolated: set[str] = field(default_factory=set)  # instruments
    turnover_quote: float = 0.0
    requests: int = 0
    ts_cancel_ms: int | None = None  # scheduleCancel
    cancel_day: tuple[int, int] = (0, 0)  # UTC day, triggers on it

    def open_orders(self) -> list[OrderRecord]:
        """Return the open orders, oldest first."""
        return [record for record in self.by_key.values() if record.is_open]


@dataclass(slots=True)
class Changes:
    """What one block changed for one account, ready to be told, in order."""

    updates: list[frames.OrderUpdate] = field(default_factory=list)
    fills: list[info_replies.Fill] = field(default_factory=list)
    fundings: list[frames.FundingRow] = field(default_factory=list)
    records: dict[int, OrderRecord] = field(default_factory=dict)  # whose status or fill changed, by oid
    canceled: list[frames.CanceledByVenue] = field(default_factory=list)
    is_position_changed: bool = False


class Ledger:
    """Every account's book, fed by blocks."""

    def __init__(self, accounts: Sequence[SimulatedAccount], assets: rules.AssetTable) -> None:
        self.books = {account.address.lower(): AccountBook(account) for account in accounts}
        self._assets = assets
        self._oids = itertools.count(77_000_000_001)
        self._marks: dict[str, float] = {}

    def add(
        self, account_id: str, asset: rules.Asset, order: WireOrder, lots: int, ts_ms: int, *, key: str = ""
    ) -> OrderRecord:
        """Begin an order; `key`: it goes on under a new oid."""
        book, oid = self.books[account_id], next(self._oids)
        record = OrderRecord(oid, key or f"o{oid}", asset, order, lots, ts_ms)
        book.orders[oid] = book.by_key[record.key] = record
        if record.cloid is not None:
            book.by_cloid[record.cloid] = record
        return record

    def take_back(self, account_id: str, record: OrderRecord, previous: OrderRecord) -> None:
        """Undo `add` of an order that goes on as it was."""
        book = self.books[account_id]
        del book.orders[record.oid]
        book.by_key[previous.key] = previous
        if previous.cloid is not None:
            book.by_cloid[previous.cloid] = previous

    def find(self, account_id: str, oid: int | str) -> OrderRecord | None:
        """Return an order by either id, None if the account never had it."""
        book = self.books.get(account_id)
        if book is None:
            return None
        return book.orders.get(oid) if isinstance(oid, int) else book.by_cloid.get(oid.lower())

    def hear(self, block: Block) -> dict[str, Changes]:
        """Take a block in; return what it changed by account."""
        found: dict[str, Changes] = {}
        for mark in block.marks:
            self._marks[mark.instrument_id] = mark.mark_px
        for account_id, event in block.events:
            book = self.books.get(account_id)
            if book is not None:
                self._hear_event(book, account_id, event, found.setdefault(account_id, Changes()))
        return found

    def _hear_event(self, book: AccountBook, account_id: str, event: object, changes: Changes) -> None:
        match event:
            case Fill():
                self._hear_fill(book, account_id, event, changes)
            case FundingPaid():
                self._hear_funding(book, event, changes)
            case OrderModified():
                self._hear_modified(book, event, changes)
            case OrderAccepted() | OrderTriggered() | OrderCanceled() | OrderRejected():
                record = book.by_key.get(event.client_order_id)
                if record is None:
                    return
                record.status_ms = event.ts_event_ns // NS_PER_MS
                if isinstance(event, OrderAccepted):
                    record.status = "open"
                elif isinstance(event, OrderTriggered):
                    record.status = "triggered"
                else:
                    is_cancel = isinstance(event, OrderCanceled)
                    status = OrderStatus.CANCELED if is_cancel else OrderStatus.REJECTED
                    record.message = event.message
                    is_part = record.lots_filled > 0
                    record.status = lifecycle.format_status(status, event.message, is_filled_in_part=is_part)
                    if is_cancel and record.status not in ("canceled", "scheduledCancel"):
                        changes.canceled.append(frames.CanceledByVenue(record.asset.coin, record.oid))
                self._tell(record, changes)

    def _hear_modified(self, book: AccountBook, event: OrderModified, changes: Changes) -> None:
        record = book.by_key.get(event.client_order_id)
        if record is None:
            return
        previous, record.previous = record.previous, None
        record.status_ms = event.ts_event_ns // NS_PER_MS
        if previous is not None:
            previous.status, previous.status_ms, record.status = "canceled", record.status_ms, previous.status
            self._tell(previous, changes)
        record.lots = event.qty_lots - record.lots_before
        self._tell(record, changes)

    def _tell(self, record: OrderRecord, changes: Changes) -> None:
        changes.updates.append(self.tell(record))
        changes.records[record.oid] = record

    def tell(self, record: OrderRecord) -> frames.OrderUpdate:
        """Return what orderUpdates says of an order."""
        return frames.OrderUpdate(record.to_open(), record.status, record.status_ms)

    def _hear_fill(self, book: AccountBook, account_id: str, event: Fill, changes: Changes) -> None:
        asset = self._assets.get(event.instrument_id)
        record = book.by_key.get(event.client_order_id)
        before = book.positions.get(event.instrument_id, POSITION_FLAT)
        lots = event.side * event.fill_qty_lots
        after, pnl_quote = apply_fill(before, lots, event.fill_px, asset.instrument.lot_base, event.ts_event_ns)
        book.positions[event.instrument_id] = after
        sums = book.funding_paid.setdefault(event.instrument_id, [0.0, 0.0, 0.0])
        sums[2] = 0.0
        if before.qty_lots * after.qty_lots <= 0:
            sums[1] = 0.0
        book.turnover_quote += event.fill_qty_lots * asset.instrument.lot_base * event.fill_px
        is_liquidation = event.kind == FillKind.LIQUIDATION
        row = info_replies.Fill(
            asset.coin,
            rules.px_to_number(event.fill_px),
            rules.lots_to_number(asset, event.fill_qty_lots),
            info_replies.write_side(event.side),
            event.ts_event_ns // NS_PER_MS,
            rules.lots_to_number(asset, before.qty_lots),
            name_direction(before.qty_lots, lots, is_liquidation, event.instrument_id in book.isolated),
            money(pnl_quote),
            make_hash(event.venue_order_id, event.ts_event_ns),
            int(event.venue_order_id) if record is None else record.oid,
            not event.is_maker,
            money(event.fee_quote),
            int(event.trade_id),
            "USDC",
            None,
            UNSET if record is None else record.cloid or UNSET,
        )
        if is_liquidation:
            mark_px = rules.px_to_number(self._marks.get(event.instrument_id, event.fill_px))
            told = info_replies.LiquidationOfFill(account_id, mark_px, "market")
            row = info_replies.Fill(
                **{name: getattr(row, name) for name in row.__struct_fields__[:-1]}, liquidation=told
            )
        book.fills.append(row)
        changes.fills.append(row)
        changes.is_position_changed = True
        if record is not None:
            record.lots_filled += event.fill_qty_lots
            record.lots_px += event.fill_qty_lots * event.fill_px
            record.status_ms = event.ts_event_ns // NS_PER_MS
            if record.lots_filled >= record.lots:
                record.status = "filled"
            self._tell(record, changes)

    def _hear_funding(self, book: AccountBook, event: FundingPaid, changes: Changes) -> None:
        asset = self._assets.get(event.instrument_id)
        sums = book.funding_paid.setdefault(event.instrument_id, [0.0, 0.0, 0.0])
        for index in range(3):
            sums[index] -= event.amount_quote
        row = frames.FundingRow(
            event.ts_event_ns // NS_PER_MS,
            asset.coin,
            money(event.amount_quote),
            rules.lots_to_number(asset, event.qty_lots),
            wire.reply_number(Decimal(f"{event.funding_rate:.10f}")),
            None,
        )
        book.fundings.append(row)
        changes.fundings.append(row)


def name_direction(held_lots: int, lots: int, is_liquidation: bool = False, is_isolated: bool = False) -> str:
    """Return the venue's word for what a fill of signed `lots` does to a position.

    >>> [name_direction(0, 5), name_direction(5, -5), name_direction(5, -9), name_direction(-5, 2)]
    ['Open Long', 'Close Long', 'Long > Short', 'Close Short']
    """
    if is_liquidation:
        return f"Liquidated {'Isolated' if is_isolated else 'Cross'} {'Long' if held_lots > 0 else 'Short'}"
    if held_lots * lots >= 0:
        return f"Open {'Long' if lots > 0 else 'Short'}"
    if abs(lots) > abs(held_lots):
        return "Long > Short" if held_lots > 0 else "Short > Long"
    return f"Close {'Long' if held_lots > 0 else 'Short'}"


class Registry:
    """Whose keys may act for whom, and which nonces they used."""

    def __init__(self, books: dict[str, AccountBook]) -> None:
        self._books = books
        self._nonces: dict[str, NonceSet] = {}

    def find_user(self, signer: str) -> str | None:
        """Return the account a key acts for: its own or its master's, None if it has none."""
        if signer in self._books:
            return signer
        return next((address for address, book in self._books.items() if signer in book.agents), None)

    def use_nonce(self, signer: str, nonce: int, ts_now_ms: int) -> str | None:
        """Burn a nonce of a signer; return the venue's words if it is not good."""
        return self._nonces.setdefault(signer, NonceSet()).use(nonce, ts_now_ms)

    def add_agent(self, user: str, agent: str, name: str) -> None:
        """Let a key act for an account; it takes the place of the agent of that name."""
        agents = self._books[user].agents
        for address in [address for address, known in agents.items() if known == name]:
            del agents[address]
            self._nonces.pop(address, None)
        agents[agent] = name

    def list_sub_accounts(self, user: str) -> Iterable[str]:
        """Return the sub-accounts of a user."""
        return [address for address, book in self._books.items() if book.account.master.lower() == user]
