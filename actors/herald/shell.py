"""The herald actor: takes alerts without making anyone wait, and sends what its machine says, in threads.

Nothing here is on the order path: whatever fails, the caller of `notify` has long gone on.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from actors.herald.channels import Channel, DeliveryError
from actors.herald.machine import (
    Acknowledged,
    Deliver,
    Delivered,
    DeliveryFailed,
    GiveUp,
    HeraldEvent,
    HeraldInstruction,
    HeraldMachine,
    HeraldPolicy,
    WakeAt,
)
from actors.messages import Alert, Tick
from market.records import NS_PER_S

INBOX_MAX = 10_000

_log = logging.getLogger(__name__)


class HeraldShell:
    """`await start()`, then `notify` from anywhere in the loop; `await stop()` sends what waits first, for a while."""

    def __init__(
        self, policy: HeraldPolicy, channels: Mapping[str, Channel], clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        unknown = policy.list_channels() - set(channels)
        if unknown:
            raise ValueError(f"herald policy: no channel is named {', '.join(sorted(unknown))}")
        self._machine = HeraldMachine(policy)
        self._channels = dict(channels)
        self._clock_ns = clock_ns
        self._inbox: deque[HeraldEvent] = deque()
        self._wake = asyncio.Event()
        self._ts_wake_ns = 0  # 0: no alarm set
        self._sending: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        # Two threads a channel: one that hangs past its time-out does not hold up the channel's next message.
        self._threads = ThreadPoolExecutor(max_workers=2 * max(len(channels), 1), thread_name_prefix="herald")

    def __repr__(self) -> str:
        return f"Herald({', '.join(sorted(self._channels))})"

    async def start(self) -> None:
        """Check every channel's settings and secrets, then begin.

        Raises: ValueError naming the channel and what is missing.
        """
        assert self._task is None, "the herald is started already"
        for channel in self._channels.values():
            channel.check()
        self._task = asyncio.create_task(self._run(), name="herald")

    async def stop(self, drain_s: float = 5.0) -> None:
        """Wait up to `drain_s` for what is on its way, then end. May be called twice."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                while self._inbox or self._sending:
                    await asyncio.sleep(0.01)
        self._task.cancel()
        await asyncio.gather(self._task, *self._sending, return_exceptions=True)
        self._task = None
        self._threads.shutdown(wait=False, cancel_futures=True)

    def notify(self, alert: Alert) -> None:
        """Take an alert; never blocks, never raises."""
        self._put(alert)

    def acknowledge(self, key: str, by: str) -> None:
        """Stop repeating a matter ("*": all)."""
        self._put(Acknowledged(key, by))

    def list_unacknowledged(self) -> list[tuple[str, str, int]]:
        """Return (key, text, count) of each critical matter that waits for a person."""
        return self._machine.list_unacknowledged()

    def _put(self, event: HeraldEvent) -> None:
        if len(self._inbox) >= INBOX_MAX and isinstance(event, Alert):
            _log.error("herald: inbox full, dropped %s: %s", event.key, event.text)
            return
        self._inbox.append(event)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wait()
            if self._ts_wake_ns and self._clock_ns() >= self._ts_wake_ns:
                self._ts_wake_ns = 0
                self._inbox.append(Tick())
            while self._inbox:
                for instruction in self._machine.handle(self._inbox.popleft(), self._clock_ns()):
                    self._perform(instruction)

    async def _wait(self) -> None:
        pause_s = max((self._ts_wake_ns - self._clock_ns()) / NS_PER_S, 0.0) if self._ts_wake_ns else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        self._wake.clear()

    def _perform(self, instruction: HeraldInstruction) -> None:
        match instruction:
            case Deliver():
                task = asyncio.create_task(self._deliver(instruction))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)
            case GiveUp():
                where, what = instruction.channel, f"{instruction.title}: {instruction.message}"
                _log.error("herald: gave up on %s: %s", where, what)
            case WakeAt():
                self._ts_wake_ns = instruction.ts_ns
                self._wake.set()

    async def _deliver(self, message: Deliver) -> None:
        loop = asyncio.get_running_loop()
        outcome: HeraldEvent = Delivered(message.delivery_id, message.cause_id)
        try:
            await loop.run_in_executor(self._threads, self._channels[message.channel].send, message)
        except DeliveryError as error:
            retry_after_ns = int(error.retry_after_s * NS_PER_S)
            outcome = DeliveryFailed(
                message.delivery_id, str(error), error.is_transient, retry_after_ns, message.cause_id
            )
        except ValueError as error:  # a secret has gone since the start
            outcome = DeliveryFailed(message.delivery_id, str(error), False, 0, message.cause_id)
        self._put(outcome)
