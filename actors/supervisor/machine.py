"""Who must be running, and what is done about those who are not: restart with growing pauses, quarantine, alert.

Each round of samples gives every actor one observation; `_HANDLERS` says what a phase makes of it:

| phase       | OK      | LATE, COMING      | EMPTY             | GONE               | meaning                     |
|-------------|---------|-------------------|-------------------|--------------------|-----------------------------|
| STARTING    | RUNNING | waits, then fails | fails             | fails, once seen   | there, has not answered yet |
| RUNNING     | -       | SUSPECT           | fails             | fails              | answers                     |
| SUSPECT     | RUNNING | waits, then fails | restart           | fails              | silent, or restarted by Ray |
| BACKOFF     | RUNNING | restart when due  | restart when due  | restart when due   | pause before the restart    |
| RESTARTING  | -       | waits, then fails | waits, then fails | waits, then fails  | the shell is at it          |
| QUARANTINED | stop it | stop it           | stop it           | -                  | failed too often: see to it |
| STOPPED     | stop it | stop it           | stop it           | -                  | nobody wants it             |

EMPTY is what Ray leaves: it has restarted the process, and nobody has opened the actor that lives in it. Ray's restart
has been counted as a failure then, so that it is opened at once.
"Fails" counts a failure and leads to BACKOFF, or to QUARANTINED after too many within the window. A restart by Ray
counts too, seen or unseen. An actor under a lease is not replaced before its lease has run out: until then its old
self may act. While no samples come the supervisor is blind, says so, and restarts nobody.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from actors.messages import Alert, Severity, Tick
from cluster.health import Liveness
from market.events import Event
from market.records import NS_PER_S

LIVENESS_COMING = (Liveness.PENDING, Liveness.RESTARTING)


class Phase(StrEnum):
    """Where an actor stands with the supervisor."""

    STARTING = "starting"
    RUNNING = "running"
    SUSPECT = "suspect"
    BACKOFF = "backoff"
    RESTARTING = "restarting"
    QUARANTINED = "quarantined"
    STOPPED = "stopped"


class Observation(StrEnum):
    """What one sample says."""

    OK = "ok"
    LATE = "late"  # lives, but has not answered for too long, or nobody knows
    COMING = "coming"  # Ray is about to have it
    EMPTY = "empty"  # lives, and knows nothing of its work
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class DesiredActor:
    """One actor that must run."""

    name: str
    is_order_path: bool  # its loss is critical
    heartbeat_age_max_ns: int = 5 * NS_PER_S  # 0: it is not asked, Ray's word is enough


@dataclass(frozen=True, slots=True)
class SupervisorPolicy:
    """How patient the supervisor is."""

    start_max_ns: int = 60 * NS_PER_S  # from restart to the first answer
    suspect_max_ns: int = 15 * NS_PER_S
    failures_max: int = 5  # within the window: quarantine
    window_ns: int = 600 * NS_PER_S
    backoff_ns: int = 1 * NS_PER_S  # doubled with each failure in the window
    backoff_max_ns: int = 60 * NS_PER_S
    jitter_frac_max: float = 0.5  # of the pause, added
    samples_age_max_ns: int = 30 * NS_PER_S

    def __post_init__(self) -> None:
        for name in ("start_max_ns", "suspect_max_ns", "failures_max", "window_ns", "backoff_ns", "samples_age_max_ns"):
            if getattr(self, name) < 1:
                raise ValueError(f"supervisor policy: {name} is {getattr(self, name)}, must be at least 1")
        if not 0.0 <= self.jitter_frac_max <= 10.0:
            raise ValueError(f"supervisor policy: jitter_frac_max is {self.jitter_frac_max}, must be in 0..10")


class ActorSample(Event, frozen=True):
    """One actor at one moment. Ages are measured by who asks: clocks of other nodes play no part."""

    name: str
    liveness: Liveness
    heartbeat_age_ns: int  # since its last answer; -1: none yet
    restarts: int  # by Ray, of this instance
    lease_left_ns: int = 0  # how long it may still act; 0: it holds no lease
    is_open: bool = True  # False: its process is new, and nobody has told it what to do


class Sampled(Event, frozen=True):
    """One round. `jitter_frac` is a random draw in 0..1, made outside so that a replay decides the same."""

    samples: tuple[ActorSample, ...]
    jitter_frac: float
    cause_id: str = ""


class Restarted(Event, frozen=True):
    """A restart has been performed: the actor exists again."""

    name: str
    cause_id: str = ""


class RestartFailed(Event, frozen=True):
    """A restart could not be performed."""

    name: str
    message: str
    jitter_frac: float
    cause_id: str = ""


class Released(Event, frozen=True):
    """A person has looked: take the actor out of quarantine and start it."""

    name: str
    by: str
    cause_id: str = ""


class Wanted(Event, frozen=True):
    """Whether an actor must run at all from now on."""

    name: str
    is_wanted: bool
    cause_id: str = ""


class Restart(Event, frozen=True):
    """Instruction: end what is left of the actor, then start it."""

    name: str
    failures: int  # in the window
    cause_id: str = ""


class Stop(Event, frozen=True):
    """Instruction: end the actor so that nothing starts it again."""

    name: str
    cause_id: str = ""


class Notify(Event, frozen=True):
    """Instruction: hand an alert to the herald."""

    alert: Alert


SupervisorEvent = Sampled | Restarted | RestartFailed | Released | Wanted | Tick
SupervisorInstruction = Restart | Stop | Notify


@dataclass(slots=True)
class _Actor:
    desired: DesiredActor
    phase: Phase = Phase.STARTING
    ts_phase_ns: int = -1  # when the phase began; -1: at the first event
    ts_restart_ns: int = 0  # BACKOFF: not before
    ts_lease_ends_ns: int = 0  # until then its old self may act
    restarts: int = -1  # by Ray, at the last sample; -1: of this instance none was taken yet
    has_been_seen: bool = False  # this instance, alive or coming
    failures_ns: list[int] = field(default_factory=list)  # within the window, oldest first


class SupervisorMachine:
    """The supervisor's mind. Invariant: an actor in quarantine is started by a person's word only."""

    def __init__(self, desired: tuple[DesiredActor, ...], policy: SupervisorPolicy) -> None:
        names = [actor.name for actor in desired]
        if len(set(names)) != len(names):
            raise ValueError(f"supervisor: an actor is listed twice among {', '.join(names)}")
        self._policy = policy
        self._actors = {actor.name: _Actor(actor) for actor in desired}
        self._ts_sampled_ns = -1
        self._is_blind = False

    def get_phases(self) -> dict[str, Phase]:
        """Return where each actor stands."""
        return {name: actor.phase for name, actor in self._actors.items()}

    def handle(self, event: SupervisorEvent, ts_now_ns: int) -> list[SupervisorInstruction]:
        """Apply one event; return what to do."""
        for actor in self._actors.values():
            if actor.ts_phase_ns < 0:
                actor.ts_phase_ns = ts_now_ns
        match event:
            case Sampled():
                return self._apply_sampled(event, ts_now_ns)
            case Restarted():
                actor = self._get(event.name)
                if actor.phase is Phase.RESTARTING:
                    self._enter(actor, Phase.STARTING, ts_now_ns)
                    actor.has_been_seen, actor.restarts = True, -1
                return []
            case RestartFailed():
                actor = self._get(event.name)
                if actor.phase is not Phase.RESTARTING:
                    return []
                return self._fail(actor, f"restart failed: {event.message}", event.jitter_frac, ts_now_ns)
            case Released():
                return self._release(self._get(event.name), event.by, ts_now_ns)
            case Wanted():
                return self._want(self._get(event.name), event.is_wanted, ts_now_ns)
            case Tick():
                return self._check_sight(ts_now_ns)
            case _:
                raise TypeError(f"no handler for {type(event).__name__}")

    def _get(self, name: str) -> _Actor:
        if name not in self._actors:
            raise ValueError(f"{name!r} is no actor of the supervisor: it knows {', '.join(self._actors)}")
        return self._actors[name]

    # ---- events

    def _apply_sampled(self, event: Sampled, ts_now_ns: int) -> list[SupervisorInstruction]:
        assert 0.0 <= event.jitter_frac <= 1.0, event.jitter_frac
        instructions: list[SupervisorInstruction] = []
        if self._is_blind:
            self._is_blind = False
            instructions.append(self._notify(Severity.INFO, "sight", "samples come again", ts_now_ns))
        self._ts_sampled_ns = ts_now_ns
        samples = {sample.name: sample for sample in event.samples}
        for name, actor in self._actors.items():
            sample = samples.get(name)
            if sample is not None and sample.lease_left_ns > 0:
                actor.ts_lease_ends_ns = max(actor.ts_lease_ends_ns, ts_now_ns + sample.lease_left_ns)
            if sample is not None:
                instructions += self._note_ray_restarts(actor, sample.restarts, ts_now_ns)
            observation = _observe(actor.desired, sample)
            actor.has_been_seen |= sample is not None and observation is not Observation.GONE
            instructions += _HANDLERS[actor.phase](self, actor, observation, event.jitter_frac, ts_now_ns)
        return instructions

    def _note_ray_restarts(self, actor: _Actor, restarts: int, ts_now_ns: int) -> list[SupervisorInstruction]:
        has_risen = 0 <= actor.restarts < restarts
        actor.restarts = restarts
        if not has_risen or actor.phase not in (Phase.STARTING, Phase.RUNNING, Phase.SUSPECT):
            return []
        failures = self._count_failure(actor, ts_now_ns)
        if failures >= self._policy.failures_max:
            return self._quarantine(actor, "was restarted by Ray", failures, ts_now_ns)
        self._enter(actor, Phase.SUSPECT, ts_now_ns)
        text = f"{actor.desired.name} was restarted by Ray: failure {failures} of {self._policy.failures_max}"
        return [self._notify(_severity(actor.desired), actor.desired.name, text, ts_now_ns)]

    def _release(self, actor: _Actor, by: str, ts_now_ns: int) -> list[SupervisorInstruction]:
        if actor.phase is not Phase.QUARANTINED:
            return []
        actor.failures_ns = []
        text = f"{actor.desired.name} is released by {by} and started"
        notice = self._notify(Severity.INFO, actor.desired.name, text, ts_now_ns)
        return [notice, *self._restart_or_wait(actor, ts_now_ns)]

    def _want(self, actor: _Actor, is_wanted: bool, ts_now_ns: int) -> list[SupervisorInstruction]:
        if is_wanted == (actor.phase is not Phase.STOPPED):
            return []
        actor.failures_ns = []
        if is_wanted:
            return self._restart_or_wait(actor, ts_now_ns)
        self._enter(actor, Phase.STOPPED, ts_now_ns)
        return [Stop(actor.desired.name)]

    def _check_sight(self, ts_now_ns: int) -> list[SupervisorInstruction]:
        if self._ts_sampled_ns < 0:
            self._ts_sampled_ns = ts_now_ns
        age_ns = ts_now_ns - self._ts_sampled_ns
        if self._is_blind or age_ns <= self._policy.samples_age_max_ns:
            return []
        self._is_blind = True
        text = f"no samples for {age_ns // NS_PER_S} s: nobody is restarted until they come again"
        return [self._notify(Severity.CRITICAL, "sight", text, ts_now_ns)]

    # ---- one phase each: (actor, observation, jitter_frac, ts_now_ns) -> instructions

    def _in_starting(
        self, actor: _Actor, seen: Observation, jitter: float, ts_now_ns: int
    ) -> list[SupervisorInstruction]:
        if seen is Observation.OK:
            return self._recover(actor, ts_now_ns)
        if seen is Observation.GONE and actor.has_been_seen:
            return self._fail(actor, "ended while starting", jitter, ts_now_ns)
        if seen is Observation.EMPTY:
            return self._fail(actor, "is not open", jitter, ts_now_ns)
        if ts_now_ns - actor.ts_phase_ns >= self._policy.start_max_ns:
            return self._fail(
                actor, f"has not answered {self._policy.start_max_ns // NS_PER_S} s after its start", jitter, ts_now_ns
            )
        return []

    def _in_running(
        self, actor: _Actor, seen: Observation, jitter: float, ts_now_ns: int
    ) -> list[SupervisorInstruction]:
        if seen is Observation.OK:
            return []
        if seen is Observation.GONE:
            return self._fail(actor, "is gone", jitter, ts_now_ns)
        if seen is Observation.EMPTY:
            return self._fail(actor, "is not open", jitter, ts_now_ns)
        self._enter(actor, Phase.SUSPECT, ts_now_ns)
        what = "is silent" if seen is Observation.LATE else "is being restarted by Ray"
        return [self._notify(Severity.WARNING, actor.desired.name, f"{actor.desired.name} {what}", ts_now_ns)]

    def _in_suspect(
        self, actor: _Actor, seen: Observation, jitter: float, ts_now_ns: int
    ) -> list[SupervisorInstruction]:
        if seen is Observation.OK:
            return self._recover(actor, ts_now_ns)
        if seen is Observation.GONE:
            return self._fail(actor, "is gone", jitter, ts_now_ns)
        if seen is Observation.EMPTY:
            return self._restart_or_wait(actor, ts_now_ns)
        if ts_now_ns - actor.ts_phase_ns >= self._policy.suspect_max_ns:
            return self._fail(
                actor, f"has been silent for {self._policy.suspect_max_ns // NS_PER_S} s", jitter, ts_now_ns
            )
        return []

    def _in_backoff(
        self, actor: _Actor, seen: Observation, jitter: float, ts_now_ns: int
    ) -> list[SupervisorInstruction]:
        if seen is Observation.OK:
            return self._recover(actor, ts_now_ns)
        if ts_now_ns < max(actor.ts_restart_ns, actor.ts_lease_ends_ns):
            return []
        return self._restart(actor, ts_now_ns)

    def _in_restarting(
        self, actor: _Actor, seen: Observation, jitter: float, ts_now_ns: int
    ) -> list[SupervisorInstruction]:
        # Samples of the old instance say nothing about the new one.
        if ts_now_ns - actor.ts_phase_ns >= self._policy.start_max_ns:
            return self._fail(actor, "could not be restarted in time", jitter, ts_now_ns)
        return []

    def _in_stopped(
        self, actor: _Actor, seen: Observation, jitter: float, ts_now_ns: int
    ) -> list[SupervisorInstruction]:
        # What must not run and does is told to stop again, not at every sample.
        if seen is Observation.GONE or ts_now_ns - actor.ts_phase_ns < self._policy.suspect_max_ns:
            return []
        actor.ts_phase_ns = ts_now_ns
        return [Stop(actor.desired.name)]

    # ---- what phases share

    def _enter(self, actor: _Actor, phase: Phase, ts_now_ns: int) -> None:
        actor.phase, actor.ts_phase_ns = phase, ts_now_ns

    def _recover(self, actor: _Actor, ts_now_ns: int) -> list[SupervisorInstruction]:
        was_expected = actor.phase is Phase.STARTING and not actor.failures_ns
        self._enter(actor, Phase.RUNNING, ts_now_ns)
        if was_expected:
            return []
        return [self._notify(Severity.INFO, actor.desired.name, f"{actor.desired.name} runs again", ts_now_ns)]

    def _fail(self, actor: _Actor, what: str, jitter_frac: float, ts_now_ns: int) -> list[SupervisorInstruction]:
        policy, name = self._policy, actor.desired.name
        failures = self._count_failure(actor, ts_now_ns)
        if failures >= policy.failures_max:
            return self._quarantine(actor, what, failures, ts_now_ns)
        pause_ns = min(policy.backoff_ns * 2 ** (failures - 1), policy.backoff_max_ns)
        actor.ts_restart_ns = ts_now_ns + pause_ns + int(pause_ns * policy.jitter_frac_max * jitter_frac)
        self._enter(actor, Phase.BACKOFF, ts_now_ns)
        wait_ns = max(actor.ts_restart_ns, actor.ts_lease_ends_ns) - ts_now_ns
        text = f"{name} {what}: failure {failures} of {policy.failures_max}, restart in {wait_ns / NS_PER_S:.1f} s"
        return [self._notify(_severity(actor.desired), name, text, ts_now_ns)]

    def _count_failure(self, actor: _Actor, ts_now_ns: int) -> int:
        recent = [ts_ns for ts_ns in actor.failures_ns if ts_now_ns - ts_ns < self._policy.window_ns]
        actor.failures_ns = [*recent, ts_now_ns]
        return len(actor.failures_ns)

    def _quarantine(self, actor: _Actor, what: str, failures: int, ts_now_ns: int) -> list[SupervisorInstruction]:
        self._enter(actor, Phase.QUARANTINED, ts_now_ns)
        name, window_s = actor.desired.name, self._policy.window_ns // NS_PER_S
        text = f"{name} {what}: {failures} failures in {window_s} s, quarantined until released"
        return [Stop(name), self._notify(Severity.CRITICAL, name, text, ts_now_ns)]

    def _restart_or_wait(self, actor: _Actor, ts_now_ns: int) -> list[SupervisorInstruction]:
        if ts_now_ns < actor.ts_lease_ends_ns:
            self._enter(actor, Phase.BACKOFF, ts_now_ns)
            return []
        return self._restart(actor, ts_now_ns)

    def _restart(self, actor: _Actor, ts_now_ns: int) -> list[SupervisorInstruction]:
        self._enter(actor, Phase.RESTARTING, ts_now_ns)
        return [Restart(actor.desired.name, len(actor.failures_ns))]

    def _notify(self, severity: Severity, key: str, text: str, ts_now_ns: int) -> Notify:
        return Notify(Alert(severity, f"supervisor.{key}", text, ts_now_ns))


def _severity(desired: DesiredActor) -> Severity:
    return Severity.CRITICAL if desired.is_order_path else Severity.WARNING


def _observe(desired: DesiredActor, sample: ActorSample | None) -> Observation:
    if sample is None:
        return Observation.LATE
    if sample.liveness in LIVENESS_COMING:
        return Observation.COMING
    if sample.liveness is not Liveness.ALIVE:
        return Observation.GONE
    if not sample.is_open:
        return Observation.EMPTY
    if desired.heartbeat_age_max_ns == 0 or 0 <= sample.heartbeat_age_ns <= desired.heartbeat_age_max_ns:
        return Observation.OK
    return Observation.LATE


_Handler = Callable[[SupervisorMachine, _Actor, Observation, float, int], list[SupervisorInstruction]]
_HANDLERS: dict[Phase, _Handler] = {
    Phase.STARTING: SupervisorMachine._in_starting,
    Phase.RUNNING: SupervisorMachine._in_running,
    Phase.SUSPECT: SupervisorMachine._in_suspect,
    Phase.BACKOFF: SupervisorMachine._in_backoff,
    Phase.RESTARTING: SupervisorMachine._in_restarting,
    Phase.QUARANTINED: SupervisorMachine._in_stopped,
    Phase.STOPPED: SupervisorMachine._in_stopped,
}
