"""Grouping, routing, rates, repeats, retries: tables against the machine, time given by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.herald.machine import (
    Acknowledged,
    Deliver,
    Delivered,
    DeliveryFailed,
    GiveUp,
    HeraldMachine,
    HeraldPolicy,
    Route,
    WakeAt,
)
from actors.messages import Alert, Severity, Tick
from market.records import NS_PER_S

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
POLICY = HeraldPolicy(
    routes=(Route(WARNING, ("chat",)), Route(CRITICAL, ("mail",)), Route(INFO, ("desk",), key_prefix="desk.")),
    escalation_channels=("phone",),
    window_ns=60 * NS_PER_S,
    repeat_ns=900 * NS_PER_S,
    repeats_before_escalation=1,
    burst=2,
    interval_ns=10 * NS_PER_S,
    attempts_max=3,
    backoff_ns=2 * NS_PER_S,
    backoff_max_ns=3 * NS_PER_S,
    delivery_max_ns=20 * NS_PER_S,
    queue_max=3,
)


class Driver:
    """A machine, and what it asked for; takes every delivery at once unless told otherwise."""

    def __init__(self, policy: HeraldPolicy = POLICY, is_delivering: bool = True) -> None:
        self.machine = HeraldMachine(policy)
        self.is_delivering = is_delivering
        self.sent: list[Deliver] = []
        self.given_up: list[GiveUp] = []
        self.ts_wake_ns = 0

    def tell(self, event: Any, seconds: float) -> list[str]:
        """Return "channel: text" of what goes out because of this event at this time."""
        before = taken = len(self.sent)
        self._perform(event, seconds)
        while self.is_delivering and taken < len(self.sent):
            taken += 1
            self._perform(Delivered(self.sent[taken - 1].delivery_id), seconds)
        return [f"{message.channel}: {message.text}" for message in self.sent[before:]]

    def _perform(self, event: Any, seconds: float) -> None:
        for instruction in self.machine.handle(event, int(seconds * NS_PER_S)):
            match instruction:
                case Deliver():
                    self.sent.append(instruction)
                case GiveUp():
                    self.given_up.append(instruction)
                case WakeAt():
                    self.ts_wake_ns = instruction.ts_ns

    def sleep(self) -> tuple[float, list[str]]:
        """Go on to the next wake-up; return its time and what goes out."""
        seconds = self.ts_wake_ns / NS_PER_S
        return seconds, self.tell(Tick(), seconds)


def alert(severity: Severity, key: str = "k", text: str = "t") -> Alert:
    return Alert(severity, key, text, 0, "cause")


@pytest.mark.parametrize(
    ("severity", "key", "channels"),
    [
        (INFO, "k", []),
        (INFO, "desk.k", ["desk"]),
        (WARNING, "k", ["chat"]),
        (WARNING, "desk.k", ["chat", "desk"]),
        (CRITICAL, "k", ["chat", "mail"]),
    ],
)
def test_severity_and_key_choose_the_channels(severity: Severity, key: str, channels: list[str]) -> None:
    assert sorted(Driver().tell(alert(severity, key), 0)) == [f"{channel}: t" for channel in channels]


def test_a_message_says_its_severity_key_and_cause() -> None:
    driver = Driver()
    driver.tell(alert(WARNING), 0)
    [message] = driver.sent
    assert (message.title, message.cause_id, message.attempt) == ("WARNING k", "cause", 1)


def test_repeats_within_the_window_become_one_message_with_their_count() -> None:
    driver = Driver()
    assert driver.tell(alert(WARNING, text="first"), 0) == ["chat: first"]
    for second in range(1, 51):
        assert driver.tell(alert(WARNING, text=f"number {second}"), second) == []
    assert driver.sleep() == (60.0, ["chat: number 50 (51 times in 60 s)"])
    assert driver.sleep() == (120.0, [])  # quiet: forgotten
    assert driver.tell(alert(WARNING, text="new"), 121) == ["chat: new"]


def test_a_rise_in_severity_goes_out_at_once() -> None:
    driver = Driver()
    driver.tell(alert(WARNING), 0)
    assert driver.tell(alert(CRITICAL, text="worse"), 1) == [
        "chat: worse (2 times in 1 s)",
        "mail: worse (2 times in 1 s)",
    ]
    assert driver.tell(alert(WARNING, text="less"), 2) == []


def test_a_critical_matter_is_repeated_and_escalated_until_acknowledged() -> None:
    driver = Driver()
    assert driver.tell(alert(CRITICAL), 0) == ["chat: t", "mail: t"]
    assert driver.sleep() == (60.0, [])
    assert driver.machine.list_unacknowledged() == [("k", "t", 1)]
    text = "t (repeat 1: not acknowledged)"
    assert driver.sleep() == (900.0, [f"chat: {text}", f"mail: {text}"])
    driver.sleep()
    text = "t (repeat 2: not acknowledged)"
    assert driver.sleep() == (1800.0, [f"chat: {text}", f"mail: {text}", f"phone: {text}"])
    assert driver.tell(Acknowledged("k", "me"), 1801) == []
    assert driver.machine.list_unacknowledged() == []
    assert driver.sleep() == (1860.0, [])
    assert driver.tell(Tick(), 10_000) == []
    assert driver.tell(alert(CRITICAL), 10_001) == ["chat: t", "mail: t"]  # a new matter


@pytest.mark.parametrize(("key", "left"), [("k", ["other"]), ("*", []), ("unknown", ["k", "other"])])
def test_acknowledging_one_key_or_all(key: str, left: list[str]) -> None:
    driver = Driver()
    driver.tell(alert(CRITICAL), 0)
    driver.tell(alert(CRITICAL, "other"), 0)
    driver.tell(Acknowledged(key, "me"), 1)
    assert [matter[0] for matter in driver.machine.list_unacknowledged()] == left


def test_a_channel_takes_a_burst_then_one_an_interval_the_most_severe_first() -> None:
    driver = Driver()
    for number in range(4):
        driver.tell(alert(WARNING, f"w{number}", f"w{number}"), 0)
    assert [message.text for message in driver.sent] == ["w0", "w1"]
    assert driver.tell(alert(CRITICAL, "c", "c"), 1) == ["mail: c"]
    assert [driver.sleep() for _ in range(3)] == [(10.0, ["chat: c"]), (20.0, ["chat: w2"]), (30.0, ["chat: w3"])]


def test_what_waits_about_a_matter_is_overtaken_by_the_newer_message() -> None:
    driver = Driver(is_delivering=False)
    driver.tell(alert(WARNING, "a", "a"), 0)
    driver.tell(alert(WARNING, "b", "old"), 0)
    driver.tell(alert(CRITICAL, "b", "new"), 1)
    driver.is_delivering = True
    assert driver.tell(Delivered(driver.sent[0].delivery_id), 2) == ["chat: new (2 times in 1 s)"]


def test_a_full_queue_drops_the_least_severe_and_says_so() -> None:
    driver = Driver(is_delivering=False)
    for number in range(6):  # one is in flight, three wait
        driver.tell(alert(WARNING, f"w{number}", f"w{number}"), 0)
    driver.is_delivering = True
    assert driver.tell(Delivered(1), 1) == ["chat: w3 (2 lesser messages dropped)"]


def test_what_fails_for_a_while_is_tried_again_with_growing_pauses_then_given_up() -> None:
    driver = Driver(is_delivering=False)
    driver.tell(alert(WARNING), 0)
    assert driver.tell(DeliveryFailed(1, "HTTP 503", True), 1) == []
    assert driver.sleep() == (3.0, ["chat: t"])
    driver.tell(DeliveryFailed(2, "HTTP 503", True), 4)
    assert driver.ts_wake_ns == 10 * NS_PER_S  # the rate is slower than the pause
    assert driver.sleep() == (10.0, ["chat: t"])
    assert [message.attempt for message in driver.sent] == [1, 2, 3]
    driver.tell(DeliveryFailed(3, "HTTP 503", True), 11)
    assert [given.message for given in driver.given_up] == ["HTTP 503 (attempt 3)"]


def test_the_other_sides_wish_to_wait_is_honoured() -> None:
    driver = Driver(is_delivering=False)
    driver.tell(alert(WARNING), 0)
    driver.tell(DeliveryFailed(1, "HTTP 429", True, retry_after_ns=30 * NS_PER_S), 1)
    assert driver.sleep() == (31.0, ["chat: t"])


def test_what_can_never_pass_is_given_up_at_once_and_the_channel_goes_on() -> None:
    driver = Driver(is_delivering=False)
    driver.tell(alert(WARNING, "a", "a"), 0)
    driver.tell(alert(WARNING, "b", "b"), 0)
    assert driver.tell(DeliveryFailed(1, "HTTP 404", False), 1) == ["chat: b"]
    assert [given.title for given in driver.given_up] == ["WARNING a"]


def test_silence_counts_as_a_failure_and_a_late_answer_as_nothing() -> None:
    driver = Driver(is_delivering=False)
    driver.tell(alert(WARNING), 0)
    assert driver.sleep() == (20.0, [])
    assert driver.sleep() == (22.0, ["chat: t"])
    assert driver.tell(Delivered(1), 23) == []
    assert driver.tell(DeliveryFailed(1, "late", False), 23) == []
    assert driver.given_up == []


def test_a_tick_that_comes_early_does_not_lose_the_wake_up() -> None:
    driver = Driver()
    driver.tell(alert(WARNING), 0)
    driver.ts_wake_ns = 0
    driver.tell(Tick(), 59.5)
    assert driver.ts_wake_ns == 60 * NS_PER_S


def test_an_unknown_event_is_our_bug() -> None:
    with pytest.raises(TypeError, match="no handler for str"):
        HeraldMachine(POLICY).handle("alert", 0)  # type: ignore[arg-type]


def test_a_policy_of_zeros_is_refused() -> None:
    with pytest.raises(ValueError, match="burst is 0"):
        HeraldPolicy(routes=(), burst=0)


STEPS = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(["alert", "ok", "fail", "dead", "tick", "ack"]), st.integers(0, 5)),
    max_size=120,
)


@given(STEPS)
def test_whatever_happens_rates_hold_queues_are_bounded_and_it_comes_to_rest(steps: list[tuple[int, str, int]]) -> None:
    driver = Driver(is_delivering=False)
    second = 0.0
    times: dict[str, list[float]] = {}

    def note(before: int) -> None:
        for message in driver.sent[before:]:
            times.setdefault(message.channel, []).append(second)

    for pause, kind, number in steps:
        second += pause
        before = len(driver.sent)
        last = driver.sent[-1 - number % len(driver.sent)].delivery_id if driver.sent else 0
        severity = [INFO, WARNING, CRITICAL][number % 3]
        events = {
            "alert": alert(severity, f"k{number}"),
            "ok": Delivered(last),
            "fail": DeliveryFailed(last, "m", True),
            "dead": DeliveryFailed(last, "m", False),
            "tick": Tick(),
            "ack": Acknowledged(f"k{number}", "me"),
        }
        driver.tell(events[kind], second)
        note(before)
        for channel in driver.machine._channels.values():
            assert len(channel.queue) <= POLICY.queue_max + 1
    for sent in times.values():
        for first, third in zip(sent, sent[POLICY.burst :], strict=False):
            assert third - first >= 10.0, "more than a burst within an interval"
    driver.tell(Acknowledged("*", "me"), second)
    driver.is_delivering = True
    for _ in range(1000):
        if driver.ts_wake_ns / NS_PER_S <= second:
            break
        second, _ = driver.sleep()
    assert not driver.machine._matters
    assert all(not channel.queue and channel.in_flight is None for channel in driver.machine._channels.values())
