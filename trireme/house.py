"""The composition root of a paper account: which actors there are, who talks to whom, and how they start and stop."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.executor.shell import ExecutorShell
from actors.governor.shell import GovernorShell
from actors.ledger.lanes import LedgerLaneShell
from actors.market_feed.shell import MarketFeedShell
from actors.market_feed.source import MarketSource
from actors.plan import Plan
from actors.shell import ShellSettings
from actors.strategist.shell import StrategistShell
from cluster.handles import call
from cluster.session import Session
from cluster.spawn import kill, spawn

FEED, GOVERNOR, EXECUTOR, LEDGER = "market_feed", "governor", "executor", "ledger"
CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Status:
    """What the actors said of themselves at one moment."""

    feed: dict[str, Any]
    governor: dict[str, Any]
    executor: dict[str, Any]
    strategists: tuple[dict[str, Any], ...]

    @property
    def failures(self) -> list[str]:
        """Every actor that has stopped for a reason, in its own words."""
        parts = (self.feed, self.governor, self.executor, *self.strategists)
        return [f"{part['name']}: {part['failure']}" for part in parts if part["failure"]]

    @property
    def is_done(self) -> bool:
        """Whether every bar of the source has been governed."""
        return bool(self.feed["is_published"] and self.feed["ts_confirmed_ns"] >= self.feed["ts_last_ns"])


class PaperHouse:
    """One paper account on Ray: spawned by `start`, driven by the feed, taken down by `stop`."""

    def __init__(self, session: Session, plan: Plan, source: MarketSource, directory: Path, speed: float) -> None:
        assert session.directory is not None
        self.plan = plan
        self.run = 0
        self._source = source
        self._speed = speed
        self._ledger_directory = directory / "ledger"
        self._sockets = session.directory / "lanes"
        self.strategists = tuple(f"strategist.{index}-{part.name}" for index, part in enumerate(plan.strategies))
        self._handles: dict[str, Any] = {}
        self._endpoints: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All actors of the order path, in the order in which they start."""
        return (EXECUTOR, GOVERNOR, *self.strategists, FEED)

    def start(self, name: str, about: str) -> None:
        """Spawn all actors, connect their lanes, and let the feed run."""
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        ledger = self._spawn(
            LedgerLaneShell, str(self._ledger_directory), str(self._sockets), self.names, name=LEDGER, max_restarts=0
        )
        call(ledger, "start", timeout_s=CALL_S)
        slots = [
            f"{part.name}/{instrument.instrument_id}"
            for instrument in self.plan.instruments
            for part in self.plan.strategies
        ]
        self.run = call(
            ledger, "start_run", name, "paper", slots, self.plan.equity_start_quote, about, timeout_s=CALL_S
        )
        subscribers = (EXECUTOR, *self.strategists, GOVERNOR)
        listeners = (GOVERNOR, *self.strategists)
        self._spawn_shell(ExecutorShell, EXECUTOR, listeners, (FEED, GOVERNOR))
        self._spawn_shell(GovernorShell, GOVERNOR, (EXECUTOR, FEED), (FEED, EXECUTOR, *self.strategists))
        for index, strategist in enumerate(self.strategists):
            self._spawn_shell(StrategistShell, strategist, (GOVERNOR,), (FEED, EXECUTOR), index)
        self._spawn_shell(
            MarketFeedShell, FEED, subscribers, (GOVERNOR,), self._source, subscribers, self._speed, has_plan=False
        )
        for part in (LEDGER, *self.names):
            self._endpoints |= call(self._handles[part], "open", timeout_s=CALL_S)
        for part in (LEDGER, *self.names):
            call(self._handles[part], "connect", self._endpoints, timeout_s=CALL_S)
        call(self._handles[FEED], "run", timeout_s=CALL_S)

    def recover(self, name: str) -> None:
        """Bring an actor back that Ray has restarted: it replays its journal and takes up its lanes."""
        handle = self._handles[name]
        self._endpoints |= call(handle, "open", timeout_s=CALL_S)
        call(handle, "connect", self._endpoints, timeout_s=CALL_S)
        if name == FEED:
            call(handle, "run", timeout_s=CALL_S)

    def get_status(self) -> Status:
        """Ask every actor how it is."""
        said = {name: call(self._handles[name], "get_status", timeout_s=CALL_S) for name in self.names}
        return Status(
            said[FEED], said[GOVERNOR], said[EXECUTOR], tuple(said[strategist] for strategist in self.strategists)
        )

    def wait_done(self, timeout_s: float, poll_s: float = 0.2) -> Status:
        """Return the status once every bar is governed. Raises TimeoutError, RuntimeError when an actor has failed."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            status = self.get_status()
            if status.failures:
                raise RuntimeError("; ".join(status.failures))
            if status.is_done:
                return status
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"paper session not done after {timeout_s} s: {status.feed}")
            time.sleep(poll_s)

    def ask_ledger(self, method: str, *args: Any) -> Any:
        """Call a query of the ledger."""
        return call(self._handles[LEDGER], method, *args, timeout_s=CALL_S)

    def stop(self, outcome: str) -> None:
        """Close the lanes from the feed on, then the ledger, and end every actor. Safe to repeat."""
        for name in reversed(self.names):
            if name in self._handles:
                call(self._handles[name], "close", timeout_s=CALL_S)
        if LEDGER in self._handles:
            call(self._handles[LEDGER], "flush", timeout_s=CALL_S)
            call(self._handles[LEDGER], "end_run", outcome, timeout_s=CALL_S)
            call(self._handles[LEDGER], "stop", timeout_s=CALL_S)
        for handle in self._handles.values():
            kill(handle)
        self._handles = {}

    def _spawn(self, shell: type, *args: Any, name: str, max_restarts: int) -> Any:
        self._handles[name] = spawn(
            shell, *args, name=name, role="live_trading", max_restarts=max_restarts, max_task_retries=0
        )
        return self._handles[name]

    def _spawn_shell(
        self,
        shell: type,
        name: str,
        sends_to: tuple[str, ...],
        hears_from: tuple[str, ...],
        *args: Any,
        has_plan: bool = True,
    ) -> None:
        settings = ShellSettings(name, str(self._sockets), self.run, (*sends_to, LEDGER), (*hears_from, LEDGER))
        plan = (self.plan,) if has_plan else ()
        self._spawn(shell, settings, *plan, *args, name=name, max_restarts=-1)
