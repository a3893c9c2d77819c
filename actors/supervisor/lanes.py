"""The supervisor as an actor of a house: rounds on Ray, alerts to the herald by lane and to the ledger by call.

Nobody watches the supervisor but Ray, and that is enough: its death stops nobody's work, Ray restarts its process, and
the process, finding that it is not the first, opens itself. What it knew it sees again in the first round.
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from actors.journal import FencedError, JournalError, JournalWriter
from actors.messages import Alert, encode
from actors.supervisor.hands import ActorSpec, ClusterHands
from actors.supervisor.machine import SupervisorPolicy
from actors.supervisor.shell import Hands, SupervisorShell
from cluster.handles import acall
from cluster.lanes import LaneFull, LaneKind, LaneServer
from cluster.spawn import call_self_if_restarted, get_actor

NAME = "supervisor"
LEDGER, HERALD = "ledger", "herald"
ALERTS_MAX = 1000  # that wait for the ledger
CALL_S = 10.0
RETRY_S = 0.5


class SupervisorLaneShell(SupervisorShell):
    """A supervisor over the actors of `specs`, with a lane to the herald."""

    def __init__(
        self, specs: tuple[ActorSpec, ...], policy: SupervisorPolicy, sockets: str, period_s: float, silence_max_ns: int
    ) -> None:
        self._cluster = ClusterHands(specs)
        hands = Hands(self._cluster.sample, self._cluster.restart, self._cluster.stop, self._tell)
        super().__init__(self._cluster.list_desired(silence_max_ns), policy, hands, period_s)
        lane = f"{NAME}>{HERALD}"
        endpoint = f"unix://{Path(sockets)}/{NAME}-{HERALD}.sock"
        self._lane = LaneServer(lane, LaneKind.CONFLATED, endpoint, receivers=(HERALD,), capacity=ALERTS_MAX, retain=0)
        self._unrecorded: asyncio.Queue[Alert] = asyncio.Queue(ALERTS_MAX)
        self._recorder: asyncio.Task[None] | None = None
        call_self_if_restarted("open")

    async def open(self) -> dict[str, str]:
        """Begin the rounds; return lane -> endpoint. Safe to repeat."""
        if self._recorder is None:
            self._recorder = asyncio.create_task(self._record(), name="record alerts")
            await self._lane.start()
            self._cluster.learn({self._lane.lane: self._lane.endpoint})
            await self.start()
        return {self._lane.lane: self._lane.endpoint}

    async def close(self) -> None:
        """End the rounds; hand over the alerts that wait, for a while. From then on nobody is restarted."""
        await self.stop()
        await self._cluster.close()
        if self._recorder is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CALL_S):
                    await self._unrecorded.join()
            self._recorder.cancel()
            await asyncio.gather(self._recorder, return_exceptions=True)
            await self._lane.drain(1.0)
            await self._lane.close()

    def get_status(self) -> dict[str, Any]:
        """Return where each actor stands."""
        phases = {name: phase.value for name, phase in self._machine.get_phases().items()}
        return {"name": NAME, "failure": None, "is_open": self._recorder is not None, "phases": phases}

    async def _tell(self, alert: Alert) -> None:
        with contextlib.suppress(LaneFull):
            self._lane.send_nowait(encode(alert), alert.key.encode())
        with contextlib.suppress(asyncio.QueueFull):
            self._unrecorded.put_nowait(alert)

    async def _record(self) -> None:
        # By call: alerts are few, and the ledger they speak of may be the one that is away.
        writer: JournalWriter | None = None
        while True:
            alert = await self._unrecorded.get()
            record = None
            while True:
                try:
                    ledger = await asyncio.to_thread(get_actor, LEDGER)
                    if writer is None:
                        writer = JournalWriter(NAME, await acall(ledger, "claim", NAME, timeout_s=CALL_S), encode)
                    record = record or writer.note(alert, alert.ts_event_ns)
                    await acall(ledger, "append", [record], timeout_s=CALL_S)
                    break
                except FencedError:  # another life of ours, or another supervisor, has taken over
                    writer = record = None
                except (OSError, JournalError):
                    await asyncio.sleep(RETRY_S)
            self._unrecorded.task_done()
