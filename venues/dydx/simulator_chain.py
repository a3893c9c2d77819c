"""The simulated chain: blocks, mempool and matching of one dYdX node over a `DrivenMarket`.

`Chain.broadcast` is CheckTx by `admission.Admitter`; what it admits acts on the market: short-term orders at once,
stateful ones when their block comes, matched in the block after, conditional ones once the oracle touches them.
`advance` makes the blocks that are due by the world's clock and expires what has run out. Every change of an account
goes to the listeners as an `AccountUpdate`, every block as a height. Nothing is awaited here.

Does not model: several nodes with different opinions, fees on gas, permissioned keys, transfers and deposits, isolated
margin, the clamp of the oracle's move per block, committed fills later than optimistic ones, the 20-orders limit.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from market.events import Fill, FundingPaid, OrderCanceled, OrderModified, OrderRejected
from market.fills import Costs
from venues.dydx.admission import Admission, Admitter
from venues.dydx.chain_errors import ChainError, MalformedMessageError, TxRefusal, find_error
from venues.dydx.indexer_records import FillRow, FundingPaymentRow, OrderRow
from venues.dydx.lifecycle import (
    BEST_EFFORT_CANCELED,
    BEST_EFFORT_OPENED,
    CANCELED,
    FILLED,
    OPEN,
    REMOVAL_PREFIX,
    UNTRIGGERED,
    write_removal,
)
from venues.dydx.order_terms import (
    CONDITIONAL,
    BatchCancel,
    CancelOrder,
    Order,
    OrderId,
    PlaceOrder,
    TimeInForce,
    is_short_term_message,
)
from venues.dydx.rules import ChainRules
from venues.dydx.sequences import ChainAccount
from venues.dydx.short_term import BatchCancellation, Cancellation, Placement
from venues.dydx.simulator_orders import (
    Holding,
    LiveOrder,
    account_id_of,
    compute_holding,
    is_triggered_by,
    make_contracts,
    make_request,
    show_fill,
    show_funding_payment,
    show_order,
)
from venues.dydx.transactions import Tx, decode_tx, encode_tx
from venues.dydx.units import lots_to_quantums, subticks_to_px
from venues.orders import Message
from venues.simulator.driven_market import Block
from venues.simulator.faults import RequestFate, VenueView
from venues.simulator.shell import World

HEIGHT_FIRST = 1000
HISTORY_BLOCKS = 128
INCLUDED_MAX = 10_000  # transactions that GetTx remembers
EXPIRY = "expiry"  # the channel the board is asked about before an expiry is told
_OPEN_STATUSES = (OPEN, BEST_EFFORT_OPENED, UNTRIGGERED)


@dataclass(frozen=True, slots=True)
class AccountUpdate:
    """What changed of one subaccount in one block."""

    height: int
    account_id: str
    orders: tuple[OrderRow, ...] = ()
    fills: tuple[FillRow, ...] = ()
    holding: Holding | None = None
    fundings: tuple[FundingPaymentRow, ...] = ()
    is_told: bool = True  # False: the socket does not hear of it


@dataclass(frozen=True, slots=True)
class Included:
    """A transaction that a block took in, and what came of it there."""

    height: int
    refusal: TxRefusal | None
    tx_bytes: bytes


class Chain:
    """One node's chain; also the `RiskView` of its own admission."""

    def __init__(self, world: World, chain_id: str, block_ns: int, rules: ChainRules | None = None) -> None:
        """Begin at the first height; `start` makes the market current."""
        self.world, self.market, self.board = world, world.market, world.board
        self.block_ns = block_ns
        self.contracts = make_contracts(self.market.exchange.instruments)
        self.costs = self.market.exchange.costs
        self.by_instrument = {contract.instrument.instrument_id: contract for contract in self.contracts}
        self.books = {contract.units.clob_pair_id: contract.units for contract in self.contracts}
        self.by_clob_pair = {contract.units.clob_pair_id: contract for contract in self.contracts}
        self.admitter = Admitter(chain_id, self.books, rules=rules, risk=self)
        self.height = HEIGHT_FIRST
        self.block_time_ns = 0
        self.block_times: deque[tuple[int, int]] = deque(maxlen=HISTORY_BLOCKS)
        self.account_history: deque[tuple[int, dict[str, ChainAccount]]] = deque(maxlen=HISTORY_BLOCKS)
        self.accounts: dict[str, None] = {}
        self.addresses: dict[str, None] = {}
        self.included: dict[str, Included] = {}
        self.on_update: list[Callable[[AccountUpdate], None]] = []
        self.on_height: list[Callable[[int, int], None]] = []
        self._ts_next_ns = 0
        self._mempool: list[tuple[str, Tx]] = []
        self._parked: list[tuple[Admission, RequestFate]] = []  # admitted while the chain stands still
        self._orders: dict[OrderId, LiveOrder] = {}
        self._by_market_id: dict[str, LiveOrder] = {}
        self._to_match: list[LiveOrder] = []
        self._ending: list[LiveOrder] = []  # short-term ones that are BEST_EFFORT_CANCELED
        self._count = 0
        self._attempts: dict[tuple[str, int], int] = {}
        self._reasons: dict[str, str] = {}
        self.is_halted = False
        world.listen(self._on_block)

    # Accounts.

    def fund(
        self,
        address: str,
        deposit_quote: float,
        number: int = 0,
        costs: Costs | None = None,
        public_key: bytes = b"",
    ) -> None:
        """Open a subaccount with a deposit; the chain's account comes with it, and with its public key if that is known
        (else its first transaction brings it)."""
        self.admitter.accounts.fund(address, public_key)
        self.addresses[address] = None
        account_id = f"{address}/{number}"
        self._open(account_id, deposit_quote, costs)
        self._tell(account_id)

    def _open(self, account_id: str, deposit_quote: float, costs: Costs | None = None) -> None:
        self.market.open_account(account_id, deposit_quote, costs)
        self.accounts[account_id] = None

    def find_account(self, address: str, lag_blocks: int = 0) -> ChainAccount | None:
        """Return an account as committed, or as it was some blocks ago."""
        if lag_blocks and self.account_history:
            for height, accounts in reversed(self.account_history):
                if height <= self.height - lag_blocks:
                    return accounts.get(address)
            return self.account_history[0][1].get(address)
        return self.admitter.accounts.find_committed(address)

    def bump_sequence(self, address: str, count: int) -> None:
        """Move an account's sequence on, as a transaction sent from elsewhere would."""
        account = self.admitter.accounts.find_committed(address)
        if account is not None:
            self.admitter.accounts.insert(replace(account, sequence=account.sequence + count))

    def find_stateful(self, order_id: Any) -> LiveOrder | None:
        """Return the open long-term or conditional order of a proto's id."""
        for live in self._orders.values():
            one = live.order.order_id
            is_same = (one.subaccount.owner, one.subaccount.number) == (
                order_id.subaccount_id.owner,
                order_id.subaccount_id.number,
            )
            same = (one.client_id, one.order_flags, one.clob_pair_id)
            if is_same and same == (order_id.client_id, order_id.order_flags, order_id.clob_pair_id):
                return live if one.is_stateful and live.status in _OPEN_STATUSES else None
        return None

    def get_position_quantums(self, order_id: OrderId) -> int:
        """Return the signed position of a subaccount on a book."""
        contract = self.by_clob_pair.get(order_id.clob_pair_id)
        account_id = account_id_of(order_id.subaccount)
        if contract is None or account_id not in self.accounts:
            return 0
        lots = self.market.exchange.position(account_id, contract.instrument.instrument_id).qty_lots
        if lots == 0:
            return 0
        quantums = lots_to_quantums(contract.units, contract.instrument, abs(lots))
        return quantums if lots > 0 else -quantums

    def get_net_collateral_quote(self, order_id: OrderId) -> Decimal:
        """Return the equity of a subaccount."""
        account_id = account_id_of(order_id.subaccount)
        if account_id not in self.accounts:
            return Decimal(0)
        return Decimal(repr(self.market.exchange.account_state(account_id).equity_quote))

    def has_collateral(self, order: Order) -> bool:
        """Return whether a subaccount could bear a whole order on top of what it holds."""
        contract = self.by_clob_pair.get(order.order_id.clob_pair_id)
        account_id = account_id_of(order.order_id.subaccount)
        if contract is None or account_id not in self.accounts:
            return False
        if order.is_reduce_only:
            return True
        state = self.market.exchange.account_state(account_id)
        size = float(order.quantums) * 10.0**contract.units.atomic_resolution
        notional = size * float(subticks_to_px(contract.units, order.subticks))
        margin = state.margin_initial_quote + notional / contract.instrument.leverage_max
        return order.order_id.order_flags == CONDITIONAL or margin <= state.equity_quote

    # Blocks.

    def start(self) -> None:
        """Bring the market to the present and make the first block."""
        self.world.advance()
        self._ts_next_ns = self.world.now_ns()
        self._commit(self._ts_next_ns)
        self._ts_next_ns += self.block_ns

    def view(self) -> VenueView:
        """Return what the switches make of the venue now."""
        return self.board.view("dydx", self.world.now_ns())

    def advance(self) -> None:
        """Make what is due: market steps and blocks; nothing at all while the height is frozen."""
        now_ns, view = self.world.now_ns(), self.view()
        for instrument_id in self.by_instrument:
            self.market.freeze_oracle(instrument_id, view.is_oracle_frozen)
            self.market.gap_book(instrument_id, float(view.price_gap_bps))
        self.is_halted = view.is_height_frozen or view.is_upgrading
        if view.is_upgrading:  # the node is down, and comes back with an empty order book's memory to fill
            self.admitter.is_initialized = False
        if self.is_halted:
            self._ts_next_ns = now_ns + self.block_ns
            return
        self.world.advance()
        parked, self._parked = self._parked, []
        for admission, fate in parked:
            self._perform(admission, fate)
        if now_ns >= self._ts_next_ns:
            self._commit(now_ns)
            self._ts_next_ns = max(self._ts_next_ns + self.block_ns, now_ns)

    def _commit(self, ts_ns: int) -> None:
        self.height += 1
        self.block_time_ns = ts_ns
        time_ms = ts_ns // 10**6
        self.block_times.append((self.height, ts_ns))
        to_match, self._to_match = self._to_match, []
        for live in to_match:
            if live.status in _OPEN_STATUSES:
                self._submit(live)
        mempool, self._mempool = self._mempool, []
        for tx_hash, tx in mempool:
            refusal = self._deliver(tx_hash, tx, time_ms)
            self.included[tx_hash] = Included(self.height, refusal, encode_tx(tx))
            self.admitter.forget(tx_hash)
        for order in self.admitter.end_block(self.height, time_ms):
            self._expire(order.order_id)
        for live in [live for live in self._ending if live.order.good_til_block <= self.height]:
            self._ending.remove(live)
            self._change(live, CANCELED, live.removal_reason)
        for live in [*self._by_market_id.values()]:  # what a lost cancel left behind
            if live.order.order_id.is_short_term and live.order.good_til_block <= self.height:
                self._expire(live.order.order_id)
        self._trigger()
        self._orders = {one: live for one, live in self._orders.items() if live.status in _OPEN_STATUSES}
        while len(self.included) > INCLUDED_MAX:
            self.included.pop(next(iter(self.included)))
        self._attempts = {key: count for key, count in self._attempts.items() if key[1] >= self.height}
        committed = {address: self.admitter.accounts.find_committed(address) for address in self.addresses}
        self.account_history.append((self.height, {a: one for a, one in committed.items() if one is not None}))
        for listener in self.on_height:
            listener(self.height, ts_ns)

    def _deliver(self, tx_hash: str, tx: Tx, time_ms: int) -> TxRefusal | None:
        message, signer = tx.messages[0], tx.signers[0]
        assert isinstance(message, PlaceOrder | CancelOrder), "only orders and cancels wait for a block"
        refusal = self.admitter.accounts.deliver(message.owner, signer.sequence, signer.public_key, time_ms)
        if refusal is not None:
            return refusal
        if isinstance(message, CancelOrder):
            canceled = self.admitter.stateful.deliver_cancel(message)
            if isinstance(canceled, TxRefusal):
                return canceled
            self._end(message.order_id, "USER_CANCELED")
            return None
        order = message.order
        refusal = self.admitter.stateful.deliver_place(order)
        if refusal is None:
            is_conditional = order.order_id.order_flags == CONDITIONAL
            live = self._enter(order, UNTRIGGERED if is_conditional else OPEN, tx_hash)
            self._report(live)
            if not is_conditional:
                self._to_match.append(live)
        return refusal

    def _trigger(self) -> None:
        for live in [live for live in self._orders.values() if live.status == UNTRIGGERED]:
            oracle_px = self.market.get_mark(live.contract.instrument.instrument_id).oracle_px
            if is_triggered_by(live.order, live.contract, oracle_px):
                self._change(live, OPEN)
                self._to_match.append(live)

    # Transactions.

    def broadcast(self, tx_bytes: bytes, fate: RequestFate | None = None) -> Admission:
        """Check a transaction and let it act; `fate`: what the board has decided of it."""
        fate = fate or RequestFate()
        self.advance()
        try:
            message = decode_tx(tx_bytes).messages[0]
        except (MalformedMessageError, IndexError):
            message = None
        owner = getattr(message, "owner", "")
        if fate.sequence_bump:
            self.bump_sequence(owner, fate.sequence_bump)
        if fate.is_filled_first and isinstance(message, CancelOrder):
            self._fill_first(message.order_id)
        refusal = self._find_fault(message, fate)
        if refusal is None:
            admission = self.admitter.admit(tx_bytes, self.height, self.block_time_ns // 10**6)
        else:
            admission = Admission(f"{0:064X}", refusal)
        if admission.refusal is None and not fate.is_tx_vanished:
            if self.is_halted:
                self._parked.append((admission, fate))
            else:
                refusal = self._perform(admission, fate)
                if refusal is not None:
                    admission = replace(admission, refusal=refusal)
        if fate.benign_error_code and isinstance(message, CancelOrder | BatchCancel):
            benign = find_error("clob", fate.benign_error_code) or find_error("sdk", fate.benign_error_code)
            admission = replace(admission, refusal=benign.refuse() if benign else admission.refusal)
        return admission

    def _find_fault(self, message: object, fate: RequestFate) -> TxRefusal | None:
        view = self.view()
        if fate.is_nonce_refused:
            return ChainError.WRONG_SEQUENCE.refuse("account sequence mismatch")
        flags = message.order.order_id.order_flags if isinstance(message, PlaceOrder) else None
        if fate.is_child_rejected and flags == CONDITIONAL:
            return ChainError.TRIGGER_SUBTICKS.refuse()
        if isinstance(message, PlaceOrder) and view.orders_max is not None and message.order.order_id.is_stateful:
            count = self.admitter.stateful.count_open(message.order.order_id.subaccount)
            if count >= view.orders_max:
                text = f"Opening order would exceed equity tier limit of {view.orders_max}. Order count: {count}"
                return ChainError.EQUITY_TIER.refuse(text)
        if isinstance(message, PlaceOrder) and view.requests_max is not None:
            key = (message.owner, self.height)
            self._attempts[key] = self._attempts.get(key, 0) + 1
            if self._attempts[key] > view.requests_max:
                return ChainError.BLOCK_RATE_LIMIT.refuse(
                    f"Rate of {self._attempts[key]} exceeds configured block rate limit of {view.requests_max}"
                )
        return None

    def _fill_first(self, order_id: OrderId) -> None:
        live = self._orders.get(order_id)
        if live is not None and live.market_id in self._by_market_id:
            lots = make_request(live, "").qty_lots
            self.world.act(lambda ts_ns: self.market.fill_resting(live.account_id, live.market_id, lots, ts_ns))

    def _perform(self, admission: Admission, fate: RequestFate) -> TxRefusal | None:
        tx, effect = admission.tx, admission.effect
        assert tx is not None, "an admitted transaction was decoded"
        if not is_short_term_message(tx.messages[0]):
            self._mempool.append((admission.tx_hash, tx))
            return None
        match effect:
            case Placement():
                return self._place(effect, admission.tx_hash, fate)
            case Cancellation():
                self._cancel(effect)
            case BatchCancellation():
                for one in effect.done:
                    self._cancel(one)
        return None

    def _cancel(self, cancellation: Cancellation) -> None:
        if cancellation.removed is not None:
            self._end(cancellation.order_id, "USER_CANCELED")

    def _place(self, placement: Placement, tx_hash: str, fate: RequestFate) -> TxRefusal | None:
        order = placement.order
        if placement.replaced is not None:
            self._end(order.order_id, "REPLACED", is_told=False)
        live = self._enter(order, BEST_EFFORT_OPENED, tx_hash)
        live.filled_quantums = order.quantums - placement.remaining_quantums
        self._submit(live, fate)
        if live.removal_reason != REMOVAL_PREFIX + "POST_ONLY_WOULD_CROSS_MAKER_ORDER":
            return None
        if fate.is_post_only_removed and not fate.is_removal_silent:
            self._report(live)
            return None
        self._ending.remove(live)
        if fate.is_post_only_removed:
            return None
        self.admitter.forget(tx_hash)
        return ChainError.POST_ONLY_CROSSES.refuse()

    # Orders at the exchange.

    def _enter(self, order: Order, status: str, tx_hash: str) -> LiveOrder:
        account_id = account_id_of(order.order_id.subaccount)
        if account_id not in self.accounts:
            self._open(account_id, 0.0)
        now_ns = self.market.ts_now_ns
        contract = self.by_clob_pair[order.order_id.clob_pair_id]
        live = LiveOrder(order, contract, account_id, status, now_ns, self.height, self.height, now_ns, tx_hash=tx_hash)
        self._orders[order.order_id] = live
        return live

    def _submit(self, live: LiveOrder, fate: RequestFate | None = None) -> None:
        self._count += 1
        live.market_id, live.base_quantums = f"{live.uuid}#{self._count}", live.filled_quantums
        try:
            request = make_request(live, live.market_id)
        except ValueError:  # a price beyond what the exchange counts in
            self._forget_terms(live)
            self._remove(live, "INTERNAL_ERROR")
            return
        self._by_market_id[live.market_id] = live
        cap_lots = fate.fill_cap_lots if fate else None
        self.world.act(lambda ts_ns: self.market.submit(live.account_id, [request], ts_ns, fill_cap_lots=cap_lots))
        is_resting = live.market_id in self._by_market_id
        if is_resting and live.filled_quantums == live.base_quantums and live.order.order_id.is_short_term:
            self._report(live)

    def _end(self, order_id: OrderId, reason: str, *, is_told: bool = True) -> None:
        # Take an order away for the chain's reasons.
        live = self._orders.get(order_id)
        if live is None or live.status not in _OPEN_STATUSES:
            return
        market_id = live.market_id
        if market_id in self._by_market_id:
            self._reasons[market_id] = reason if is_told else ""
            self.world.act(lambda ts_ns: self.market.cancel(live.account_id, market_id, ts_ns))
            self._reasons.pop(market_id, None)
        elif is_told:
            self._remove(live, reason)

    def _remove(self, live: LiveOrder, reason: str) -> None:
        is_short = live.order.order_id.is_short_term
        is_expired = reason in ("EXPIRED", "INDEXER_EXPIRED")
        status = BEST_EFFORT_CANCELED if is_short and not is_expired else CANCELED
        if status == BEST_EFFORT_CANCELED:
            self._ending.append(live)
        is_told = True
        if is_expired:
            is_told = not self.board.decide_message("dydx", EXPIRY, self.world.now_ns()).is_dropped
        is_crossing = reason == "POST_ONLY_WOULD_CROSS_MAKER_ORDER" and is_short
        self._change(live, status, REMOVAL_PREFIX + reason, is_told=is_told, is_kept=is_crossing)

    def _expire(self, order_id: OrderId) -> None:
        self._end(order_id, "INDEXER_EXPIRED" if order_id.is_short_term else "EXPIRED")

    def _change(
        self, live: LiveOrder, status: str, reason: str = "", *, is_told: bool = True, is_kept: bool = False
    ) -> None:
        live.status, live.removal_reason = status, reason
        live.ts_updated_ns, live.height_updated = self.market.ts_now_ns, self.height
        if not is_kept:
            self._report(live, is_told=is_told)

    def _report(self, live: LiveOrder, *, is_told: bool = True) -> None:
        self._tell(live.account_id, (show_order(live),), is_told=is_told)

    def _tell(
        self,
        account_id: str,
        orders: Sequence[OrderRow] = (),
        fills: Sequence[FillRow] = (),
        *,
        fundings: Sequence[FundingPaymentRow] = (),
        is_told: bool = True,
    ) -> None:
        holding = None if orders and not fills else compute_holding(self.market.exchange, account_id, self.contracts)
        update = AccountUpdate(self.height, account_id, tuple(orders), tuple(fills), holding, tuple(fundings), is_told)
        for listener in self.on_update:
            listener(update)

    # What the exchange says.

    def _on_block(self, block: Block) -> None:
        for account_id, event in block.events:
            if account_id not in self.accounts:
                continue  # an account that is not this venue's
            match event:
                case Fill():
                    self._on_fill(account_id, event)
                case FundingPaid():
                    self._tell(account_id, fundings=(self._show_funding(account_id, event),))
                case OrderCanceled() | OrderRejected():
                    self._on_end(event)
                case OrderModified():
                    self._on_shrunk(event)

    def _show_funding(self, account_id: str, paid: FundingPaid) -> FundingPaymentRow:
        return show_funding_payment(paid, self.by_instrument[paid.instrument_id], account_id, self.height)

    def _on_fill(self, account_id: str, fill: Fill) -> None:
        contract = self.by_instrument[fill.instrument_id]
        live = self._by_market_id.get(fill.client_order_id)
        rows: tuple[OrderRow, ...] = ()
        if live is not None:
            quantums = lots_to_quantums(contract.units, contract.instrument, fill.fill_qty_lots)
            live.filled_quantums += quantums
            order_id = live.order.order_id
            if order_id.is_short_term and self.admitter.short_term.find_order(order_id) == live.order:
                self.admitter.short_term.note_fill(order_id, quantums)
            if live.remaining_quantums == 0:
                self._by_market_id.pop(live.market_id, None)
                self.admitter.stateful.remove(order_id)
            live.status = FILLED if live.remaining_quantums == 0 else OPEN
            live.ts_updated_ns, live.height_updated = fill.ts_event_ns, self.height
            rows = (show_order(live),)
        self._tell(account_id, rows, (show_fill(fill, live, contract, account_id, self.height),))
        if live is not None and live.status == OPEN and live.filled_quantums == live.end_quantums:
            self._by_market_id.pop(live.market_id, None)
            self._forget_terms(live)
            self._remove(live, "REDUCE_ONLY_RESIZE")

    def _on_shrunk(self, event: OrderModified) -> None:
        live = self._by_market_id.get(event.client_order_id)
        if live is not None:
            contract = live.contract
            left = lots_to_quantums(contract.units, contract.instrument, event.qty_lots)
            live.end_quantums = live.base_quantums + left

    def _forget_terms(self, live: LiveOrder) -> None:
        # Admission knows it no more.
        order_id = live.order.order_id
        if self.admitter.short_term.find_order(order_id) == live.order:
            self.admitter.short_term.remove(order_id)
        self.admitter.stateful.remove(order_id)

    def _on_end(self, event: OrderCanceled | OrderRejected) -> None:
        live = self._by_market_id.pop(event.client_order_id, None)
        if live is None:
            return
        self._forget_terms(live)
        reason = write_removal(event.message).removeprefix(REMOVAL_PREFIX)
        reason = self._reasons.get(event.client_order_id, reason)
        if reason:
            is_shrunk = event.message == Message.POSITION_CLOSED and live.order.time_in_force == TimeInForce.IOC
            self._remove(live, "REDUCE_ONLY_RESIZE" if is_shrunk else reason)
