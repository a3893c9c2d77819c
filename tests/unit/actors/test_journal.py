"""Numbering, and replay with the instructions dropped."""

from dataclasses import replace
from typing import Any

import pytest

from actors.journal import JournalRecord, JournalWriter, Role, SequenceGapError, replay
from actors.messages import Alert, Severity, Tick, decode, encode


class Counter:
    """A machine that remembers what it was told and would act on all of it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def handle(self, event: Any, ts_now_ns: int) -> list[Any]:
        self.told.append((event.cause_id, ts_now_ns))
        return ["send an order"]


def make_records() -> list[JournalRecord]:
    first, second = JournalWriter("executor", 1, encode), JournalWriter("executor", 4, encode)
    alert = Alert(Severity.INFO, "k", "t", 5, "a")
    return [
        first.event(Tick("a"), 10),
        first.note(alert, 11),
        first.event(Tick("b"), 12),
        second.event(Tick("c"), 20),
    ]


def test_writer_numbers_records_and_names_their_kind_and_cause() -> None:
    records = make_records()
    assert [(r.epoch, r.writer_seq) for r in records] == [(1, 1), (1, 2), (1, 3), (4, 1)]
    assert [(r.kind, r.cause_id, r.role) for r in records[:2]] == [("Tick", "a", Role.EVENT), ("Alert", "a", Role.NOTE)]
    assert decode(records[1].payload) == Alert(Severity.INFO, "k", "t", 5, "a")


def test_a_message_that_cannot_be_encoded_leaves_no_gap() -> None:
    def refuse(message: Any) -> bytes:
        raise TypeError("no bytes for this")

    writer = JournalWriter("executor", 1, refuse)
    with pytest.raises(TypeError):
        writer.event(Tick(), 1)
    assert writer.writer_seq == 0


def test_replay_feeds_events_with_their_times_and_nothing_else() -> None:
    machine = Counter()
    assert replay(machine, make_records(), decode) == 3
    assert machine.told == [("a", 10), ("b", 12), ("c", 20)]


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ([1, 2], SequenceGapError),  # the beginning is missing
        ([0, 2], SequenceGapError),  # a hole
        ([0, 1, 1], SequenceGapError),  # doubled
        ([0, 3, 1], SequenceGapError),  # back to an old epoch
    ],
)
def test_replay_refuses_records_with_a_hole_or_out_of_order(order: list[int], error: type[Exception]) -> None:
    records = make_records()
    with pytest.raises(error):
        replay(Counter(), [records[i] for i in order], decode)


def test_replay_refuses_two_writers() -> None:
    records = make_records()
    with pytest.raises(ValueError, match="'executor' and 'governor'"):
        replay(Counter(), [records[0], replace(records[1], writer="governor")], decode)


@pytest.mark.parametrize(("writer", "epoch", "writer_seq"), [("", 1, 0), ("a", 0, 0), ("a", 1, -1)])
def test_writer_refuses_impossible_numbers(writer: str, epoch: int, writer_seq: int) -> None:
    with pytest.raises(ValueError, match=r"writer|epoch"):
        JournalWriter(writer, epoch, encode, writer_seq)
