"""The contract between shells and the ledger: what a journal record is, how it is numbered, how it is replayed.

A shell journals each event before its machine sees it (EVENT), and notes what it is about to do or has decided where
the story needs it (NOTE: "about to send", a denial). A restarted actor is empty: it feeds its own EVENT records to a
new machine, drops the instructions, and is where it was. NOTE records are told, never replayed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

WRITER_SEQ_NONE = 0  # the number before a writer's first record in an epoch


class JournalError(Exception):
    """The ledger did not take a batch: nothing of it is written unless the message says otherwise."""


class FencedError(JournalError):
    """A newer epoch of this writer exists: the one that got this answer must stop acting at once."""


class SequenceGapError(JournalError):
    """A record is missing before this one: a replay with a hole would be another machine."""


class ConflictError(JournalError):
    """The same (writer, epoch, writer_seq) came again with other content."""


class OverloadedError(JournalError):
    """Too many rows wait for the disk: send the batch again later, under the same numbers."""


class Role(IntEnum):
    """What a record is to its writer's replay."""

    NOTE = 0  # told in the story, not replayed
    EVENT = 1  # an input of the machine


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """One row of the journal. (writer, epoch, writer_seq) is unique; writer_seq counts 1, 2, 3... in each epoch."""

    writer: str  # the actor's name
    epoch: int  # >= 1, of the writer's lease; an older one is refused
    writer_seq: int  # >= 1
    ts_ns: int  # the time the machine was told, UTC
    role: int  # Role
    kind: str  # class name of the message
    cause_id: str  # "" where nobody's intent caused it
    payload: bytes  # the message, encoded
    seq: int = 0  # place in the journal, given by the ledger


class JournalWriter:
    """Turns a shell's messages into numbered records. One per actor and epoch.

    A record is numbered when it is made: what is made must be appended, in that order. After a failed append the same
    records may be appended again; the ledger takes each number once.
    """

    def __init__(
        self, writer: str, epoch: int, encode: Callable[[Any], bytes], writer_seq: int = WRITER_SEQ_NONE
    ) -> None:
        if not writer:
            raise ValueError("writer is empty: give the actor's name")
        if epoch < 1 or writer_seq < 0:
            raise ValueError(f"epoch is {epoch} and writer_seq {writer_seq}: need epoch >= 1 and writer_seq >= 0")
        self.writer = writer
        self.epoch = epoch
        self.writer_seq = writer_seq
        self._encode = encode  # actors.messages.encode

    def __repr__(self) -> str:
        return f"JournalWriter({self.writer!r}, epoch={self.epoch}, writer_seq={self.writer_seq})"

    def event(self, message: Any, ts_now_ns: int, about: Any = None) -> JournalRecord:
        """Return the next record for an input of the machine: append it before the machine is told.

        Where `message` is an envelope, `about` is the message inside: kind and cause are its.
        """
        return self._record(message, ts_now_ns, Role.EVENT, message if about is None else about)

    def note(self, message: Any, ts_now_ns: int, about: Any = None) -> JournalRecord:
        """Return the next record for something worth telling that the machine must not be told again."""
        return self._record(message, ts_now_ns, Role.NOTE, message if about is None else about)

    def _record(self, message: Any, ts_now_ns: int, role: Role, about: Any) -> JournalRecord:
        payload = self._encode(message)  # before the number is taken: a message that cannot be encoded leaves no gap
        self.writer_seq += 1
        kind, cause_id = type(about).__name__, about.cause_id
        return JournalRecord(self.writer, self.epoch, self.writer_seq, ts_now_ns, role.value, kind, cause_id, payload)


class Machine(Protocol):
    """Anything that can be replayed."""

    def handle(self, event: Any, ts_now_ns: int) -> list[Any]:
        """Apply one event and return the instructions."""


def replay(machine: Machine, records: Iterable[JournalRecord], decode: Callable[[bytes], Any]) -> int:
    """Feed a writer's EVENT records to a new machine with the instructions dropped; return how many were fed.

    Parameters
    ----------
    records : of one writer, oldest first, all epochs, from the first record on
    decode : payload to message, `actors.messages.decode`

    Raises: SequenceGapError when records are missing, doubled or out of order; ValueError for two writers.
    """
    count, last = 0, None
    for record in records:
        if last is None:
            expected = record.writer_seq == 1
        elif record.writer != last.writer:
            raise ValueError(f"records of {last.writer!r} and {record.writer!r} in one replay: replay one writer")
        elif record.epoch == last.epoch:
            expected = record.writer_seq == last.writer_seq + 1
        else:
            expected = record.epoch > last.epoch and record.writer_seq == 1
        if not expected:
            before = "nothing" if last is None else f"epoch {last.epoch} writer_seq {last.writer_seq}"
            raise SequenceGapError(
                f"journal of {record.writer!r}: epoch {record.epoch} writer_seq {record.writer_seq} follows {before}"
            )
        if record.role == Role.EVENT:
            machine.handle(decode(record.payload), record.ts_ns)
            count += 1
        last = record
    return count
