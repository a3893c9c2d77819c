"""What the supervisor does with its hands: asks Ray and the actors how they are, opens, respawns and ends them.

Ray restarts a dead process by itself (max_restarts=-1), with the arguments it was first given and knowing nothing
else. To bring such an actor back is to open it (it replays its journal), to connect its lanes, and to let it run. An
actor whom Ray has given up, or who hangs, is ended and spawned anew.
"""

import asyncio
import contextlib
import pickle
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from actors.supervisor.machine import ActorSample, DesiredActor
from cluster.handles import ActorLostError, acall
from cluster.health import ActorHealth, Liveness, sample
from cluster.spawn import get_actor, kill, spawn

ANSWER_S = 1.0  # how long a round waits for answers; who answers later is noted in a later round
ASK_AGAIN_S = 5.0  # an answer that has not come by then may be lost
CALL_S = 60.0
NAME_FREE_S = 5.0  # Ray frees the name of a killed actor a little after its death


@dataclass(frozen=True, slots=True)
class ActorSpec:
    """Everything needed to make one actor, anywhere: made where the house is composed, handed to the supervisor.

    `recipe` holds class and arguments pickled, so that the supervisor's own process never imports what they need.
    """

    name: str
    recipe: bytes
    role: str
    is_order_path: bool
    has_run: bool = False  # "run" begins its work, once it is connected

    @classmethod
    def make(cls, name: str, actor_class: type, args: tuple[Any, ...], role: str, **flags: bool) -> "ActorSpec":
        """Return the spec of `actor_class(*args)`."""
        return cls(name, pickle.dumps((actor_class, args)), role, **({"is_order_path": True} | flags))

    def spawn(self, *, is_detached: bool) -> Any:
        """Make the actor and return its handle. Raises as cluster.spawn.spawn."""
        actor_class, args = pickle.loads(self.recipe)
        return spawn(
            actor_class,
            *args,
            name=self.name,
            role=self.role,
            max_restarts=-1,
            max_task_retries=0,
            is_detached=is_detached,
        )


class ClusterHands:
    """The `sample`, `restart` and `stop` of actors.supervisor.shell.Hands, for one house."""

    def __init__(self, specs: Iterable[ActorSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._handles: dict[str, Any] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}  # at most one unanswered question each
        self._pids: dict[str, int] = {}
        self._lives = dict.fromkeys(self._specs, 0)  # an answer of an earlier life says nothing of this one
        self._answers: dict[str, tuple[float, dict[str, Any]]] = {}  # when [s, monotonic], what
        self._endpoints: dict[str, str] = {}

    def list_desired(self, silence_max_ns: int) -> tuple[DesiredActor, ...]:
        """Return whom the supervisor wants to see running."""
        return tuple(DesiredActor(spec.name, spec.is_order_path, silence_max_ns) for spec in self._specs.values())

    def learn(self, endpoints: dict[str, str]) -> None:
        """Take note of lanes that no status tells: the supervisor's own."""
        self._endpoints |= endpoints

    async def sample(self) -> tuple[ActorSample, ...]:
        """Return one sample of each actor. Raises OSError when Ray does not answer."""
        health = await asyncio.to_thread(sample, list(self._specs))
        for name, one in health.items():
            if one.pid != self._pids.get(name):  # its last answer was that of another process
                self._pids[name] = one.pid
                self._forget(name)
        alive = [name for name, one in health.items() if one.liveness is Liveness.ALIVE]
        for name in alive:
            if name not in self._asking or self._asking[name].done():
                self._asking[name] = asyncio.create_task(self._ask(name), name=f"ask {name}")
        waiting = [self._asking[name] for name in alive]
        if waiting:
            await asyncio.wait(waiting, timeout=ANSWER_S)
        await self._tell_new_endpoints()
        return tuple(self._make_sample(one) for one in health.values())

    async def restart(self, name: str) -> None:
        """Bring an actor to work again: open it where it lives, else end what is left and spawn it.

        Raises OSError when that did not succeed, whatever the reason: it may be tried again.
        """
        try:
            await self._restart(name)
        except OSError:
            raise
        except Exception as error:  # what the actor raised on its way up is its failure, not ours
            raise ConnectionError(f"{name}: {type(error).__name__}: {error}") from error
        finally:
            self._forget(name)

    async def _restart(self, name: str) -> None:
        try:
            handle = await self._get_handle(name)
            status = await acall(handle, "get_status", timeout_s=2 * ANSWER_S)
        except OSError:
            await self._respawn(name)
            status = {"is_open": False}
        if not status["is_open"]:
            await self._open(name)

    async def stop(self, name: str) -> None:
        """End an actor so that Ray does not restart it."""
        with contextlib.suppress(ActorLostError):
            await asyncio.to_thread(lambda: kill(get_actor(name)))
        self._forget(name)

    async def close(self) -> None:
        """Ask nobody any more."""
        asking, self._asking = list(self._asking.values()), {}
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, name: str) -> None:
        life = self._lives[name]
        try:
            handle = await self._get_handle(name)
            status = await acall(handle, "get_status", timeout_s=ASK_AGAIN_S)
        except OSError:
            if life == self._lives[name]:
                self._handles.pop(name, None)
        else:
            if life == self._lives[name]:
                self._answers[name] = (time.monotonic(), status)

    async def _get_handle(self, name: str) -> Any:
        if name not in self._handles:
            self._handles[name] = await asyncio.to_thread(get_actor, name)
        return self._handles[name]

    def _make_sample(self, health: ActorHealth) -> ActorSample:
        asked_s, status = self._answers.get(health.name, (0.0, None))
        if status is None:
            return ActorSample(health.name, health.liveness, -1, health.restarts)
        age_ns = int((time.monotonic() - asked_s) * 1e9)
        return ActorSample(health.name, health.liveness, age_ns, health.restarts, is_open=bool(status["is_open"]))

    def _forget(self, name: str) -> None:
        self._lives[name] += 1
        self._handles.pop(name, None)
        self._answers.pop(name, None)
        if (task := self._asking.pop(name, None)) is not None:
            task.cancel()

    async def _open(self, name: str) -> None:
        handle = await self._get_handle(name)
        self._endpoints |= await acall(handle, "open", timeout_s=CALL_S)
        await acall(handle, "connect", self._endpoints, timeout_s=CALL_S)
        if self._specs[name].has_run:
            await acall(handle, "run", timeout_s=CALL_S)

    async def _respawn(self, name: str) -> None:
        await self.stop(name)
        deadline_s = time.monotonic() + NAME_FREE_S
        while True:
            try:
                await asyncio.to_thread(self._specs[name].spawn, is_detached=True)  # it must outlive the supervisor
                return
            except ValueError as error:
                if "exists already" not in str(error) or time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(0.1)

    async def _tell_new_endpoints(self) -> None:
        # On one node endpoints never change; between nodes an actor may come back elsewhere, and its hearers must know.
        told = {lane: at for _, status in self._answers.values() for lane, at in status["endpoints"].items()}
        if told.items() <= self._endpoints.items():
            return
        self._endpoints |= told
        is_open = {name for name, (_, status) in self._answers.items() if status["is_open"]}
        for name in is_open & set(self._handles):
            with contextlib.suppress(OSError):
                await acall(self._handles[name], "connect", self._endpoints, timeout_s=ANSWER_S)
