"""The ledger as a real actor: killed in the middle of its work by the operating system, restarted by Ray, whole."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from actors.journal import JournalRecord
from actors.ledger.shell import LedgerShell
from actors.supervisor.machine import (
    ActorSample,
    DesiredActor,
    Phase,
    Restart,
    Restarted,
    Sampled,
    SupervisorMachine,
    SupervisorPolicy,
)
from cluster.handles import ActorLostError, acall, call
from cluster.health import Liveness, sample
from cluster.session import Session
from cluster.spawn import kill, spawn

pytestmark = pytest.mark.ray
CALL_S = 30.0


def make_batch(writer: str, first: int) -> list[JournalRecord]:
    return [JournalRecord(writer, 1, n, n, 1, "Tick", "cause", b"payload") for n in range(first, first + 3)]


def test_what_the_ledger_acknowledged_outlives_its_process(ray_session: Session, tmp_path: Path) -> None:
    ledger = spawn(LedgerShell, str(tmp_path), name="ledger", role="live_trading", max_restarts=-1)
    call(ledger, "start", timeout_s=CALL_S)
    pid = sample(["ledger"])["ledger"].pid
    acknowledged: dict[str, int] = {}

    async def produce(writer: str) -> None:
        for first in range(1, 3000, 3):
            try:
                await acall(ledger, "append", make_batch(writer, first), timeout_s=CALL_S)
            except ActorLostError:
                return
            acknowledged[writer] = first + 2
            if len(acknowledged) == 4 and sum(acknowledged.values()) > 300:
                os.kill(pid, signal.SIGKILL)

    async def produce_all() -> None:
        await asyncio.gather(*(produce(writer) for writer in "abcd"))

    asyncio.run(produce_all())
    assert set(acknowledged) == set("abcd")
    deadline_s = time.monotonic() + CALL_S
    while time.monotonic() < deadline_s:
        health = sample(["ledger"])["ledger"]
        if health.liveness is Liveness.ALIVE and health.pid != pid:
            break
        time.sleep(0.1)
    call(ledger, "start", timeout_s=CALL_S)
    for writer, last in acknowledged.items():
        records = call(ledger, "read_replay", writer, timeout_s=CALL_S)
        assert [record.writer_seq for record in records] == list(range(1, len(records) + 1))
        assert len(records) >= last
        assert len(records) % 3 == 0
        call(ledger, "append", make_batch(writer, len(records) + 1), timeout_s=CALL_S)
    call(ledger, "stop", timeout_s=CALL_S)
    kill(ledger)


def test_the_supervisor_sees_a_real_death_and_a_real_restart(ray_session: Session, tmp_path: Path) -> None:
    policy = SupervisorPolicy(backoff_ns=1, jitter_frac_max=0.0)
    machine = SupervisorMachine((DesiredActor("ledger_two", True, heartbeat_age_max_ns=0),), policy)

    def look() -> list[object]:
        health = sample(["ledger_two"])["ledger_two"]
        seen = ActorSample("ledger_two", health.liveness, -1, health.restarts)
        return list(machine.handle(Sampled((seen,), 0.0), time.time_ns()))

    def look_until(phase: Phase) -> list[object]:
        deadline_s, instructions = time.monotonic() + CALL_S, []
        while machine.get_phases()["ledger_two"] is not phase and time.monotonic() < deadline_s:
            instructions += look()
            time.sleep(0.05)
        assert machine.get_phases()["ledger_two"] is phase
        return instructions

    assert look() == []  # nobody has started it yet: it is given time
    ledger = spawn(LedgerShell, str(tmp_path), name="ledger_two", role="live_trading")
    look_until(Phase.RUNNING)
    os.kill(sample(["ledger_two"])["ledger_two"].pid, signal.SIGKILL)
    instructions = look_until(Phase.RESTARTING)
    assert Restart("ledger_two", 1) in instructions
    kill(ledger)  # what is left: its name
    ledger = spawn(LedgerShell, str(tmp_path), name="ledger_two", role="live_trading")
    machine.handle(Restarted("ledger_two"), time.time_ns())
    look_until(Phase.RUNNING)
    kill(ledger)
