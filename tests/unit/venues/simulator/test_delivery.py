"""Deliveries: in order without faults, altered as the switches say, bounded, the same for the same seed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.records import NS_PER_MS, NS_PER_S
from venues.simulator.delivery import Delivery, DeliveryMachine, DeliverySettings
from venues.simulator.faults import FaultBoard, MessageFate

MS = NS_PER_MS
EXACT = DeliverySettings(latency_median_ns=2 * MS, latency_sigma=0.0)


def make(*rows: dict[str, Any], chosen: DeliverySettings = EXACT, seed: int = 0) -> DeliveryMachine:
    board = FaultBoard(1)
    board.apply({"on": [*rows]}, 0)
    machine = DeliveryMachine(board, "dydx", chosen, seed)
    machine.open("one")
    return machine


def payloads(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.payload for delivery in deliveries]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), st.integers(0, 5 * MS)), max_size=60), st.integers(0, 99))
def test_without_faults_each_connection_is_a_stream(pushes: list[tuple[str, int]], seed: int) -> None:
    chosen = DeliverySettings(latency_median_ns=2 * MS, latency_sigma=1.0, latency_floor_ns=MS)
    machines = [make(chosen=chosen, seed=seed) for _ in range(2)]
    out: list[list[Delivery]] = [[], []]
    pushed_ns: dict[bytes, int] = {}
    for machine, got, is_often in zip(machines, out, (True, False), strict=True):
        machine.open("two")
        ts_ns = 0
        for number, (connection, wait_ns) in enumerate(pushes):
            ts_ns += wait_ns
            payload = f"{connection} {number:03d}".encode()
            pushed_ns[payload] = ts_ns
            machine.push(connection, "trades", payload, ts_ns)
            if is_often:
                got += machine.pop(ts_ns)
        got += machine.pop(10**18)
        assert machine.ts_next_ns is None
    assert out[0] == out[1]
    for connection in ("one", "two"):
        mine = [delivery for delivery in out[0] if delivery.connection == connection]
        assert payloads(mine) == sorted(payloads(mine))
        assert all(delivery.ts_deliver_ns >= pushed_ns[delivery.payload] + MS for delivery in mine)
    assert [d.ts_deliver_ns for d in out[0]] == sorted(d.ts_deliver_ns for d in out[0])
    assert len(out[0]) == len(pushes)


def test_a_message_is_due_after_its_latency_and_not_before() -> None:
    machine = make()
    machine.push("one", "trades", b"a", 100 * MS)
    assert machine.ts_next_ns == 102 * MS
    assert machine.pop(102 * MS - 1) == []
    assert machine.pop(102 * MS) == [Delivery(102 * MS, "one", b"a")]


def test_drop_and_duplicate_strike_only_their_channel() -> None:
    machine = make(
        {"fault": "message_drop", "on": "trades", "next_n": 1},
        {"fault": "message_duplicate", "on": "book", "copies": 3},
    )
    for payload, channel in ((b"a", "trades"), (b"b", "book"), (b"c", "trades")):
        machine.push("one", channel, payload, 0)
    assert payloads(machine.pop(NS_PER_S)) == [b"b", b"b", b"b", b"c"]
    assert machine.count_waiting("one") == 0


def test_a_delayed_channel_keeps_its_order_while_others_overtake() -> None:
    machine = make({"fault": "message_delay", "on": "trades", "delay_ms": 50, "next_n": 1})
    for payload, channel in ((b"a", "trades"), (b"b", "book"), (b"c", "trades")):
        machine.push("one", channel, payload, 0)
    assert [(d.payload, d.ts_deliver_ns // MS) for d in machine.pop(NS_PER_S)] == [(b"b", 2), (b"a", 52), (b"c", 52)]


def test_a_reordered_message_goes_behind_later_ones_or_waits_no_longer_than_the_hold() -> None:
    machine = make({"fault": "message_reorder", "behind": 2, "next_n": 1})
    for payload in (b"a", b"b", b"c", b"d"):
        machine.push("one", "trades", payload, 0)
    assert payloads(machine.pop(NS_PER_S)) == [b"b", b"c", b"a", b"d"]
    alone = make({"fault": "message_reorder", "behind": 2, "next_n": 1})
    alone.push("one", "trades", b"a", 0)
    assert alone.ts_next_ns == NS_PER_S
    assert alone.pop(NS_PER_S - 1) == []
    assert alone.pop(NS_PER_S) == [Delivery(NS_PER_S, "one", b"a")]


def test_half_open_swallows_everything_until_a_close() -> None:
    machine = make({"fault": "half_open", "next_n": 1})
    for payload in (b"a", b"b"):
        machine.push("one", "trades", payload, 0)
    assert machine.pop(NS_PER_S) == []
    machine.close("one", 1000, 2 * NS_PER_S)
    assert [delivery.close_code for delivery in machine.pop(3 * NS_PER_S)] == [1000]


def test_a_close_comes_after_its_message_and_ends_the_connection() -> None:
    machine = make({"fault": "connection_close", "code": 1012, "after_messages": 1})
    fates = [machine.push("one", "trades", payload, 0) for payload in (b"a", b"b", b"c")]
    assert fates[2].is_dropped
    assert [(d.payload, d.close_code) for d in machine.pop(NS_PER_S)] == [(b"a", 0), (b"b", 0), (b"", 1012)]
    machine.open("one")  # a name is free again once its connection is closed


def test_a_slow_reader_is_closed() -> None:
    machine = make(chosen=DeliverySettings(queue_max=3, latency_sigma=0.0))
    for number in range(9):
        machine.push("one", "trades", bytes([number]), 0)
    out = machine.pop(NS_PER_S)
    assert [delivery.close_code for delivery in out] == [0, 0, 0, 0, 1008]


def test_a_fate_handed_in_is_not_drawn_again_and_a_forgotten_connection_gets_nothing() -> None:
    machine = make({"fault": "message_drop"})
    assert machine.push("one", "book", b"crossed", 0, MessageFate(is_book_crossed=True)).is_book_crossed
    assert payloads(machine.pop(NS_PER_S)) == [b"crossed"]
    machine.push("one", "book", b"late", 0, MessageFate())
    machine.forget("one")
    assert machine.pop(NS_PER_S) == []
    assert machine.push("gone", "book", b"x", 0).is_dropped
    machine.open("one")
    with pytest.raises(ValueError, match="open already"):
        machine.open("one")
    with pytest.raises(ValueError, match="queue_max"):
        make(chosen=DeliverySettings(queue_max=0))
