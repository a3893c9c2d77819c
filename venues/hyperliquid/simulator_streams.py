"""What the Hyperliquid simulator sends over WebSockets: snapshots on subscribing, then blocks and clocks as frames.

`Streams` holds one `session.Session` per socket and pushes into the `Outbox`; faults of messages are decided here, so
that a crossed, stale or unknown one is altered before. Channel names of the fault board are the venue's.
Does not model: notification (acknowledged, then silent), the count of connections and messages a minute.
"""

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from msgspec import UNSET

from market.records import NS_PER_MS, NS_PER_S
from venues.hyperliquid import frames, rules, wire
from venues.hyperliquid import info_replies as rows
from venues.hyperliquid import subscriptions as subs
from venues.hyperliquid.session import ABNORMAL_CLOSE, Drop, Posted, Send, Session, Subscribed, Unsubscribed
from venues.hyperliquid.simulator_accounts import HOUSE_ADDRESSES, Changes, Ledger
from venues.hyperliquid.simulator_info import FAST_LEVELS_MAX, INTERVALS_NS, LEVELS_MAX, InfoDesk
from venues.hyperliquid.simulator_states import ONCE, States
from venues.simulator.driven_market import Block
from venues.simulator.faults import MessageFate
from venues.simulator.shell import Outbox, World

_UNKNOWN = "Some New Word"
_CROSS_FRAC = Decimal("1.01")
_EVENTS_ROWS_MAX = 2000
AnyFrame = frames.Frame | frames.StateFrame


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often what is sent by the clock is sent; as measured in 2026."""

    book_ns: int = 5 * NS_PER_S
    book_fast_ns: int = 540 * NS_PER_MS
    mids_ns: int = 5 * NS_PER_S
    ctx_ns: int = NS_PER_S
    candle_ns: int = NS_PER_S


@dataclass(slots=True)
class _Socket:
    session: Session
    due_ns: dict[subs.Subscription, int] = field(default_factory=dict)
    bbos: dict[str, Any] = field(default_factory=dict)
    books: dict[subs.Subscription, bytes] = field(default_factory=dict)  # as last sent


class Streams:
    """Every socket's subscriptions."""

    def __init__(self, world: World, ledger: Ledger, info: InfoDesk, outbox: Outbox, cadence: Cadence) -> None:
        self._world, self._ledger, self._info, self._outbox = world, ledger, info, outbox
        self._cadence, self._states = cadence, States(info)
        self._sockets: dict[str, _Socket] = {}

    def open(self, name: str) -> None:
        """Begin a socket."""
        self._sockets[name] = _Socket(Session(self._info.coins, self._now_ms()))

    def forget(self, name: str) -> None:
        """End a socket."""
        self._sockets.pop(name, None)

    def list_subscriptions(self) -> list[subs.Subscription]:
        """Return the subscriptions in force, of all sockets."""
        return [one for socket in self._sockets.values() for one in socket.session.subscriptions]

    def receive(self, name: str, data: bytes | str) -> list[Posted]:
        """Take a client's frame; return the posts that the caller must answer."""
        socket, posts = self._sockets[name], list[Posted]()
        for step in socket.session.receive(data):
            match step:
                case Send(frame):
                    self.push(name, frame)
                case Subscribed(subscription):
                    self._begin(name, socket, subscription)
                case Unsubscribed(subscription):
                    socket.due_ns.pop(subscription, None)
                case Drop():
                    self._outbox.close(name, step.code)
                case Posted():
                    posts.append(step)
        return posts

    def push(self, name: str, frame: AnyFrame, subscription: subs.Subscription | None = None) -> None:
        """Send a frame, unless a switch says otherwise."""
        channel = frame.channel if isinstance(frame, frames.StateFrame) else str(type(frame).__struct_config__.tag)
        fate = self._world.board.decide_message(self._world.venue, channel, self._world.now_ns())
        socket = self._sockets.get(name)
        if socket is None:
            return
        payload = frames.encode_frame(_alter(frame, fate))
        if subscription is not None:
            payload = socket.books.get(subscription, payload) if fate.is_book_stale else payload
            socket.books[subscription] = payload
        if fate.is_value_unknown:
            payload = _make_unknown(payload)
        socket.session.note_sent(self._now_ms())
        self._outbox.push(name, channel, payload, fate)

    # What a subscription begins with.

    def _begin(self, name: str, socket: _Socket, subscription: subs.Subscription) -> None:
        match subscription:
            case subs.SubTrades(coin):
                self.push(name, frames.TradesFrame(tuple(self._info.trades(coin))))
            case subs.SubBbo(coin):
                self._push_bbo(name, socket, coin)
            case subs.SubUserFills(user):
                self._push_fills(name, user, tuple(self._info.fills(user)), True)
            case subs.SubUserFundings(user):
                book = self._ledger.books.get(user.lower())
                fundings = () if book is None else tuple(book.fundings[-_EVENTS_ROWS_MAX:])
                self.push(name, frames.UserFundingsFrame(frames.UserFundings(user.lower(), fundings, True)))
            case subs.SubLedgerUpdates(user):
                self.push(name, frames.LedgerUpdatesFrame(frames.LedgerUpdates(user.lower(), (), True)))
            case subs.SubUserHistoricalOrders(user):
                self.push(name, self._states.make_history(user, self._info.history(user), is_snapshot=True))
            case subs.SubUserEvents() | subs.SubOrderUpdates() | subs.SubNotification():
                pass
            case _:
                socket.due_ns[subscription] = 0
                self._tick_one(name, socket, subscription, self._world.now_ns())

    # What blocks bring.

    def tell(self, block: Block, changes: dict[str, Changes]) -> None:
        """Send what a block changed to whoever asked for it."""
        trades: dict[str, list[rows.Trade]] = {}
        for trade in block.trades:
            row = self._info.write_trade(trade)
            trades.setdefault(row.coin, []).append(row)
        touched = {self._info.find_coin(change.instrument_id) for change in block.books}
        for name, socket in [*self._sockets.items()]:
            for subscription in [*socket.session.subscriptions]:
                match subscription:
                    case subs.SubTrades(coin) if coin in trades:
                        self.push(name, frames.TradesFrame(tuple(trades[coin])))
                    case subs.SubBbo(coin) if coin in touched:
                        self._push_bbo(name, socket, coin)
                    case subs.UserSubscription(user) if user.lower() in changes:
                        self._tell_user(name, subscription, changes[user.lower()])
                        if subscription in socket.due_ns:  # a state that changed
                            socket.due_ns[subscription] = 0

    def _tell_user(self, name: str, subscription: subs.Subscription, changes: Changes) -> None:
        match subscription:
            case subs.SubOrderUpdates() if changes.updates:
                self.push(name, frames.OrderUpdatesFrame(tuple(changes.updates)))
            case subs.SubUserFills(user) if changes.fills:
                self._push_fills(name, user, tuple(changes.fills), False)
                view = self._world.board.view(self._world.venue, self._world.now_ns(), "userFills")
                if view.snapshot_overlap_rows:
                    self._push_fills(name, user, tuple(self._info.fills(user, view.snapshot_overlap_rows)), True)
            case subs.SubUserHistoricalOrders(user) if changes.records:
                rows_changed = [record.to_row() for record in changes.records.values()]
                self.push(name, self._states.make_history(user, rows_changed, is_snapshot=False))
            case subs.SubUserEvents(user):
                for events in _list_events(changes):
                    self.push(name, frames.UserEventsFrame(events))
                closed = [fill for fill in changes.fills if fill.liquidation is not UNSET]
                if closed:
                    liquidation = self._describe_liquidation(user, closed)
                    self.push(name, frames.UserEventsFrame(frames.UserEvents(liquidation=liquidation)))
            case subs.SubUserFundings(user) if changes.fundings:
                self.push(name, frames.UserFundingsFrame(frames.UserFundings(user.lower(), tuple(changes.fundings))))

    def _describe_liquidation(self, user: str, closed: list[rows.Fill]) -> frames.Liquidation:
        # The first trade's id stands for the liquidation's, the house for who liquidated.
        notional = sum((fill.px * fill.sz for fill in closed), Decimal(0))
        left = self._info.account_state(user).margin_summary.account_value
        number = closed[0].tid if isinstance(closed[0].tid, int) else 0
        liquidator = next(iter(HOUSE_ADDRESSES.values()))
        return frames.Liquidation(number, liquidator, user.lower(), wire.reply_number(notional), left)

    def _push_fills(self, name: str, user: str, fills: tuple[rows.Fill, ...], is_snapshot: bool) -> None:
        told = frames.UserFills(user.lower(), fills, True) if is_snapshot else frames.UserFills(user.lower(), fills)
        self.push(name, frames.UserFillsFrame(told))

    def _push_bbo(self, name: str, socket: _Socket, coin: str) -> None:
        book = self._info.book(coin, 1)
        best = (book.levels[0][0] if book.levels[0] else None, book.levels[1][0] if book.levels[1] else None)
        if socket.bbos.get(coin) != best:
            socket.bbos[coin] = best
            self.push(name, frames.BboFrame(frames.Bbo(coin, book.time, best)))

    # What the clock brings.

    def tick(self) -> None:
        """Send what is due by the clock; drop sockets on which nothing was sent for a minute."""
        now_ns = self._world.now_ns()
        for name, socket in [*self._sockets.items()]:
            drop = socket.session.find_idle_drop(self._now_ms())
            if drop is not None:
                self._outbox.close(name, ABNORMAL_CLOSE)
                continue
            for subscription, due_ns in [*socket.due_ns.items()]:
                if now_ns >= due_ns:
                    self._tick_one(name, socket, subscription, now_ns)

    def _tick_one(self, name: str, socket: _Socket, subscription: subs.Subscription, now_ns: int) -> None:
        every_ns = self._cadence.ctx_ns
        match subscription:
            case subs.SubL2Book(coin):
                levels_max = FAST_LEVELS_MAX if subscription.fast else LEVELS_MAX
                book = self._info.book(coin, levels_max, subscription.n_sig_figs, subscription.mantissa)
                self.push(name, frames.L2BookFrame(book), subscription)
                every_ns = self._cadence.book_fast_ns if subscription.fast else self._cadence.book_ns
                every_ns = self._world.board.view(self._world.venue, now_ns, "l2Book").book_every_ns or every_ns
            case subs.SubAllMids():
                self.push(name, frames.AllMidsFrame(frames.Mids(self._info.mids())))
                every_ns = self._cadence.mids_ns
            case subs.SubCandle(coin, interval) if interval in INTERVALS_NS:
                now_ms = self._world.market.ts_now_ns // NS_PER_MS
                from_ms = now_ms - INTERVALS_NS[interval] // NS_PER_MS
                for candle in self._info.candles(coin, interval, from_ms, now_ms)[-1:]:
                    self.push(name, frames.CandleFrame(candle))
                every_ns = self._cadence.candle_ns
            case subs.SubActiveAssetCtx(coin):
                self.push(name, frames.ActiveAssetCtxFrame(frames.CoinCtx(coin, self._info.asset_ctx(coin))))
            case _ if self._states.has(subscription):
                state = self._states.make(subscription)
                if state is not None:
                    self.push(name, state)
                if isinstance(subscription, ONCE):
                    del socket.due_ns[subscription]
                    return
            case subs.SubActiveAssetData(user, coin):
                self.push(name, frames.ActiveAssetDataFrame(self._info.active_asset_data(user, coin)))
        # Multiples of the cadence: all default books of a socket keep one clock.
        socket.due_ns[subscription] = (now_ns // every_ns + 1) * every_ns

    def _now_ms(self) -> int:
        return self._world.now_ns() // NS_PER_MS


def _list_events(changes: Changes) -> list[frames.UserEvents]:
    found = [frames.UserEvents(fills=tuple(changes.fills))] if changes.fills else []
    found += [frames.UserEvents(funding=row) for row in changes.fundings]
    if changes.canceled:
        found.append(frames.UserEvents(non_user_cancel=tuple(changes.canceled)))
    return found


def _alter(frame: AnyFrame, fate: MessageFate) -> AnyFrame:
    # A crossed book: the best bid above the best ask.
    if not (fate.is_book_crossed and isinstance(frame, frames.L2BookFrame) and all(frame.data.levels)):
        return frame
    bids, asks = frame.data.levels
    px = Decimal(int(asks[0].px * _CROSS_FRAC)) + 1
    crossed = rows.Level(rules.px_to_number(float(px)), bids[0].sz, bids[0].n)
    return frames.L2BookFrame(rows.L2Book(frame.data.coin, frame.data.time, ((crossed, *bids[1:]), asks)))


def _make_unknown(payload: bytes) -> bytes:
    # A direction or status of tomorrow.
    return json.dumps(json.loads(payload, object_hook=_rename_value), separators=(",", ":")).encode()


def _rename_value(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _UNKNOWN if key in ("dir", "status") else value for key, value in values.items()}
