"""How our orders and cancels reach the chain: one nonce owner, repeats only where nothing can be doubled.

A refused transaction is repeated where the reason passes: sequence trouble (a new nonce), a full mempool or block rate
(after a wait), a good-til-block that the chain has passed meanwhile (a new one; the order's id is the same, so at most
one lives). A call without an answer is never repeated for an order; for a cancel it is: it does the same twice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from market.records import NS_PER_MS
from venues.dydx.chain_errors import ChainError, TxRefusal, find_error
from venues.dydx.client_legs import Leg
from venues.dydx.client_node import Node, NodeError, Trouble
from venues.dydx.lifecycle import BroadcastOutcome, read_broadcast
from venues.dydx.order_terms import CancelOrder
from venues.dydx.sequences import NonceSource
from venues.orders import Message

CANCEL_LIFE_S = 94 * 86_400  # a cancel must outlive its order (90 days)
REPEATS_MAX = 4
_BACKOFF_S, _BACKOFF_S_MAX = 0.1, 1.0

_MESSAGES: dict[ChainError, str] = {
    ChainError.POST_ONLY_CROSSES: Message.POST_ONLY,
    ChainError.REDUCE_ONLY_INCREASES: Message.REDUCE_ONLY,
    ChainError.REDUCE_ONLY_CHANGES_SIDE: Message.REDUCE_ONLY,
    ChainError.REDUCE_ONLY_DISABLED: Message.UNSUPPORTED,
    ChainError.STATEFUL_COLLATERAL: Message.INSUFFICIENT_MARGIN,
    ChainError.ORDER_QUANTUMS: Message.BELOW_MINIMUM,
}
_OLD_GOOD_TIL = (ChainError.HEIGHT_EXCEEDS_GOOD_TIL_BLOCK, ChainError.EXCEEDS_SHORT_BLOCK_WINDOW)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a transaction, after all repeats."""

    outcome: BroadcastOutcome  # ACKNOWLEDGED, REFUSED, ALREADY_DONE or UNKNOWN
    message: str = ""


def show_refusal(refusal: TxRefusal) -> str:
    """Return a refusal in our words where we have some, else the chain's with its code."""
    error = find_error(refusal.codespace, refusal.code)
    known = _MESSAGES.get(error) if error is not None else None
    return known or f"{refusal.codespace} {refusal.code}: {refusal.raw_log}"[:300]


class Sender:
    """The one way of one key to the chain."""

    def __init__(self, node: Node, clock_ns: Callable[[], int]) -> None:
        """Continue above the nonces of an earlier life: they are times."""
        self._node, self._clock_ns = node, clock_ns
        self._nonces = NonceSource()
        self.height = 0  # the node's newest, by whoever heard it
        self.repeats = 0

    async def place(self, leg: Leg, life_blocks: int, until_s: float) -> Sent:
        """Send a leg; a short-term one that came too late is sent again with `life_blocks` from now."""

        async def send(nonce_ms: int, left_s: float) -> TxRefusal | None:
            leg.nonce_ms = nonce_ms
            return await self._node.place(leg.chain, nonce_ms, left_s)

        for _ in range(REPEATS_MAX):
            sent, error = await self._send(send, until_s, is_repeatable=False)
            if error not in _OLD_GOOD_TIL or not leg.chain.order_id.is_short_term:
                break
            try:
                self.height = (await self._node.fetch_block()).height
            except NodeError:
                break
            leg.chain = msgspec.structs.replace(leg.chain, good_til_block=self.height + life_blocks)
        return sent

    async def cancel(self, leg: Leg, block_time_ms: int, until_s: float) -> Sent:
        """Send the cancel of a leg."""
        order_id = leg.chain.order_id
        cancel = CancelOrder(order_id, 0, block_time_ms // 1000 + CANCEL_LIFE_S)
        if order_id.is_short_term:
            row_til = leg.row.good_til_block if leg.row is not None else None
            known_til = int(row_til) if isinstance(row_til, str) and row_til.isdecimal() else 0
            cancel = CancelOrder(order_id, max(leg.chain.good_til_block, known_til))

        async def send(nonce_ms: int, left_s: float) -> TxRefusal | None:
            return await self._node.cancel(cancel, nonce_ms, left_s)

        return (await self._send(send, until_s, is_repeatable=True))[0]

    async def _send(
        self, send: Callable[[int, float], Awaitable[TxRefusal | None]], until_s: float, *, is_repeatable: bool
    ) -> tuple[Sent, ChainError | None]:
        loop = asyncio.get_running_loop()
        wait_s, resyncs = _BACKOFF_S, 0
        while True:
            left_s = max(0.01, until_s - loop.time())
            error: ChainError | None = None
            try:
                refusal = await send(self._nonces.draw(self._clock_ns() // NS_PER_MS), left_s)
            except NodeError as trouble:
                is_unsent = trouble.trouble is Trouble.NOT_SENT
                outcome = BroadcastOutcome.REFUSED if is_unsent else BroadcastOutcome.UNKNOWN
                sent, can_repeat = Sent(outcome, f"not sent: {trouble}"), is_unsent or is_repeatable
            else:
                if refusal is None:
                    return Sent(BroadcastOutcome.ACKNOWLEDGED), None
                error = find_error(refusal.codespace, refusal.code)
                outcome = read_broadcast(refusal.codespace, refusal.code)
                sent = Sent(_settle(outcome), show_refusal(refusal))
                can_repeat = outcome in (BroadcastOutcome.RESYNC, BroadcastOutcome.BACK_OFF)
                if outcome is BroadcastOutcome.RESYNC:
                    resyncs += 1
                    can_repeat = resyncs < REPEATS_MAX and await self._resync()
            if not can_repeat or loop.time() + wait_s >= until_s:
                return sent, error
            self.repeats += 1
            await asyncio.sleep(wait_s)
            wait_s = min(2.0 * wait_s, _BACKOFF_S_MAX)

    async def _resync(self) -> bool:
        # The account's number is all that a timestamp nonce leaves to be wrong.
        try:
            await self._node.fetch_account_number()
        except NodeError:
            return False
        return True


def _settle(outcome: BroadcastOutcome) -> BroadcastOutcome:
    # What is left once nothing is repeated any more: a code nobody knew is a refusal all the same.
    if outcome is BroadcastOutcome.ALREADY_DONE:
        return outcome
    return BroadcastOutcome.REFUSED
