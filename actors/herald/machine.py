"""Which alert goes where and when: grouped by key, routed by severity, rate-limited, repeated until acknowledged.

The first alert of a matter goes out at once. Repeats of the same key within the window are counted and told in one
message at its end. A critical matter is repeated until someone acknowledges it, and after some repeats on further
channels too. Each channel sends one message at a time, the most severe first, within its rate; what fails for a while
is tried again with growing pauses, a bounded number of times. Time enters with the events only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from actors.messages import Alert, Severity, Tick
from market.events import Event
from market.records import NS_PER_S

RANKS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Acknowledged(Event, frozen=True):
    """A person has taken note of a matter: stop repeating it. Key "*": of every matter."""

    key: str
    by: str
    cause_id: str = ""


class Delivered(Event, frozen=True):
    """The channel took the message."""

    delivery_id: int
    cause_id: str = ""


class DeliveryFailed(Event, frozen=True):
    """The channel did not take the message; `retry_after_ns` > 0: not before that long."""

    delivery_id: int
    message: str
    is_transient: bool
    retry_after_ns: int = 0
    cause_id: str = ""


class Deliver(Event, frozen=True):
    """Instruction: send this on that channel; the outcome comes back as Delivered or DeliveryFailed."""

    delivery_id: int
    channel: str
    severity: Severity
    title: str
    text: str
    attempt: int  # 1, 2, 3...
    cause_id: str = ""


class GiveUp(Event, frozen=True):
    """Instruction: write down that a message did not get through, and why."""

    channel: str
    severity: Severity
    title: str
    message: str
    cause_id: str = ""


class WakeAt(Event, frozen=True):
    """Instruction: send a Tick at this time; replaces the one before."""

    ts_ns: int


HeraldEvent = Alert | Acknowledged | Delivered | DeliveryFailed | Tick
HeraldInstruction = Deliver | GiveUp | WakeAt


@dataclass(frozen=True, slots=True)
class Route:
    """Alerts of at least this severity, with a key that begins so, go to these channels."""

    severity_min: Severity
    channels: tuple[str, ...]
    key_prefix: str = ""


@dataclass(frozen=True, slots=True)
class HeraldPolicy:
    """How alerts travel. Defaults: Discord allows 30 messages a minute on a webhook; half of that leaves room."""

    routes: tuple[Route, ...]
    escalation_channels: tuple[str, ...] = ()
    window_ns: int = 60 * NS_PER_S
    repeat_ns: int = 900 * NS_PER_S  # between repeats of an unacknowledged critical matter
    repeats_before_escalation: int = 2
    burst: int = 5  # messages a channel takes at once...
    interval_ns: int = 4 * NS_PER_S  # ...and one each this long after
    attempts_max: int = 6
    backoff_ns: int = 2 * NS_PER_S  # doubled after each attempt
    backoff_max_ns: int = 300 * NS_PER_S
    delivery_max_ns: int = 60 * NS_PER_S  # an outcome later than this is no outcome
    queue_max: int = 100  # per channel; beyond it the least severe and oldest is dropped and counted
    matters_max: int = 1000

    def __post_init__(self) -> None:
        for name in ("window_ns", "repeat_ns", "burst", "interval_ns", "attempts_max", "backoff_ns", "queue_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"herald policy: {name} is {getattr(self, name)}, must be at least 1")

    def list_channels(self) -> set[str]:
        """Return the names of all channels that the policy speaks of."""
        return {*self.escalation_channels, *(channel for route in self.routes for channel in route.channels)}


@dataclass(slots=True)
class _Matter:
    severity: Severity
    text: str
    cause_id: str
    ts_first_ns: int
    ts_window_end_ns: int
    ts_repeat_ns: int  # 0: nothing to repeat
    count: int = 1  # alerts since the first
    count_untold: int = 0  # of them, not in any message yet
    repeats: int = 0


@dataclass(slots=True)
class _Message:
    key: str
    severity: Severity
    title: str
    text: str
    cause_id: str
    attempt: int = 0


@dataclass(slots=True)
class _Channel:
    queue: list[_Message] = field(default_factory=list)
    in_flight: _Message | None = None
    delivery_id: int = 0
    ts_deadline_ns: int = 0  # of the message in flight
    ts_not_before_ns: int = 0  # pause after a failure
    ts_rate_ns: int = 0  # when the next message would fit with no burst at all (GCRA)
    dropped: int = 0


class HeraldMachine:
    """The herald's mind. Invariants: one message in flight per channel; no queue grows without bound."""

    def __init__(self, policy: HeraldPolicy) -> None:
        self._policy = policy
        self._matters: dict[str, _Matter] = {}
        self._channels = {name: _Channel() for name in sorted(policy.list_channels())}
        self._deliveries = 0
        self._ts_wake_ns = 0

    def list_unacknowledged(self) -> list[tuple[str, str, int]]:
        """Return (key, text, count) of each critical matter that waits for a person, oldest first."""
        return [(key, matter.text, matter.count) for key, matter in self._matters.items() if matter.ts_repeat_ns]

    def handle(self, event: HeraldEvent, ts_now_ns: int) -> list[HeraldInstruction]:
        """Apply one event; return what to send now and when to wake."""
        instructions: list[HeraldInstruction] = []
        match event:
            case Alert():
                self._apply_alert(event, ts_now_ns)
            case Acknowledged():
                self._apply_acknowledged(event)
            case Delivered():
                self._take_in_flight(event.delivery_id)
            case DeliveryFailed():
                instructions += self._apply_failed(event, ts_now_ns)
            case Tick():
                self._ts_wake_ns = 0  # the wake-up is used up, early or not
            case _:
                raise TypeError(f"no handler for {type(event).__name__}")
        instructions += self._expire_deliveries(ts_now_ns)
        self._tell_due_matters(ts_now_ns)
        instructions += [deliver for name in self._channels if (deliver := self._deliver_next(name, ts_now_ns))]
        return instructions + self._wake(ts_now_ns)

    # ---- matters

    def _apply_alert(self, alert: Alert, ts_now_ns: int) -> None:
        matter = self._matters.get(alert.key)
        if matter is not None:
            matter.count += 1
            matter.count_untold += 1
            matter.text, matter.cause_id = alert.text, alert.cause_id
            if RANKS[alert.severity] <= RANKS[matter.severity]:
                return
            matter.severity = alert.severity
        else:
            matter = _Matter(alert.severity, alert.text, alert.cause_id, ts_now_ns, 0, 0)
            self._matters[alert.key] = matter
            self._forget_surplus()
        if matter.severity is Severity.CRITICAL:
            matter.ts_repeat_ns = ts_now_ns + self._policy.repeat_ns
        self._tell(alert.key, matter, ts_now_ns)

    def _apply_acknowledged(self, event: Acknowledged) -> None:
        for key, matter in self._matters.items():
            if event.key in ("*", key):
                matter.ts_repeat_ns = 0
                for channel in self._channels.values():
                    channel.queue = [message for message in channel.queue if message.key != key]

    def _tell_due_matters(self, ts_now_ns: int) -> None:
        for key, matter in list(self._matters.items()):
            if 0 < matter.ts_repeat_ns <= ts_now_ns:
                matter.repeats += 1
                matter.ts_repeat_ns = ts_now_ns + self._policy.repeat_ns
                self._tell(key, matter, ts_now_ns)
            elif matter.ts_window_end_ns <= ts_now_ns:
                if matter.count_untold:
                    self._tell(key, matter, ts_now_ns)
                elif not matter.ts_repeat_ns:
                    del self._matters[key]

    def _tell(self, key: str, matter: _Matter, ts_now_ns: int) -> None:
        matter.ts_window_end_ns = ts_now_ns + self._policy.window_ns
        matter.count_untold = 0
        text = matter.text
        if matter.count > 1:
            text += f" ({matter.count} times in {(ts_now_ns - matter.ts_first_ns) // NS_PER_S} s)"
        if matter.repeats:
            text += f" (repeat {matter.repeats}: not acknowledged)"
        for name in self._route(key, matter):
            self._enqueue(
                name, _Message(key, matter.severity, f"{matter.severity.upper()} {key}", text, matter.cause_id)
            )

    def _route(self, key: str, matter: _Matter) -> list[str]:
        names: dict[str, None] = {}  # ordered, each once
        for route in self._policy.routes:
            if RANKS[matter.severity] >= RANKS[route.severity_min] and key.startswith(route.key_prefix):
                names.update(dict.fromkeys(route.channels))
        if matter.repeats > self._policy.repeats_before_escalation:
            names.update(dict.fromkeys(self._policy.escalation_channels))
        return list(names)

    def _forget_surplus(self) -> None:
        if len(self._matters) > self._policy.matters_max:
            # The oldest of the least severe; it was told once already.
            oldest = min(
                self._matters, key=lambda key: (RANKS[self._matters[key].severity], self._matters[key].ts_first_ns)
            )
            del self._matters[oldest]

    # ---- channels

    def _enqueue(self, name: str, message: _Message) -> None:
        channel = self._channels[name]
        # What waits about the same matter is overtaken: the newer message counts it in.
        channel.queue = [waiting for waiting in channel.queue if waiting.key != message.key]
        channel.queue.append(message)
        if len(channel.queue) > self._policy.queue_max:
            least = min(range(len(channel.queue)), key=lambda index: (RANKS[channel.queue[index].severity], index))
            del channel.queue[least]
            channel.dropped += 1

    def _deliver_next(self, name: str, ts_now_ns: int) -> Deliver | None:
        channel, policy = self._channels[name], self._policy
        if channel.in_flight is not None or not channel.queue or self._compute_ready_ns(channel) > ts_now_ns:
            return None
        # max keeps the first of equals: the oldest of the most severe.
        message = max(channel.queue, key=lambda waiting: RANKS[waiting.severity])
        channel.queue.remove(message)
        channel.in_flight = message
        message.attempt += 1
        self._deliveries += 1
        channel.delivery_id = self._deliveries
        channel.ts_deadline_ns = ts_now_ns + policy.delivery_max_ns
        channel.ts_rate_ns = max(ts_now_ns, channel.ts_rate_ns) + policy.interval_ns
        text = message.text
        if channel.dropped:
            text += f" ({channel.dropped} lesser messages dropped)"
            channel.dropped = 0
        severity, title = message.severity, message.title
        return Deliver(self._deliveries, name, severity, title, text, message.attempt, message.cause_id)

    def _compute_ready_ns(self, channel: _Channel) -> int:
        return max(channel.ts_not_before_ns, channel.ts_rate_ns - (self._policy.burst - 1) * self._policy.interval_ns)

    def _take_in_flight(self, delivery_id: int) -> tuple[str, _Message] | None:
        for name, channel in self._channels.items():
            if channel.in_flight is not None and channel.delivery_id == delivery_id:
                message, channel.in_flight = channel.in_flight, None
                return name, message
        return None  # too late: it was given up for lost

    def _apply_failed(self, event: DeliveryFailed, ts_now_ns: int) -> Iterable[HeraldInstruction]:
        taken = self._take_in_flight(event.delivery_id)
        if taken is None:
            return []
        name, message = taken
        channel, policy = self._channels[name], self._policy
        if not event.is_transient or message.attempt >= policy.attempts_max:
            reason = f"{event.message} (attempt {message.attempt})"
            return [GiveUp(name, message.severity, message.title, reason, message.cause_id)]
        pause_ns = min(policy.backoff_ns * 2 ** (message.attempt - 1), policy.backoff_max_ns)
        channel.ts_not_before_ns = ts_now_ns + max(pause_ns, event.retry_after_ns)
        if all(waiting.key != message.key for waiting in channel.queue):
            channel.queue.insert(0, message)
        return []

    def _expire_deliveries(self, ts_now_ns: int) -> list[HeraldInstruction]:
        instructions: list[HeraldInstruction] = []
        for channel in self._channels.values():
            if channel.in_flight is not None and channel.ts_deadline_ns <= ts_now_ns:
                lost = DeliveryFailed(channel.delivery_id, "no answer in time", is_transient=True)
                instructions += self._apply_failed(lost, ts_now_ns)
        return instructions

    def _wake(self, ts_now_ns: int) -> list[HeraldInstruction]:
        due_ns = [matter.ts_window_end_ns for matter in self._matters.values()]
        due_ns += [matter.ts_repeat_ns for matter in self._matters.values() if matter.ts_repeat_ns]
        for channel in self._channels.values():
            if channel.in_flight is not None:
                due_ns.append(channel.ts_deadline_ns)
            elif channel.queue:
                due_ns.append(self._compute_ready_ns(channel))
        ts_wake_ns = min((ts_ns for ts_ns in due_ns if ts_ns > ts_now_ns), default=0)
        if ts_wake_ns in (0, self._ts_wake_ns):
            return []
        self._ts_wake_ns = ts_wake_ns
        return [WakeAt(ts_wake_ns)]
