"""The composition root of an account: which actors there are, who talks to whom, and how they start and stop."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.connections import VenueConnection
from actors.executor.shell import ExecutorShell
from actors.executor.venue_shell import VenueExecutorShell
from actors.governor.shell import GovernorShell
from actors.herald.lanes import HeraldLaneShell
from actors.journal import JournalError
from actors.ledger.lanes import LedgerLaneShell
from actors.market_feed.shell import MarketFeedShell
from actors.market_feed.source import MarketSource
from actors.market_feed.venue_shell import VenueFeedShell
from actors.market_feed.venue_source import VenueSource
from actors.plan import Plan
from actors.shell import ShellSettings
from actors.strategist.shell import StrategistShell
from actors.supervisor.hands import ActorSpec
from actors.supervisor.lanes import SupervisorLaneShell
from actors.supervisor.machine import Phase
from cluster.handles import ActorLostError, ActorStartError, CallTimeoutError, call
from cluster.session import Session
from cluster.spawn import get_actor, kill
from market.events import BarsClosed
from market.records import NS_PER_S
from trireme.settings import HeraldSettings, SupervisorSettings

FEED, GOVERNOR, LEDGER = "market_feed", "governor", "ledger"
HERALD, SUPERVISOR = "herald", "supervisor"
CALL_S = 60.0
POLL_S = 0.25
ANSWER_S = 10.0  # for a status, and for a farewell
AWAY_S = 120.0  # how long the ledger may be away before a question to it fails
LIVE_TRADING, FAST_COMPUTE, AI_HUB = "live_trading", "fast_compute", "ai_hub"
SPAWNED_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class Status:
    """What the actors said of themselves; of one who is away, what it said last."""

    feed: dict[str, Any]
    governor: dict[str, Any]
    executors: tuple[dict[str, Any], ...]
    strategists: tuple[dict[str, Any], ...]
    ledger: dict[str, Any]
    herald: dict[str, Any]
    supervisor: dict[str, Any]
    away: tuple[str, ...] = ()

    @property
    def failures(self) -> list[str]:
        """Every actor that has stopped for a reason, in its own words, and who failed too often."""
        parts = (self.feed, self.governor, *self.executors, *self.strategists, self.ledger)
        said = [f"{part['name']}: {part['failure']}" for part in parts if part["failure"]]
        phases = self.supervisor["phases"].items()
        return said + [f"{name}: failed too often" for name, phase in phases if phase == Phase.QUARANTINED]

    @property
    def is_done(self) -> bool:
        """Whether every bar of the source has been governed."""
        return bool(self.feed["is_published"] and self.feed["ts_confirmed_ns"] >= self.feed["ts_last_ns"])


class PaperHouse:
    """One account on Ray: spawned by `start`, driven by the feed, watched by its supervisor, ended by `stop`.

    With a `MarketSource` it trades at the embedded venue over bars, `speed` market seconds per second. With a
    `VenueSource` it trades in real time, where `connections` lead, one for each account of the plan.

    The actors of `start` belong to this process and end with it, as the embedded Ray does; detached they would
    outlive nothing but a driver of a cluster. What the supervisor spawns in place of an actor that Ray gave up is
    detached: it must outlive the supervisor. `stop` ends both kinds, by name.
    """

    def __init__(
        self,
        session: Session,
        plan: Plan,
        source: MarketSource | VenueSource,
        directory: Path,
        speed: float = 0.0,
        herald: HeraldSettings | None = None,
        supervisor: SupervisorSettings | None = None,
        connections: tuple[VenueConnection, ...] = (),
    ) -> None:
        assert len(connections) == len(plan.accounts)
        self.plan = plan
        self._connections = connections
        self.run = 0
        self._source = source
        self._speed = speed
        self._herald = herald or HeraldSettings()
        self._supervisor = supervisor or SupervisorSettings()
        self._ledger_directory = directory / "ledger"
        self._sockets = session.directory / "lanes"
        self.strategists = tuple(f"strategist.{index}-{part.name}" for index, part in enumerate(plan.strategies))
        self._owned: list[Any] = []  # handles: an actor whose last handle is gone is gone
        self._spawned: list[str] = []
        self._said: dict[str, dict[str, Any]] = {}
        self._endpoints: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All actors of the order path, in the order in which they start."""
        return (*self.plan.executors, GOVERNOR, *self.strategists, FEED)

    def start(self, name: str, about: str) -> None:
        """Spawn all actors, connect their lanes, let the feed run, and have the supervisor watch them.

        Raises ValueError when a channel of the herald lacks a setting or a secret, or a venue account is not fit for
        trading (venues.port.PreflightError).
        """
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        ledger = self._make_ledger()
        self._spawn(ledger)
        self._open(ledger)
        slots = [
            f"{part.name}/{instrument.instrument_id}"
            for instrument in self.plan.instruments
            for part in self.plan.strategies
        ]
        self.run = self._call(LEDGER, "start_run", name, "paper", slots, self.plan.equity_start_quote, about)
        specs = (ledger, *self._make_order_path(), self._make_herald())
        with ThreadPoolExecutor(SPAWNED_AT_ONCE) as threads:
            list(threads.map(self._spawn, (*specs[1:], self._make_supervisor(specs))))
        for spec in specs[1:]:
            self._open(spec)
        for spec in specs:
            self._call(spec.name, "connect", self._endpoints)
        with ThreadPoolExecutor(SPAWNED_AT_ONCE) as threads:
            list(threads.map(lambda name: self._call(name, "run"), self._list_runners()))
        self._call(FEED, "run")
        # From here on everybody is at work, and missed who is not.
        self._endpoints |= self._call(SUPERVISOR, "open")
        self._call(HERALD, "connect", self._endpoints)

    def _list_runners(self) -> tuple[str, ...]:
        # Those but the feed that have to be told to run: executors of venues.
        return self.plan.executors if self.plan.accounts else ()

    def recover(self, name: str) -> None:
        """Bring an actor back that Ray has restarted: it replays its journal and takes up its lanes.

        The supervisor does so by itself; both at once do no harm.
        """
        self._endpoints |= self._call(name, "open")
        self._call(name, "connect", self._endpoints)
        if name in (*self._list_runners(), FEED):
            self._call(name, "run")

    def get_status(self) -> Status:
        """Ask every actor how it is. One that is away is answered for by what it said last."""
        away = [name for name in (*self.names, LEDGER, HERALD, SUPERVISOR) if not self._ask(name)]
        said = self._said
        return Status(
            said[FEED],
            said[GOVERNOR],
            tuple(said[executor] for executor in self.plan.executors),
            tuple(said[strategist] for strategist in self.strategists),
            said[LEDGER],
            said[HERALD],
            said[SUPERVISOR],
            tuple(away),
        )

    def _ask(self, name: str) -> bool:
        # Returns whether it is there and open.
        try:
            status = call(get_actor(name), "get_status", timeout_s=ANSWER_S)
        except (ActorLostError, CallTimeoutError):
            if name not in self._said:
                raise
            return False
        if status["is_open"] or name not in self._said:
            self._said[name] = status
        return bool(status["is_open"])

    def wait_done(
        self, timeout_s: float = math.inf, on_status: Callable[[Status], None] = lambda status: None
    ) -> Status:
        """Return the status once every bar is governed; `on_status` is shown each one on the way.

        Raises TimeoutError, or RuntimeError when an actor has failed.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            status = self.get_status()
            on_status(status)
            if status.failures:
                raise RuntimeError("; ".join(status.failures))
            if status.is_done:
                return status
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"paper session not done after {timeout_s} s: {status.feed}")
            time.sleep(POLL_S)

    def settle(self) -> None:
        """Return when everything that the actors have journaled is durable and in the history."""
        for name in self.names:
            self._call_patiently(name, "drain")
        self._call_patiently(LEDGER, "flush")

    def ask_ledger(self, method: str, *args: Any) -> Any:
        """Call a query of the ledger; while it is being brought back, wait for it."""
        return self._call_patiently(LEDGER, method, *args)

    def list_bars(self) -> list[BarsClosed]:
        """Return the closes that a session at venues was decided on, oldest first."""
        closes: list[BarsClosed] = self._call_patiently(FEED, "list_bars")
        return closes

    def acknowledge(self, key: str, by: str) -> None:
        """Tell the herald that a person knows of a matter ("*": of all)."""
        self._call(HERALD, "acknowledge", key, by)

    def stop(self, outcome: str) -> None:
        """End the supervisor, close the lanes from the feed on, then the ledger; end every actor. Safe to repeat."""
        if SUPERVISOR in self._spawned:
            with _whatever_comes():
                call(get_actor(SUPERVISOR), "close", timeout_s=2 * ANSWER_S)
            self._kill(SUPERVISOR)  # from here on nobody is brought back
        for name in (*reversed(self.names), HERALD):
            if name in self._spawned:
                with _whatever_comes():
                    call(get_actor(name), "close", timeout_s=ANSWER_S)
        if LEDGER in self._spawned:
            with _whatever_comes():
                for method, args in (("flush", ()), ("end_run", (outcome,)), ("stop", ())):
                    call(get_actor(LEDGER), method, *args, timeout_s=CALL_S)
        for name in self._spawned:
            self._kill(name)
        self._spawned, self._owned, self._said = [], [], {}

    def _make_ledger(self) -> ActorSpec:
        args = (str(self._ledger_directory), str(self._sockets), self.names)
        return ActorSpec.make(LEDGER, LedgerLaneShell, args, LIVE_TRADING)

    def _make_order_path(self) -> list[ActorSpec]:
        plan = (self.plan,)
        executors = self.plan.executors
        subscribers = (*executors, *self.strategists, GOVERNOR)
        governor_hears = (FEED, *executors, *self.strategists)
        specs = [
            *(self._make_executor(account) for account in range(len(executors))),
            self._make_shell(GovernorShell, GOVERNOR, (*executors, FEED), governor_hears, plan),
        ]
        for index, strategist in enumerate(self.strategists):
            hears = (FEED, *executors)
            specs.append(self._make_shell(StrategistShell, strategist, (GOVERNOR,), hears, (*plan, index)))
        shell: type = MarketFeedShell
        feed: tuple[Any, ...] = (self._source, subscribers, self._speed)
        if isinstance(self._source, VenueSource):
            shell, feed = VenueFeedShell, (self._source, subscribers)
        return [*specs, self._make_shell(shell, FEED, subscribers, (GOVERNOR,), feed, has_run=True)]

    def _make_executor(self, account: int) -> ActorSpec:
        name = self.plan.executors[account]
        listeners, hears = (GOVERNOR, *self.strategists), (FEED, GOVERNOR)
        if not self._connections:
            return self._make_shell(ExecutorShell, name, listeners, hears, (self.plan,))
        args = (self.plan, account, self._connections[account], time.time_ns())
        return self._make_shell(VenueExecutorShell, name, listeners, hears, args, has_run=True)

    def _make_shell(
        self,
        shell: type,
        name: str,
        sends_to: tuple[str, ...],
        hears_from: tuple[str, ...],
        args: tuple[Any, ...],
        *,
        has_run: bool = False,
    ) -> ActorSpec:
        sends_to = (*sends_to, LEDGER, HERALD)
        settings = ShellSettings(name, str(self._sockets), self.run, sends_to, (*hears_from, LEDGER))
        return ActorSpec.make(name, shell, (settings, *args), LIVE_TRADING, has_run=has_run)

    def _make_herald(self) -> ActorSpec:
        args = ((*self.names, SUPERVISOR), self._herald.policy, self._herald.channels)
        return ActorSpec.make(HERALD, HeraldLaneShell, args, FAST_COMPUTE, is_order_path=False)

    def _make_supervisor(self, specs: tuple[ActorSpec, ...]) -> ActorSpec:
        settings = self._supervisor
        silence_max_ns = int(settings.silence_s * NS_PER_S)
        args = (specs, settings.make_policy(), str(self._sockets), settings.period_s, silence_max_ns)
        return ActorSpec.make(SUPERVISOR, SupervisorLaneShell, args, AI_HUB, is_order_path=False)

    def _spawn(self, spec: ActorSpec) -> None:
        self._spawned.append(spec.name)
        self._owned.append(spec.spawn(is_detached=False))

    def _open(self, spec: ActorSpec) -> None:
        self._endpoints |= self._call(spec.name, "open")

    def _call(self, name: str, method: str, *args: Any) -> Any:
        # By name each time: an actor that was spawned anew is another one.
        return call(get_actor(name), method, *args, timeout_s=CALL_S)

    def _call_patiently(self, name: str, method: str, *args: Any) -> Any:
        deadline_s = time.monotonic() + AWAY_S
        while True:
            try:
                return self._call(name, method, *args)
            except (ActorLostError, JournalError):
                if time.monotonic() > deadline_s:
                    raise
            time.sleep(0.1)

    @staticmethod
    def _kill(name: str) -> None:
        with contextlib.suppress(ActorLostError):
            kill(get_actor(name))


@contextlib.contextmanager
def _whatever_comes() -> Iterator[None]:
    # A farewell to who is away, hangs, or was never opened: it is killed next.
    with contextlib.suppress(ActorLostError, ActorStartError, CallTimeoutError, JournalError, AssertionError):
        yield
