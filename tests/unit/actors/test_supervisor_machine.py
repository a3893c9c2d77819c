"""Every phase against every observation and event, then the stories: crash loops, leases, quarantine, blindness."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import Severity, Tick
from actors.supervisor.machine import (
    ActorSample,
    DesiredActor,
    Notify,
    Phase,
    Released,
    Restart,
    Restarted,
    RestartFailed,
    Sampled,
    Stop,
    SupervisorMachine,
    SupervisorPolicy,
    Wanted,
)
from cluster.health import Liveness
from market.records import NS_PER_S

POLICY = SupervisorPolicy(
    start_max_ns=30 * NS_PER_S,
    suspect_max_ns=10 * NS_PER_S,
    failures_max=3,
    window_ns=600 * NS_PER_S,
    backoff_ns=2 * NS_PER_S,
    backoff_max_ns=60 * NS_PER_S,
    jitter_frac_max=0.5,
    samples_age_max_ns=20 * NS_PER_S,
)
OK = (Liveness.ALIVE, 1.0)
LATE = (Liveness.ALIVE, 6.0)
NEVER = (Liveness.ALIVE, -1.0)
PENDING = (Liveness.PENDING, -1.0)
COMING = (Liveness.RESTARTING, 1.0)
DEAD = (Liveness.DEAD, 1.0)
ABSENT = (Liveness.ABSENT, -1.0)
EMPTY = (Liveness.ALIVE, 0.0)  # recognised by identity: `see` says that it is not open
OBSERVATIONS = {
    "ok": OK,
    "late": LATE,
    "never": NEVER,
    "pending": PENDING,
    "coming": COMING,
    "dead": DEAD,
    "absent": ABSENT,
    "empty": EMPTY,
}


class Driver:
    """A machine over one actor, "a", and what it asked for, in words."""

    def __init__(self, is_order_path: bool = True, heartbeat_s: float = 5.0) -> None:
        actor = DesiredActor("a", is_order_path, int(heartbeat_s * NS_PER_S))
        self.machine = SupervisorMachine((actor,), POLICY)
        self.texts: list[str] = []

    @property
    def phase(self) -> Phase:
        return self.machine.get_phases()["a"]

    def tell(self, event: Any, seconds: float) -> list[str]:
        words = []
        for instruction in self.machine.handle(event, int(seconds * NS_PER_S)):
            match instruction:
                case Notify():
                    words.append(instruction.alert.severity.value)
                    self.texts.append(instruction.alert.text)
                case Restart():
                    words.append(f"restart {instruction.failures}")
                case Stop():
                    words.append("stop")
        return words

    def see(
        self, seen: tuple[Liveness, float], seconds: float, restarts: int = 0, jitter: float = 0.0, lease_s: float = 0.0
    ) -> list[str]:
        liveness, age_s = seen
        age_ns = -1 if age_s < 0 else int(age_s * NS_PER_S)
        sample = ActorSample("a", liveness, age_ns, restarts, int(lease_s * NS_PER_S), seen is not EMPTY)
        return self.tell(Sampled((sample,), jitter), seconds)


def bring_to(phase: Phase, **settings: Any) -> Driver:
    """Return a driver whose actor entered `phase` at second 100."""
    driver = Driver(**settings)
    if phase is Phase.STARTING:
        driver.see(PENDING, 100)
        return driver
    driver.see(OK, 90)
    if phase is Phase.SUSPECT:
        driver.see(LATE, 100)
    elif phase is Phase.BACKOFF:
        driver.see(DEAD, 100)
    elif phase is Phase.RESTARTING:
        driver.see(DEAD, 98)
        driver.see(DEAD, 100)
    elif phase is Phase.QUARANTINED:
        for second in (94, 98):
            driver.see(DEAD, second)
            driver.see(OK, second + 1)
        driver.see(DEAD, 100)
    elif phase is Phase.STOPPED:
        driver.tell(Wanted("a", False), 100)
    assert driver.phase is phase
    return driver


# phase, observations, seconds since the phase began, phase after, instructions
TABLE = [
    (Phase.STARTING, ["ok"], 1, Phase.RUNNING, []),
    (Phase.STARTING, ["late", "never", "pending", "coming"], 1, Phase.STARTING, []),
    (Phase.STARTING, ["late", "never", "pending", "coming"], 30, Phase.BACKOFF, ["critical"]),
    (Phase.STARTING, ["dead", "absent", "empty"], 1, Phase.BACKOFF, ["critical"]),
    (Phase.RUNNING, ["ok"], 1, Phase.RUNNING, []),
    (Phase.RUNNING, ["late", "never", "pending", "coming"], 1, Phase.SUSPECT, ["warning"]),
    (Phase.RUNNING, ["dead", "absent", "empty"], 1, Phase.BACKOFF, ["critical"]),
    (Phase.SUSPECT, ["ok"], 1, Phase.RUNNING, ["info"]),
    (Phase.SUSPECT, ["late", "never", "pending", "coming"], 9, Phase.SUSPECT, []),
    (Phase.SUSPECT, ["late", "never", "pending", "coming"], 10, Phase.BACKOFF, ["critical"]),
    (Phase.SUSPECT, ["dead", "absent"], 1, Phase.BACKOFF, ["critical"]),
    (Phase.SUSPECT, ["empty"], 1, Phase.RESTARTING, ["restart 0"]),
    (Phase.BACKOFF, ["ok"], 1, Phase.RUNNING, ["info"]),
    (Phase.BACKOFF, ["late", "never", "pending", "coming", "dead", "absent", "empty"], 1.9, Phase.BACKOFF, []),
    (Phase.BACKOFF, ["late", "never", "pending", "coming"], 2, Phase.RESTARTING, ["restart 1"]),
    (Phase.BACKOFF, ["dead", "absent", "empty"], 2, Phase.RESTARTING, ["restart 1"]),
    (Phase.RESTARTING, list(OBSERVATIONS), 29, Phase.RESTARTING, []),
    (Phase.RESTARTING, list(OBSERVATIONS), 30, Phase.BACKOFF, ["critical"]),
    (Phase.QUARANTINED, list(OBSERVATIONS), 9, Phase.QUARANTINED, []),
    (Phase.QUARANTINED, ["ok", "late", "never", "pending", "coming", "empty"], 10, Phase.QUARANTINED, ["stop"]),
    (Phase.QUARANTINED, ["dead", "absent"], 1000, Phase.QUARANTINED, []),
    (Phase.STOPPED, list(OBSERVATIONS), 9, Phase.STOPPED, []),
    (Phase.STOPPED, ["ok", "late", "never", "pending", "coming", "empty"], 10, Phase.STOPPED, ["stop"]),
    (Phase.STOPPED, ["dead", "absent"], 1000, Phase.STOPPED, []),
]
ROWS = [(phase, seen, after_s, to, words) for phase, many, after_s, to, words in TABLE for seen in many]


@pytest.mark.parametrize(("phase", "seen", "after_s", "to", "words"), ROWS)
def test_every_phase_and_observation(phase: Phase, seen: str, after_s: float, to: Phase, words: list[str]) -> None:
    driver = bring_to(phase)
    assert driver.see(OBSERVATIONS[seen], 100 + after_s) == words
    assert driver.phase is to


def test_the_table_is_complete() -> None:
    assert {(phase, seen) for phase, seen, *_ in ROWS} == {(phase, seen) for phase in Phase for seen in OBSERVATIONS}


EVENTS = {
    "restarted": Restarted("a"),
    "failed": RestartFailed("a", "no node", 0.0),
    "released": Released("a", "me"),
    "unwanted": Wanted("a", False),
    "wanted": Wanted("a", True),
    "tick": Tick(),
}
CHANGES = {
    (Phase.RESTARTING, "restarted"): (Phase.STARTING, []),
    (Phase.RESTARTING, "failed"): (Phase.BACKOFF, ["critical"]),
    (Phase.QUARANTINED, "released"): (Phase.RESTARTING, ["info", "restart 0"]),
    (Phase.STOPPED, "wanted"): (Phase.RESTARTING, ["restart 0"]),
    **{(phase, "unwanted"): (Phase.STOPPED, ["stop"]) for phase in Phase if phase is not Phase.STOPPED},
}


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("event", list(EVENTS))
def test_every_phase_and_event(phase: Phase, event: str) -> None:
    driver = bring_to(phase)
    to, words = CHANGES.get((phase, event), (phase, []))
    assert driver.tell(EVENTS[event], 101) == words
    assert driver.phase is to


def test_an_actor_that_is_not_there_yet_is_given_time_once() -> None:
    driver = Driver()
    assert driver.see(ABSENT, 0) == []
    assert driver.see(ABSENT, 29) == []
    assert driver.see(ABSENT, 30) == ["critical"]
    assert driver.phase is Phase.BACKOFF


def test_a_round_without_the_actor_is_no_news_not_a_death() -> None:
    driver = bring_to(Phase.RUNNING)
    assert driver.tell(Sampled((), 0.0), 101) == ["warning"]
    assert driver.phase is Phase.SUSPECT
    starting = Driver()
    starting.tell(Sampled((), 0.0), 0)
    assert starting.see(ABSENT, 1) == []


def test_an_actor_that_is_not_asked_needs_rays_word_only() -> None:
    driver = Driver(heartbeat_s=0.0)
    driver.see(NEVER, 0)
    assert driver.phase is Phase.RUNNING


def test_only_the_order_path_is_critical() -> None:
    assert bring_to(Phase.RUNNING, is_order_path=False).see(DEAD, 101) == ["warning"]


def test_pauses_grow_with_jitter_and_then_it_is_quarantined_until_released() -> None:
    driver = bring_to(Phase.RUNNING)
    driver.see(DEAD, 100, jitter=1.0)
    assert driver.texts[-1] == "a is gone: failure 1 of 3, restart in 3.0 s"
    assert driver.see(DEAD, 102.9) == []
    assert driver.see(DEAD, 103) == ["restart 1"]
    driver.tell(Restarted("a"), 104)
    assert driver.see(DEAD, 105) == ["critical"]
    assert driver.texts[-1] == "a ended while starting: failure 2 of 3, restart in 4.0 s"
    assert driver.see(DEAD, 109) == ["restart 2"]
    assert driver.tell(RestartFailed("a", "no node", 0.0), 110) == ["stop", "critical"]
    assert driver.texts[-1] == "a restart failed: no node: 3 failures in 600 s, quarantined until released"
    assert driver.see(DEAD, 10_000) == []
    assert driver.tell(Released("a", "me"), 10_001) == ["info", "restart 0"]
    driver.tell(Restarted("a"), 10_002)
    assert driver.see(OK, 10_003) == []
    assert driver.see(DEAD, 10_004) == ["critical"]
    assert driver.texts[-1].endswith("failure 1 of 3, restart in 2.0 s")


def test_failures_outside_the_window_are_forgotten() -> None:
    driver = bring_to(Phase.RUNNING)
    for second in (1000, 1700, 2400, 3100):
        assert driver.see(DEAD, second) == ["critical"]
        assert driver.see(OK, second + 1) == ["info"]
    assert driver.phase is Phase.RUNNING


def test_restarts_by_ray_count_even_when_nobody_saw_them() -> None:
    driver = bring_to(Phase.RUNNING)
    assert driver.see(OK, 101, restarts=1) == ["critical", "info"]
    assert driver.phase is Phase.RUNNING
    assert driver.see(COMING, 102, restarts=2) == ["critical"]
    assert driver.phase is Phase.SUSPECT
    assert driver.see(OK, 103, restarts=3) == ["stop", "critical"]
    assert driver.phase is Phase.QUARANTINED


def test_what_ray_has_restarted_is_opened_at_once_and_counted_once() -> None:
    driver = bring_to(Phase.RUNNING)
    assert driver.see(COMING, 101, restarts=1) == ["critical"]
    assert driver.see(EMPTY, 102, restarts=1) == ["restart 1"]
    driver.tell(Restarted("a"), 103)
    assert driver.see(OK, 104, restarts=1) == ["info"]
    assert driver.see(EMPTY, 105, restarts=2) == ["critical", "restart 2"]
    driver.tell(Restarted("a"), 106)
    assert driver.see(OK, 107, restarts=2) == ["info"]
    assert driver.see(EMPTY, 108, restarts=3) == ["stop", "critical"]
    assert driver.phase is Phase.QUARANTINED


def test_restarts_before_the_first_sample_are_nobodys_failure() -> None:
    driver = Driver()
    assert driver.see(OK, 0, restarts=7) == []
    assert driver.see(OK, 1, restarts=7) == []


def test_an_actor_under_a_lease_is_not_replaced_before_it_has_run_out() -> None:
    driver = bring_to(Phase.RUNNING)
    driver.see(OK, 100, lease_s=30.0)
    driver.see(DEAD, 101)
    assert driver.texts[-1].endswith("restart in 29.0 s")
    assert driver.see(DEAD, 129.9) == []
    assert driver.see(DEAD, 130) == ["restart 1"]
    stopped = bring_to(Phase.RUNNING)
    stopped.see(OK, 100, lease_s=30.0)
    stopped.tell(Wanted("a", False), 101)
    assert stopped.tell(Wanted("a", True), 102) == []
    assert stopped.see(DEAD, 129) == []
    assert stopped.see(DEAD, 130) == ["restart 0"]


def test_without_samples_it_says_so_once_and_restarts_nobody() -> None:
    driver = bring_to(Phase.BACKOFF)
    assert driver.tell(Tick(), 120) == []
    assert driver.tell(Tick(), 121) == ["critical"]
    assert driver.texts[-1] == "no samples for 21 s: nobody is restarted until they come again"
    assert driver.tell(Tick(), 200) == []
    assert driver.phase is Phase.BACKOFF
    assert driver.see(DEAD, 201) == ["info", "restart 1"]
    fresh = Driver()
    assert fresh.tell(Tick(), 1000) == []
    assert fresh.tell(Tick(), 1021) == ["critical"]


def test_alerts_of_one_actor_are_one_matter() -> None:
    machine = SupervisorMachine((DesiredActor("a", True),), POLICY)
    machine.handle(Sampled((ActorSample("a", Liveness.ALIVE, 0, 0),), 0.0), 0)
    [notice] = machine.handle(Sampled((ActorSample("a", Liveness.DEAD, 0, 0),), 0.0), 1)
    assert isinstance(notice, Notify)
    assert (notice.alert.key, notice.alert.severity, notice.alert.ts_event_ns) == ("supervisor.a", Severity.CRITICAL, 1)


def test_what_is_not_ours_is_refused() -> None:
    driver = Driver()
    with pytest.raises(ValueError, match="'b' is no actor of the supervisor: it knows a"):
        driver.tell(Released("b", "me"), 0)
    with pytest.raises(TypeError, match="no handler for str"):
        driver.tell("event", 0)
    with pytest.raises(ValueError, match="listed twice"):
        SupervisorMachine((DesiredActor("a", True), DesiredActor("a", False)), POLICY)
    with pytest.raises(ValueError, match="failures_max is 0"):
        SupervisorPolicy(failures_max=0)
    with pytest.raises(ValueError, match="jitter_frac_max is nan"):
        SupervisorPolicy(jitter_frac_max=float("nan"))


STEPS = st.lists(
    st.tuples(st.floats(0.1, 40), st.sampled_from([*OBSERVATIONS, *EVENTS]), st.integers(0, 2), st.floats(0, 1)),
    max_size=60,
)


@given(STEPS)
def test_restarts_are_spaced_bounded_and_never_out_of_quarantine(steps: list[tuple[float, str, int, float]]) -> None:
    driver, second, restarts = Driver(), 0.0, 0
    asked: list[float] = []
    paused: list[float] = []
    for pause, name, more, jitter in steps:
        second += pause
        restarts += more
        before = driver.phase
        if name in OBSERVATIONS:
            words = driver.see(OBSERVATIONS[name], second, restarts, jitter)
        else:
            words = driver.tell(EVENTS[name], second)
        is_restart = any(word.startswith("restart") for word in words)
        if is_restart and name in ("released", "wanted"):
            asked, paused = [], []
        elif is_restart:
            asked.append(second)
            if before is Phase.BACKOFF:
                paused.append(second)
            else:
                assert name == "empty"  # opened at once
        if before in (Phase.QUARANTINED, Phase.STOPPED) and name not in ("released", "wanted"):
            assert not is_restart
        assert len([at for at in asked if second - at < 500]) <= POLICY.failures_max
    for first, then in itertools.pairwise(paused):
        assert then - first >= 2.0
