"""CheckTx: what a node does with the bytes of a transaction, check after check in the chain's order.

1 the mempool knows these bytes (19) 2 they parse (2) 3 each message by itself (ValidateBasic; 18 if there is none)
4 one message, if it is about orders (18) 5 extensions (31), signatures there at all (15, 4), timeout height (30), memo
(12) 6 the sender exists (9), then replay protection (32) 7 public key (8) and signature (4), or smart account (4)
8 rate limits (5001) 9 the order book's own rules. Nothing is kept of a transaction that fails, except rate counts.
Source: PROTOCOLS.md 2.5; v4-chain app/ante.go, app/ante/replay_protection.go, sigverify.go, x/clob/ante/clob.go.
Does not cover: fees and gas, authenticators (permissioned keys are refused as smart accounts that are switched off),
messages other than orders and cancels (refused as unknown requests).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol

from venues.dydx.chain_errors import ChainError, MalformedMessageError, TxRefusal
from venues.dydx.order_terms import (
    BatchCancel,
    CancelOrder,
    ChainMessage,
    Order,
    OrderId,
    PlaceOrder,
    UnsupportedMessage,
    is_short_term_message,
)
from venues.dydx.rules import BlockRateLimiter, ChainRules, check_message
from venues.dydx.sequences import AccountLedger, ChainAccount, apply_sequence
from venues.dydx.short_term import BatchCancellation, Cancellation, Placement, ShortTermMemory
from venues.dydx.signing import derive_address
from venues.dydx.stateful import UNLIMITED_QUOTE, StatefulMemory
from venues.dydx.transactions import Tx, decode_tx, hash_tx, verify_tx
from venues.dydx.units import ClobUnits

MEMO_MAX = 256
BATCH_CANCEL_WEIGHT = 2  # attempts a batch cancel counts for, whatever its size

Effect = Placement | Cancellation | BatchCancellation | PlaceOrder | CancelOrder


class RiskView(Protocol):
    """What the rules must know of accounts and cannot know themselves."""

    def get_position_quantums(self, order_id: OrderId) -> int:
        """Return the signed position of the order's subaccount on its book."""

    def get_net_collateral_quote(self, order_id: OrderId) -> Decimal:
        """Return the net collateral of the order's subaccount."""

    def has_collateral(self, order: Order) -> bool:
        """Return whether the subaccount could bear the whole order (stateful orders only)."""


class BoundlessRisk:
    """A risk view for which everybody is rich and reduces: every order passes."""

    def get_position_quantums(self, order_id: OrderId) -> int:
        """Return 0: reduce-only orders fail."""
        return 0

    def get_net_collateral_quote(self, order_id: OrderId) -> Decimal:
        """Return more than any tier asks for."""
        return UNLIMITED_QUOTE

    def has_collateral(self, order: Order) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True, slots=True)
class Admission:
    """The outcome: `refusal` None is code 0. `effect` is what it did: for stateful messages, that they now wait."""

    tx_hash: str
    refusal: TxRefusal | None
    tx: Tx | None = None
    effect: Effect | None = None


class Admitter:
    """CheckTx of one node: owns its mempool's hashes and rate counts, shares ledger and memories with the caller."""

    def __init__(
        self,
        chain_id: str,
        books: Mapping[int, ClobUnits],
        *,
        rules: ChainRules | None = None,
        risk: RiskView | None = None,
    ) -> None:
        """Begin with an empty mempool and no accounts; `accounts.fund` makes some."""
        self.chain_id = chain_id
        self.rules = rules or ChainRules()
        self.accounts = AccountLedger()
        self.short_term = ShortTermMemory(books, self.rules.short_block_window)
        self.stateful = StatefulMemory(books, self.rules)
        self.is_initialized = True  # False: the first block after a start has not come yet (code 47)
        self._risk: RiskView = risk or BoundlessRisk()
        self._mempool: dict[str, int] = {}  # tx hash -> height after which it may come again
        self._short_limiter = BlockRateLimiter("MaxShortTermOrdersAndCancelsPerNBlocks", self.rules.short_term_limits)
        self._stateful_limiter = BlockRateLimiter("MaxStatefulOrdersPerNBlocks", self.rules.stateful_limits)

    def admit(self, tx_bytes: bytes, height: int, block_time_ms: int) -> Admission:
        """Check a transaction at the last block's height and time."""
        tx_hash = hash_tx(tx_bytes)
        if tx_hash in self._mempool:
            return Admission(tx_hash, ChainError.TX_IN_MEMPOOL.refuse())
        try:
            tx = decode_tx(tx_bytes)
        except MalformedMessageError as error:
            return Admission(tx_hash, ChainError.TX_DECODE.refuse(str(error)))
        refusal = check_shape(tx, height)
        if refusal:
            return Admission(tx_hash, refusal, tx)
        message = tx.messages[0]
        checked = self._check_sender(tx, message, block_time_ms)
        if isinstance(checked, TxRefusal):
            return Admission(tx_hash, checked, tx)
        refusal = self._count_attempt(message, height)
        if refusal:
            return Admission(tx_hash, refusal, tx)
        if not self.is_initialized:
            detail = "clob keeper is not initialized. Please wait for the next block."
            return Admission(tx_hash, ChainError.CLOB_NOT_INITIALIZED.refuse(detail), tx)
        effect = self._apply(message, height, block_time_ms)
        if isinstance(effect, TxRefusal):
            return Admission(tx_hash, effect, tx)
        self.accounts.store_checked(checked)
        self.accounts.store_public_key(checked.address, checked.public_key)
        self._mempool[tx_hash] = _good_til_height(message, height)
        return Admission(tx_hash, None, tx, effect)

    def forget(self, tx_hash: str) -> None:
        """Let a transaction's bytes come again: it was included, or dropped."""
        self._mempool.pop(tx_hash, None)

    def end_block(self, height: int, block_time_ms: int) -> list[Order]:
        """Commit a block: return the orders that expired with it. Deliver the block's stateful messages before this."""
        expired = self.short_term.end_block(height) + self.stateful.expire(block_time_ms // 1000)
        self.stateful.begin_block()
        self.accounts.reset_checked()
        self._mempool = {known: until for known, until in self._mempool.items() if until > height}
        self.is_initialized = True
        return expired

    def _check_sender(self, tx: Tx, message: ChainMessage, block_time_ms: int) -> ChainAccount | TxRefusal:
        if isinstance(message, UnsupportedMessage):
            return ChainError.UNKNOWN_REQUEST.refuse(f"no message handler found for {message.type_url}")
        account = self.accounts.find_checked(message.owner)
        if account is None:
            return ChainError.UNKNOWN_ADDRESS.refuse(f"account {message.owner} does not exist")
        signer = tx.signers[0]
        after: ChainAccount | TxRefusal = account
        if not is_short_term_message(message):
            after = apply_sequence(account, signer.sequence, block_time_ms)
        if isinstance(after, TxRefusal):
            return after
        if tx.authenticators:
            return ChainError.SMART_ACCOUNT_INACTIVE.refuse()
        if signer.public_key and derive_address(signer.public_key) != message.owner:
            return ChainError.INVALID_PUB_KEY.refuse(
                f"pubKey does not match signer address {message.owner} with signer index: 0"
            )
        public_key = account.public_key or signer.public_key
        if not public_key:
            return ChainError.INVALID_PUB_KEY.refuse("pubkey on account is not set")
        if not verify_tx(tx, self.chain_id, account.account_number, public_key):
            return ChainError.UNAUTHORIZED.refuse(
                f"signature verification failed; please verify account number ({account.account_number}) and chain-id"
                f" ({self.chain_id}): (unable to verify single signer signature)"
            )
        return replace(after, public_key=public_key)

    def _count_attempt(self, message: ChainMessage, height: int) -> TxRefusal | None:
        match message:
            case BatchCancel():
                return self._short_limiter.count(message.owner, height, BATCH_CANCEL_WEIGHT)
            case PlaceOrder() | CancelOrder() if is_short_term_message(message):
                return self._short_limiter.count(message.owner, height)
            case PlaceOrder():
                return self._stateful_limiter.count(message.owner, height)
        return None

    def _apply(self, message: ChainMessage, height: int, block_time_ms: int) -> Effect | TxRefusal:
        match message:
            case PlaceOrder(order=order) if order.order_id.is_short_term:
                return self.short_term.place(order, height, self._risk.get_position_quantums(order.order_id))
            case PlaceOrder(order=order):
                refusal = self.stateful.place(
                    order,
                    block_time_ms // 1000,
                    net_collateral_quote=self._risk.get_net_collateral_quote(order.order_id),
                    has_collateral=self._risk.has_collateral(order),
                )
                return refusal or message
            case CancelOrder() if message.order_id.is_short_term:
                return self.short_term.cancel(message.order_id, message.good_til_block, height)
            case CancelOrder():
                return self.stateful.cancel(message, block_time_ms // 1000) or message
            case BatchCancel():
                return self.short_term.cancel_batch(message, height)
        raise AssertionError(f"{type(message).__name__} passed the sender's check")


def _good_til_height(message: ChainMessage, height: int) -> int:
    # How long the mempool's cache knows the bytes: short-term ones until they expire, others until forgotten.
    match message:
        case PlaceOrder(order=order) if order.order_id.is_short_term:
            return order.good_til_block
        case CancelOrder() | BatchCancel() if is_short_term_message(message):
            return message.good_til_block
    return height + 10_000


def check_shape(tx: Tx, height: int) -> TxRefusal | None:
    """Check what needs no account: the messages by themselves, their number, signatures' number, timeout, memo."""
    if not tx.messages:
        return ChainError.INVALID_REQUEST.refuse("must contain at least one message")
    for message in tx.messages:
        refusal = check_message(message)
        if refusal:
            return refusal
    is_about_orders = any(not isinstance(message, UnsupportedMessage) for message in tx.messages)
    if is_about_orders and len(tx.messages) > 1:
        return ChainError.INVALID_REQUEST.refuse(
            "a transaction containing MsgCancelOrder or MsgPlaceOrder or MsgBatchCancel"
            " may not contain more than one message"
        )
    if tx.extension_urls:
        return ChainError.UNKNOWN_EXTENSION.refuse()
    if not tx.signatures:
        return ChainError.NO_SIGNATURES.refuse()
    if len(tx.signatures) != 1 or len(tx.signers) != 1:
        return ChainError.UNAUTHORIZED.refuse(f"wrong number of signers; expected 1, got {len(tx.signatures)}")
    if tx.timeout_height and tx.timeout_height < height:
        return ChainError.TX_TIMEOUT_HEIGHT.refuse(f"block height: {height}, timeout height: {tx.timeout_height}")
    if len(tx.memo.encode()) > MEMO_MAX:
        return ChainError.MEMO_TOO_LARGE.refuse(
            f"maximum number of characters is {MEMO_MAX} but received {len(tx.memo.encode())} characters"
        )
    return _check_timeout_of_short_term(tx)


def _check_timeout_of_short_term(tx: Tx) -> TxRefusal | None:
    message = tx.messages[0]
    if not isinstance(message, PlaceOrder) or not message.order.order_id.is_short_term:
        return None
    if 0 < tx.timeout_height < message.order.good_til_block:
        return ChainError.INVALID_REQUEST.refuse(
            "timeout height (if non-zero) may not be less than `goodTilBlock` for a short-term place order"
        )
    return None
