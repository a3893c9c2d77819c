"""CheckTx end to end: bytes in, the chain's code out, in the chain's order; and the stateful memory behind it."""

import random
from decimal import Decimal
from typing import Any

import pytest

from tests.unit.venues.dydx.dydx_samples import (
    BOOKS,
    HEIGHT,
    KEY,
    OTHER_KEY,
    SUBACCOUNT,
    TIME_MS,
    TIME_S,
    make_order,
    make_stop,
)
from venues.dydx.admission import Admission, Admitter
from venues.dydx.chain_errors import TxRefusal
from venues.dydx.order_terms import (
    BatchCancel,
    CancelBatch,
    CancelOrder,
    OrderId,
    PlaceOrder,
    UnsupportedMessage,
)
from venues.dydx.rules import ChainRules
from venues.dydx.short_term import Placement
from venues.dydx.signing import SigningKey
from venues.dydx.stateful import StatefulMemory
from venues.dydx.transactions import LOCALNET, Account, sign_tx


def start(**terms: Any) -> Admitter:
    node = Admitter(LOCALNET, BOOKS, **terms)
    node.accounts.fund("dydx1somebodyelse")
    node.accounts.fund(KEY.address)
    return node


def send(
    node: Admitter,
    message: Any,
    sequence: int = 0,
    *,
    key: SigningKey = KEY,
    number: int = 1,
    chain_id: str = LOCALNET,
    authenticators: tuple[int, ...] | None = None,
    **terms: Any,
) -> Admission:
    tx_bytes = sign_tx(message, key, Account(chain_id, number, sequence, authenticators), **terms)
    return node.admit(tx_bytes, HEIGHT, TIME_MS)


def code_of(admission: Admission) -> tuple[str, int]:
    return (admission.refusal.codespace, admission.refusal.code) if admission.refusal else ("", 0)


SHORT = PlaceOrder(make_order())
LONG = PlaceOrder(make_order(3, 64))


def test_a_short_term_order_looks_at_no_sequence() -> None:
    """Any sequence does, none is used up, and the same bytes come once."""
    node = start()
    first = send(node, SHORT, 9_999)
    assert code_of(first) == ("", 0)
    assert isinstance(first.effect, Placement)
    again = send(node, SHORT, 9_999)
    assert again.refusal == TxRefusal("sdk", 19, "tx already in mempool")
    assert again.tx_hash == first.tx_hash
    assert code_of(send(node, SHORT, 0)) == ("clob", 20)  # other bytes, same order
    account = node.accounts.find_committed(KEY.address)
    assert account is not None
    assert (account.sequence, account.public_key) == (0, KEY.public_key)


def test_stateful_orders_use_up_sequences_only_when_they_pass() -> None:
    """Two in one block; a mismatch names what was expected; a refusal of the book uses none."""
    node = start()
    assert code_of(send(node, LONG, 0)) == ("", 0)
    assert code_of(send(node, PlaceOrder(make_order(4, 64, quantums=1)), 1)) == ("clob", 12)
    late = send(node, PlaceOrder(make_order(4, 64)), 2)
    assert late.refusal is not None
    assert late.refusal.raw_log == "account sequence mismatch, expected 1, got 2: incorrect account sequence"
    node = start()
    assert code_of(send(node, LONG, 0)) == code_of(send(node, PlaceOrder(make_order(4, 64)), 1)) == ("", 0)


def test_timestamp_nonces_leave_the_sequence() -> None:
    """As TxOptions sends them."""
    node = start()
    assert code_of(send(node, LONG, TIME_MS, authenticators=())) == ("", 0)
    used = send(node, PlaceOrder(make_order(4, 64)), TIME_MS, authenticators=())
    assert used.refusal is not None
    assert used.refusal.raw_log == f"timestamp nonce {TIME_MS} rejected: incorrect account sequence"
    assert code_of(send(node, PlaceOrder(make_order(4, 64)), 0)) == ("", 0)


@pytest.mark.parametrize(
    ("message", "terms", "expected"),
    [
        # Each row fails in several ways; the earliest check of the chain is what is seen.
        (PlaceOrder(make_order(3, 64, quantums=0)), {"sequence": 7, "number": 9}, ("clob", 4)),
        (LONG, {"sequence": 7, "number": 9}, ("sdk", 32)),  # replay protection before the signature
        (LONG, {"key": OTHER_KEY, "sequence": 7}, ("sdk", 32)),
        (LONG, {"key": OTHER_KEY}, ("sdk", 8)),
        (LONG, {"number": 9}, ("sdk", 4)),
        (LONG, {"chain_id": "dydx-mainnet-1"}, ("sdk", 4)),
        (SHORT, {"key": OTHER_KEY, "sequence": 7}, ("sdk", 8)),
        (PlaceOrder(make_order(good_til_block=HEIGHT)), {"number": 9}, ("sdk", 4)),  # the signature before the book
        (PlaceOrder(make_order(good_til_block=HEIGHT)), {}, ("clob", 10)),
        (PlaceOrder(make_order(good_til_block=HEIGHT + 42)), {}, ("clob", 11)),
        (LONG, {"authenticators": (3,)}, ("accountplus", 4)),
        (SHORT, {"memo": "m" * 257}, ("sdk", 12)),
        (SHORT, {"timeout_height": HEIGHT - 1}, ("sdk", 30)),
        (SHORT, {"timeout_height": HEIGHT + 1}, ("sdk", 18)),
        (UnsupportedMessage("/cosmos.bank.v1beta1.MsgSend", b""), {}, ("sdk", 6)),
        (PlaceOrder(make_stop(condition_type=0)), {}, ("clob", 6000)),
        (CancelOrder(OrderId(SUBACCOUNT, 9, 64), good_til_block_time_s=TIME_S + 9), {}, ("clob", 3006)),
        (BatchCancel(SUBACCOUNT, (CancelBatch(77, (1,)),), HEIGHT + 5), {}, ("clob", 27)),
    ],
)
def test_the_order_of_the_checks(message: Any, terms: dict[str, Any], expected: tuple[str, int]) -> None:
    """The code a client sees is the first check's."""
    assert code_of(send(start(), message, **terms)) == expected


def test_the_text_of_a_bad_signature() -> None:
    """Clients look for its words."""
    refusal = send(start(), LONG, number=9).refusal
    assert refusal is not None
    assert refusal.raw_log == (
        "signature verification failed; please verify account number (1) and chain-id (localdydxprotocol):"
        " (unable to verify single signer signature): unauthorized"
    )


def test_nobody_and_nothing() -> None:
    """An account that was never funded; bytes that are no transaction; a transaction without messages."""
    node = start()
    stranger = PlaceOrder(make_order())
    node_without = Admitter(LOCALNET, BOOKS)
    assert code_of(send(node_without, stranger)) == ("sdk", 9)
    assert code_of(node.admit(b"\xff\xff", HEIGHT, TIME_MS)) == ("sdk", 2)
    assert code_of(node.admit(b"", HEIGHT, TIME_MS)) == ("sdk", 18)
    node.is_initialized = False
    assert code_of(send(node, SHORT)) == ("clob", 47)


def test_two_messages_are_one_too_many() -> None:
    """Orders come alone."""
    from v4_proto.cosmos.tx.v1beta1 import tx_pb2

    raw = tx_pb2.TxRaw.FromString(sign_tx(SHORT, KEY, Account(LOCALNET, 1, 0)))
    body = tx_pb2.TxBody.FromString(raw.body_bytes)
    body.messages.append(body.messages[0])
    raw.body_bytes = body.SerializeToString()
    assert code_of(start().admit(raw.SerializeToString(), HEIGHT, TIME_MS)) == ("sdk", 18)
    del body.messages[1]
    raw.body_bytes = body.SerializeToString()
    del raw.signatures[:]
    assert code_of(start().admit(raw.SerializeToString(), HEIGHT, TIME_MS)) == ("sdk", 15)


def test_limits_count_attempts() -> None:
    """5001 after two stateful placements in a block; short-term ones have their own budget, batch cancels weigh two."""
    node = start(rules=ChainRules(short_term_limits=((1, 3),)))
    for index in range(2):
        assert code_of(send(node, PlaceOrder(make_order(10 + index, 64)), index)) == ("", 0)
    refusal = send(node, PlaceOrder(make_order(12, 64)), 2).refusal
    assert refusal is not None
    assert refusal.raw_log.startswith("Rate of 3 exceeds configured block rate limit of {NumBlocks:1 Limit:2} for ")
    assert code_of(send(node, SHORT)) == ("", 0)
    assert code_of(send(node, BatchCancel(SUBACCOUNT, (CancelBatch(0, (1,)),), HEIGHT + 20))) == ("", 0)
    assert code_of(send(node, PlaceOrder(make_order(2)))) == ("clob", 5001)


def test_a_block_passes() -> None:
    """Waiting orders are delivered, sequences committed, what expired is returned, the mempool forgets."""
    node = start()
    assert code_of(send(node, SHORT)) == ("", 0)
    assert code_of(send(node, LONG, 0)) == ("", 0)
    cancel = CancelOrder(LONG.order.order_id, good_til_block_time_s=TIME_S + 60)
    assert node.stateful.deliver_place(LONG.order) is None
    assert node.accounts.deliver(KEY.address, 0, KEY.public_key, TIME_MS) is None
    assert node.end_block(HEIGHT + 1, TIME_MS + 1000) == []
    assert code_of(send(node, cancel, 1)) == ("", 0)
    expired = node.end_block(HEIGHT + 10, TIME_MS + 60_000)
    assert [order.order_id.client_id for order in expired] == [1, 3]
    assert code_of(send(node, SHORT)) == ("", 0)  # expired, so the mempool no longer knows the bytes


def refusal_code(outcome: Any) -> int | None:
    return outcome.code if isinstance(outcome, TxRefusal) else None


def test_stateful_memory() -> None:
    """3005 twice over, 3008, 32, 29, 3003, 3004, 3006, 3007, 3009, 3010, 10001, 12."""
    memory = StatefulMemory(BOOKS)
    order = make_order(3, 64)
    cancel = CancelOrder(order.order_id, good_til_block_time_s=TIME_S + 60)
    assert refusal_code(memory.place(order, TIME_S)) is None
    assert memory.count_open(SUBACCOUNT) == 1
    refusal = memory.place(order, TIME_S)
    assert refusal is not None
    assert refusal.raw_log.startswith("An uncommitted stateful order with this OrderId already exists")
    memory.begin_block()
    assert memory.deliver_place(order) is None
    refusal = memory.place(make_order(3, 64, good_til_block_time_s=TIME_S + 90), TIME_S)
    assert refusal is not None
    assert refusal.raw_log.startswith("A stateful order with this OrderId already exists")
    assert (refusal.code, refusal_code(memory.deliver_place(order))) == (3005, 3005)
    short = CancelOrder(order.order_id, good_til_block_time_s=TIME_S + 59)
    assert refusal_code(memory.cancel(short, TIME_S)) == 29
    assert refusal_code(memory.cancel(cancel, TIME_S)) is None
    assert refusal_code(memory.cancel(cancel, TIME_S)) == 32
    assert refusal_code(memory.place(order, TIME_S)) == 3008
    assert memory.deliver_cancel(cancel) == order
    assert refusal_code(memory.deliver_cancel(cancel)) == 3006
    assert refusal_code(memory.deliver_place(order)) == 3008
    memory.begin_block()
    assert memory.deliver_place(order) is None
    assert memory.remove(order.order_id) == order
    assert memory.remove(order.order_id) is None
    assert refusal_code(memory.deliver_cancel(cancel)) == 3010
    assert refusal_code(memory.deliver_place(order)) == 3009
    far = CancelOrder(order.order_id, good_til_block_time_s=TIME_S + 10**8)
    assert refusal_code(memory.cancel(far, TIME_S)) == 3004
    assert refusal_code(memory.cancel(cancel, TIME_S + 60)) == 3003
    assert refusal_code(memory.cancel(cancel, TIME_S)) == 3006
    assert refusal_code(memory.place(order, TIME_S, has_collateral=False)) == 3007
    assert refusal_code(memory.place(make_stop(trigger_subticks=1), TIME_S)) == 12
    poor = StatefulMemory(BOOKS).place(order, TIME_S, net_collateral_quote=Decimal(19))
    assert refusal_code(poor) == 10001


def test_mutated_transactions_never_crash_nor_pass() -> None:
    """Random damage: a refusal always, unless the bytes that count are untouched."""
    chance = random.Random(7)
    tx_bytes = sign_tx(SHORT, KEY, Account(LOCALNET, 1, 0))
    for _ in range(400):
        mutated = bytearray(tx_bytes)
        for _ in range(chance.randrange(1, 4)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        admission = start().admit(bytes(mutated), HEIGHT, TIME_MS)
        assert admission.refusal is not None or admission.tx is not None
        if admission.refusal is None:
            assert admission.tx is not None
            assert admission.tx.messages == (SHORT,)
