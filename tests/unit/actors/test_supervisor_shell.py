"""The shell against a cluster of coroutines: rounds, restarts that fail or hang, blindness, and its end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from actors.messages import Alert
from actors.supervisor.machine import ActorSample, DesiredActor, SupervisorPolicy
from actors.supervisor.shell import Hands, SupervisorShell
from cluster.health import Liveness

MS = 1_000_000
POLICY = SupervisorPolicy(backoff_ns=MS, failures_max=3, samples_age_max_ns=20 * MS, suspect_max_ns=50 * MS)


class Cluster:
    """Two actors that live or do not, restarts that work or do not."""

    def __init__(self) -> None:
        self.alive = {"executor": True, "herald": True}
        self.is_reachable = True
        self.restart_error: Exception | None = None
        self.is_hanging = False
        self.done: list[str] = []
        self.alerts: list[Alert] = []

    async def sample(self) -> tuple[ActorSample, ...]:
        if not self.is_reachable:
            raise ConnectionError("no cluster")
        states = {True: Liveness.ALIVE, False: Liveness.DEAD}
        return tuple(ActorSample(name, states[alive], 0, 0) for name, alive in self.alive.items())

    async def restart(self, name: str) -> None:
        self.done.append(f"restart {name}")
        if self.is_hanging and name == "herald":
            await asyncio.sleep(60)
        if self.restart_error is not None:
            raise self.restart_error
        self.alive[name] = True

    async def stop(self, name: str) -> None:
        self.done.append(f"stop {name}")
        self.alive[name] = False

    async def notify(self, alert: Alert) -> None:
        self.alerts.append(alert)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def supervise(use: Callable[[SupervisorShell, Cluster], Awaitable[None]]) -> None:
    async def run() -> None:
        cluster = Cluster()
        hands = Hands(cluster.sample, cluster.restart, cluster.stop, cluster.notify)
        desired = (DesiredActor("executor", True), DesiredActor("herald", False))
        shell = SupervisorShell(desired, POLICY, hands, period_s=0.002, draw_frac=lambda: 0.5)
        await shell.start()
        try:
            await until(lambda: set(shell._machine.get_phases().values()) == {"running"})
            await use(shell, cluster)
        finally:
            await shell.stop()
        assert not shell._working

    asyncio.run(run())


def test_a_dead_actor_is_restarted_and_both_ends_are_told() -> None:
    async def use(shell: SupervisorShell, cluster: Cluster) -> None:
        cluster.alive["executor"] = False
        await until(lambda: any("runs again" in alert.text for alert in cluster.alerts))
        assert cluster.done == ["restart executor"]
        assert [alert.severity for alert in cluster.alerts] == ["critical", "info"]
        assert repr(shell) == "Supervisor(executor, herald)"

    supervise(use)


@pytest.mark.parametrize("error", [OSError("no node"), TimeoutError(), ValueError("no such role")])
def test_restarts_that_fail_end_in_quarantine_and_a_release_ends_that(error: Exception) -> None:
    async def use(shell: SupervisorShell, cluster: Cluster) -> None:
        cluster.restart_error = error
        cluster.alive["executor"] = False
        await until(lambda: "stop executor" in cluster.done)
        assert cluster.done == ["restart executor", "restart executor", "stop executor"]
        assert (await shell.get_phases())["executor"] == "quarantined"
        cluster.restart_error = None
        await shell.release("executor", "me")
        await until(lambda: cluster.alive["executor"])

    supervise(use)


def test_a_restart_that_hangs_holds_up_nobody_else() -> None:
    async def use(shell: SupervisorShell, cluster: Cluster) -> None:
        cluster.is_hanging = True
        cluster.alive["herald"] = False
        await until(lambda: "restart herald" in cluster.done)
        cluster.alive["executor"] = False
        await until(lambda: cluster.alive["executor"])

    supervise(use)


def test_blindness_is_told_and_ends() -> None:
    async def use(shell: SupervisorShell, cluster: Cluster) -> None:
        cluster.is_reachable = False
        await until(lambda: any("no samples" in alert.text for alert in cluster.alerts))
        cluster.alive["executor"] = False
        cluster.is_reachable = True
        await until(lambda: cluster.alive["executor"])
        assert [alert.text for alert in cluster.alerts][1] == "samples come again"

    supervise(use)


def test_what_nobody_wants_is_stopped_and_stays_so() -> None:
    async def use(shell: SupervisorShell, cluster: Cluster) -> None:
        await shell.set_wanted("herald", False)
        await until(lambda: cluster.done == ["stop herald"])
        with pytest.raises(ValueError, match="'nobody' is no actor"):
            await shell.release("nobody", "me")
        await shell.set_wanted("herald", True)
        await until(lambda: cluster.alive["herald"])

    supervise(use)
