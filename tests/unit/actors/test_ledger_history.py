"""The history: derived from the journal exactly once, money exact, views that add up; and the ledger's shell."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.journal import FencedError, JournalRecord, JournalWriter, replay
from actors.ledger.projections import RULES, add_decimals, make_decimal_text
from actors.ledger.shell import LedgerShell
from actors.messages import Alert, EquityMarked, Severity, SlotDecided, StopMoved, Tick, decode, encode
from market.events import (
    Fill,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderRequest,
    OrderTriggered,
    OrderType,
)
from market.reasons import Reason

BTC = "BTC-PERP.PAPER"


def with_ledger(directory: Path, use: Callable[[LedgerShell], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        ledger = LedgerShell(str(directory), clock_ns=lambda: 1_700_000_000_000_000_000)
        await ledger.start()
        try:
            return await use(ledger)
        finally:
            await ledger.stop()

    return asyncio.run(run())


def make_fill(trade_id: str, side: int, lots: int, fee_quote: float, order: str = "0x1", px: float = 100.1) -> Fill:
    return Fill(order, "v1", trade_id, BTC, side, px, lots, fee_quote, False, 0, 50, "intent")


LIFE = [
    SlotDecided(10, 0, "intent", Reason.ENTRY_SIGNAL, 0, 5, 0, 0, 95.5, 0.0, "intent"),
    OrderRequest("0x1", BTC, 1, 5, OrderType.MARKET, cause_id="intent"),
    OrderRequest("0x2", BTC, -1, 5, OrderType.STOP_MARKET, trigger_px=95.5, is_reduce_only=True, cause_id="intent"),
    OrderAccepted("0x1", "v1", 20, "intent"),
    OrderAccepted("0x2", "v2", 20, "intent"),
    make_fill("t1", 1, 2, 0.1),
    make_fill("t2", 1, 3, 0.2),
    OrderModified("0x2", "v2", 5, 0.0, 97.25, 30, "intent"),
    StopMoved(30, 0, 97.25),
    FundingPaid(BTC, 5, 0.0001, 100.0, -0.05, 40),
    OrderTriggered("0x2", "v2", 49, "intent"),
    make_fill("t3", -1, 5, 0.30000000000000004, "0x2"),
    OrderAccepted("0x2", "v2", 20, "intent"),  # late and doubled: an ended order stays ended
    OrderRequest("0x3", BTC, 1, 1, OrderType.LIMIT, limit_px=90.0, cause_id="other"),
    OrderRejected("0x3", "margin", 60, "other"),
    OrderRequest("0x4", BTC, 1, 1, OrderType.LIMIT, limit_px=90.0, cause_id="fourth"),
    OrderCanceled("0x4", "v4", "requested", 61, "fourth"),
    SlotDecided(70, 0, "denied", Reason.ENTRY_SIGNAL, Reason.COOLDOWN, 0, 0, 0, 0.0, 0.0, "denied"),
    EquityMarked(10, 1000.0, 1000.0, 0, 0),
    EquityMarked(70, 999.35, 999.35, 0, 1),
    Alert(Severity.WARNING, "feed.gap", "gap", 71),
]


async def write_life(ledger: LedgerShell, writer: str = "executor") -> None:
    journal = JournalWriter(writer, await ledger.claim(writer), encode)
    await ledger.append([journal.note(message, 1_000 + i) for i, message in enumerate(LIFE)])


def test_a_run_adds_up_exactly(tmp_path: Path) -> None:
    async def use(ledger: LedgerShell) -> None:
        run = await ledger.start_run("test", "paper", ["momentum_sar BTC"], 1000.0, "seed 1")
        await write_life(ledger)
        await write_life(ledger, "governor")  # the same facts told by a second actor count once
        await ledger.end_run("done")
        summary = await ledger.summarize()
        assert summary["run"]["run"] == run
        assert summary["run"]["outcome"] == "done"
        assert summary["run"]["equity_start_quote"] == "1000.0"
        del summary["run"]
        assert summary == {
            "intents": 2,
            "denials": {"COOLDOWN": 1},
            "orders": {"filled": 2, "rejected": 1, "canceled": 1},
            "alerts": {"warning": 2},
            "fills": 3,
            "net_lots": {BTC: 0},
            "fees_quote": "0.60000000000000004",
            "funding_quote": "-0.05",
            "marks": 2,
            "equity_first_quote": "1000.0",
            "equity_last_quote": "999.35",
            "cash_last_quote": "999.35",
            "latch_last": "OK",
            "faults": 0,
        }
        [stop] = await ledger.query("SELECT * FROM orders WHERE client_order_id = '0x2'")
        assert (stop["trigger_px"], stop["venue_order_id"], stop["status"]) == ("97.25", "v2", "filled")
        assert [row["trade_id"] for row in await ledger.fills_since()] == ["t1", "t2", "t3"]
        last = (await ledger.fills_since())[1]["seq"]
        assert [row["trade_id"] for row in await ledger.fills_since(last)] == ["t3"]

    with_ledger(tmp_path, use)


def test_the_same_ids_in_a_second_run_are_other_facts(tmp_path: Path) -> None:
    async def use(ledger: LedgerShell) -> None:
        first = await ledger.start_run("one", "paper", [], 1000.0, "")
        await write_life(ledger)
        second = await ledger.start_run("two", "paper", [], 1000.0, "")
        await write_life(ledger)
        assert first < second
        assert (await ledger.summarize(first))["fills"] == (await ledger.summarize(second))["fills"] == 3
        assert len(await ledger.fills_since()) == 6
        assert len(await ledger.read_replay("executor", seq_after=second)) == len(LIFE)

    with_ledger(tmp_path, use)


def test_the_history_is_derived_removed_it_comes_back_the_same(tmp_path: Path) -> None:
    async def dump(ledger: LedgerShell) -> list[Any]:
        await ledger.flush()
        tables = ("runs", "intents", "stop_moves", "orders", "fills", "funding", "equity", "alerts", "faults")
        return [await ledger.query(f"SELECT * FROM {table}") for table in tables]

    async def write(ledger: LedgerShell) -> list[Any]:
        await ledger.start_run("one", "paper", [], 1000.0, "")
        await write_life(ledger)
        return await dump(ledger)

    before = with_ledger(tmp_path, write)
    assert with_ledger(tmp_path, dump) == before
    for name in ("history.db", "history.db-wal", "history.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    assert with_ledger(tmp_path, dump) == before


def test_the_story_of_one_intent_is_told_in_order_and_alone(tmp_path: Path) -> None:
    async def use(ledger: LedgerShell) -> None:
        await write_life(ledger)
        lines = (await ledger.story("intent")).splitlines()
        assert [line.split()[2] for line in lines] == [
            type(message).__name__ for message in LIFE if message.cause_id == "intent"
        ]
        assert lines[1].startswith("1970-01-01T00:00:00.000001Z executor")
        assert "client_order_id=0x1" in lines[1]
        assert await ledger.story("unheard of") == ""

    with_ledger(tmp_path, use)


def test_a_message_in_a_shells_envelope_counts_like_a_bare_one(tmp_path: Path) -> None:
    async def use(ledger: LedgerShell) -> None:
        journal = JournalWriter("executor", 1, msgspec.msgpack.encode)
        fill = make_fill("t1", 1, 2, 0.1)
        await ledger.append([journal.event(("a>b", 1, 7, fill), 1, about=fill)])
        assert [row["trade_id"] for row in await ledger.fills_since()] == ["t1"]
        assert "trade_id=t1" in await ledger.story("intent")

    with_ledger(tmp_path, use)


BAD = [
    JournalRecord("x", 1, 1, 1, 0, "Fill", "c", b"\xff\xff"),
    JournalRecord("x", 1, 1, 1, 0, "Fill", "c", encode(Tick())),
    JournalRecord("x", 1, 1, 1, 0, "EquityMarked", "c", encode(EquityMarked(1, math.nan, 1.0, 0, 0))),
    JournalRecord("x", 1, 1, 1, 0, "EquityMarked", "c", encode(EquityMarked(2**63, 1.0, 1.0, 0, 0))),
]


@pytest.mark.parametrize("bad", BAD)
def test_a_record_that_has_no_row_is_counted_and_holds_nobody_up(tmp_path: Path, bad: JournalRecord) -> None:
    async def use(ledger: LedgerShell) -> None:
        await ledger.append([bad])
        await write_life(ledger)
        summary = await ledger.summarize()
        assert summary["faults"] == 1
        assert summary["fills"] == 3
        assert summary["marks"] == 2

    with_ledger(tmp_path, use)


def test_a_restarted_actor_replays_its_own_journal_and_its_old_self_is_fenced(tmp_path: Path) -> None:
    class Machine:
        def __init__(self) -> None:
            self.told: list[Any] = []

        def handle(self, event: Any, ts_now_ns: int) -> list[Any]:
            self.told.append((event, ts_now_ns))
            return []

    async def use(ledger: LedgerShell) -> None:
        old = JournalWriter("executor", await ledger.claim("executor"), encode)
        await ledger.append([old.event(Tick("a"), 1), old.note(LIFE[1], 2)])
        new = JournalWriter("executor", await ledger.claim("executor"), encode)
        with pytest.raises(FencedError):
            await ledger.append([old.event(Tick("late"), 3)])
        await ledger.append([new.event(Tick("b"), 4)])
        machine = Machine()
        assert replay(machine, await ledger.read_replay("executor"), decode) == 2
        assert machine.told == [(Tick("a"), 1), (Tick("b"), 4)]

    with_ledger(tmp_path, use)


def test_queries_cannot_write(tmp_path: Path) -> None:
    async def use(ledger: LedgerShell) -> None:
        with pytest.raises(Exception, match="readonly database"):
            await ledger.query("DELETE FROM fills")
        await ledger.checkpoint()

    with_ledger(tmp_path, use)


def test_a_history_of_another_journal_is_refused(tmp_path: Path) -> None:
    with_ledger(tmp_path, write_life)

    async def nothing(ledger: LedgerShell) -> None:
        await ledger.flush()

    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="belongs to another journal"):
        with_ledger(tmp_path, nothing)


def test_every_rule_is_used_by_the_life_above(tmp_path: Path) -> None:
    elsewhere = {"SweepRoundFinished", "SweepFinished"}  # test_ledger_optimization.py
    assert set(RULES) - elsewhere == {type(message).__name__ for message in LIFE} | {"RunStarted", "RunEnded"}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_money_text_reads_back_as_the_same_float_and_as_a_decimal(value: float) -> None:
    text = make_decimal_text(value)
    assert float(text) == value
    assert Decimal(text) == Decimal(repr(value))


@given(st.lists(st.decimals(-(10**9), 10**9, places=6), max_size=20))
def test_sums_are_exact(values: list[Decimal]) -> None:
    assert Decimal(add_decimals([str(value) for value in values])) == sum(values, Decimal(0))


def test_a_ledger_stopped_while_it_folds_leaves_no_transaction_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.ledger.shell.FOLD_EVERY_S", 0.0)

    async def run(steps: int) -> None:
        ledger = LedgerShell(str(tmp_path))
        await ledger.start()
        writer = JournalWriter("governor", await ledger.claim("governor"), encode)
        await ledger.append([writer.note(Tick(), 1)])
        for _ in range(steps):
            await asyncio.sleep(0)
        await ledger.stop()

    for steps in range(12):
        asyncio.run(run(steps))
