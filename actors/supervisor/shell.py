"""The supervisor actor: takes samples in rounds, asks its machine, and has others restart, stop and tell.

What it can do is handed in: sampling and restarting are the cluster's business, telling is the herald's. A restart
that takes long or hangs holds up neither the next round nor another restart.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from actors.messages import Alert, Tick
from actors.supervisor.machine import (
    ActorSample,
    DesiredActor,
    Notify,
    Released,
    Restart,
    Restarted,
    RestartFailed,
    Sampled,
    Stop,
    SupervisorEvent,
    SupervisorInstruction,
    SupervisorMachine,
    SupervisorPolicy,
    Wanted,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hands:
    """What the supervisor can do. Each may raise OSError (time-outs are) or ValueError; that is an outcome, no bug."""

    sample: Callable[[], Awaitable[tuple[ActorSample, ...]]]
    restart: Callable[[str], Awaitable[None]]  # ends what is left, then starts; returns when the actor exists
    stop: Callable[[str], Awaitable[None]]
    notify: Callable[[Alert], Awaitable[None]]


class SupervisorShell:
    """`await start()`; rounds every `period_s` until `await stop()`."""

    def __init__(
        self,
        desired: tuple[DesiredActor, ...],
        policy: SupervisorPolicy,
        hands: Hands,
        period_s: float = 1.0,
        timeout_s: float = 60.0,
        clock_ns: Callable[[], int] = time.time_ns,
        draw_frac: Callable[[], float] = random.random,
    ) -> None:
        self._machine = SupervisorMachine(desired, policy)
        self._hands = hands
        self._period_s = period_s
        self._timeout_s = timeout_s
        self._clock_ns = clock_ns
        self._draw_frac = draw_frac
        self._inbox: deque[SupervisorEvent] = deque()
        self._is_handling = False
        self._working: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Supervisor({', '.join(self._machine.get_phases())})"  # the dashboard asks once: names, no phases

    async def start(self) -> None:
        """Begin the rounds."""
        assert self._task is None, "the supervisor is started already"
        self._task = asyncio.create_task(self._run(), name="supervisor")

    async def stop(self) -> None:
        """End the rounds and what is being done. May be called twice."""
        if self._task is None:
            return
        for task in (self._task, *self._working):
            task.cancel()
        await asyncio.gather(self._task, *self._working, return_exceptions=True)
        self._task = None

    async def release(self, name: str, by: str) -> None:
        """Take an actor out of quarantine. Raises ValueError for a name nobody knows."""
        self._put(Released(name, by))

    async def set_wanted(self, name: str, is_wanted: bool) -> None:
        """Say whether an actor must run. Raises ValueError for a name nobody knows."""
        self._put(Wanted(name, is_wanted))

    async def get_phases(self) -> dict[str, str]:
        """Return where each actor stands."""
        return {name: phase.value for name, phase in self._machine.get_phases().items()}

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    samples = await self._hands.sample()
                self._put(Sampled(samples, self._draw_frac()))
            except (OSError, ValueError) as error:
                _log.warning("supervisor: no samples: %s", error)
                self._put(Tick())  # the machine counts how long it has been blind
            await asyncio.sleep(self._period_s)

    def _put(self, event: SupervisorEvent) -> None:
        self._inbox.append(event)
        if self._is_handling:
            return
        self._is_handling = True
        try:
            while self._inbox:
                for instruction in self._machine.handle(self._inbox.popleft(), self._clock_ns()):
                    task = asyncio.create_task(self._perform(instruction))
                    self._working.add(task)
                    task.add_done_callback(self._working.discard)
        finally:
            self._is_handling = False

    async def _perform(self, instruction: SupervisorInstruction) -> None:
        match instruction:
            case Restart():
                await self._restart(instruction)
            case Stop():
                await self._try(self._hands.stop(instruction.name), f"stop {instruction.name}")
            case Notify():
                await self._try(self._hands.notify(instruction.alert), f"tell {instruction.alert.text!r}")

    async def _restart(self, instruction: Restart) -> None:
        failure = await self._try(self._hands.restart(instruction.name), f"restart {instruction.name}")
        if failure:
            self._put(RestartFailed(instruction.name, failure, self._draw_frac()))
        else:
            self._put(Restarted(instruction.name))

    async def _try(self, work: Awaitable[None], what: str) -> str:
        # Returns why it failed; "" when it did not.
        try:
            async with asyncio.timeout(self._timeout_s):
                await work
        except (OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            _log.error("supervisor: could not %s: %s", what, reason)
            return reason
        return ""
