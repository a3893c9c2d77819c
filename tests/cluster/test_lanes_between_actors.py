"""Lanes and supervision on real Ray: actors killed with SIGKILL, labels nobody wears, calls that never answer."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from cluster import health
from cluster.handles import ActorLostError, ActorStartError, CallTimeoutError, acall, call
from cluster.health import Liveness
from cluster.lanes import LaneEpochChanged, LaneEvent, LaneKind, LanePosition, LaneReceiver, LaneServer
from cluster.session import Session, start_local
from cluster.spawn import check_role, get_actor, list_roles, spawn

pytestmark = pytest.mark.ray


class Sender:
    """Sends 0, 1, 2, ... on a reliable lane; its journal, a file, says how far it has come."""

    def __init__(self, endpoint: str, journal: str) -> None:
        self._endpoint, self._journal = endpoint, Path(journal)
        self._next = len(self._journal.read_bytes()) if self._journal.exists() else 0

    def __repr__(self) -> str:
        return "Sender(orders)"

    async def send(self, count: int) -> int:
        if not hasattr(self, "_server"):
            self._server = await LaneServer("orders", LaneKind.RELIABLE, self._endpoint, capacity=100).start()
        for _ in range(count):
            with self._journal.open("ab") as journal:
                journal.write(b".")
            await self._server.send(b"%d" % self._next)
            self._next += 1
        return self._next

    async def drain(self) -> bool:
        return await self._server.drain(10)

    async def pid(self) -> int:
        return os.getpid()


class Receiver:
    """Journals each message with its position before anything else, as a shell does."""

    def __init__(self, endpoint: str, journal: str) -> None:
        self._endpoint, self._journal = endpoint, Path(journal)
        self._events: list[LaneEvent] = []

    def __repr__(self) -> str:
        return "Receiver(orders)"

    async def start(self) -> int:
        position = None
        if self._journal.exists() and (lines := self._journal.read_text().splitlines()):
            epoch, sequence, _ = map(int, lines[-1].split())
            position = LanePosition(epoch, sequence)
        self._receiver = await LaneReceiver(
            self._endpoint,
            self._on_message,
            lane="orders",
            name="governor",
            position=position,
            on_event=self._events.append,
        ).start()
        await self._receiver.wait_connected(10)
        return os.getpid()

    def _on_message(self, payload: bytes) -> None:
        assert self._receiver.position is not None
        epoch, sequence = self._receiver.position
        with self._journal.open("a") as journal:
            journal.write(f"{epoch} {sequence} {payload.decode()}\n")

    async def epoch_changes(self) -> int:
        return sum(isinstance(event, LaneEpochChanged) for event in self._events)


class Ticks:
    """Both ends of a conflated lane: a feed that never waits, a strategist that is slow."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._got: list[bytes] = []

    def __repr__(self) -> str:
        return "Ticks(BTC-PERP)"

    async def listen(self) -> None:
        self._receiver = LaneReceiver(self._endpoint, self._on_message, lane="ticks", name="strategist")
        await self._receiver.start()

    def _on_message(self, payload: bytes) -> None:
        time.sleep(0.002)
        self._got.append(payload)

    async def feed(self, count: int) -> tuple[int, int]:
        server = await LaneServer(
            "ticks", LaneKind.CONFLATED, self._endpoint, window=4, receivers=["strategist"]
        ).start()
        for number in range(count):
            server.send_nowait(b"%d" % number, key=b"BTC-PERP")
            await asyncio.sleep(0)
        assert await server.drain(10)
        counters = server.counters()
        await server.close()
        return counters.messages, counters.conflated

    async def got(self) -> list[int]:
        return [int(payload) for payload in self._got]


class Hopeless:
    def __repr__(self) -> str:
        return "Hopeless()"

    def __init__(self, what: str) -> None:
        if what == "raise":
            raise ValueError("qty_lots is 7, limit is 5")
        if what == "divide":
            1 / 0  # noqa: B018
        if what == "hang":
            time.sleep(60)

    def fail(self) -> None:
        raise KeyError("no such order")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Nameless:
    pass


def received(journal: Path) -> list[int]:
    return [int(line.split()[2]) for line in journal.read_text().splitlines()]


def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.02)


def test_killed_receivers_and_senders_go_on_without_loss_or_repeat(ray_session: Session, tmp_path: Path) -> None:
    endpoint = ray_session.socket_endpoint("orders")
    sent, got = tmp_path / "sent", tmp_path / "got"
    sender = spawn(Sender, endpoint, str(sent), name="sender", role="live_trading", max_restarts=-1)
    receiver = spawn(Receiver, endpoint, str(got), name="receiver", role="live_trading", max_restarts=-1)
    call(sender, "send", 1, timeout_s=20)
    receiver_pid = call(receiver, "start", timeout_s=20)

    sending = sender.send.remote(500)  # more than the lane holds: it waits for the killed receiver
    until(lambda: got.exists() and len(received(got)) > 20)
    os.kill(receiver_pid, signal.SIGKILL)
    until(lambda: health.sample(["receiver"])["receiver"].restarts == 1)
    until(lambda: health.sample(["receiver"])["receiver"].liveness is Liveness.ALIVE)
    assert call(receiver, "start", timeout_s=20) != receiver_pid
    assert ray.get(sending, timeout=20) == 501
    assert call(sender, "drain", timeout_s=20)
    assert received(got) == list(range(501))

    os.kill(call(sender, "pid", timeout_s=20), signal.SIGKILL)
    until(lambda: health.sample(["sender"])["sender"].restarts == 1)
    until(lambda: health.sample(["sender"])["sender"].liveness is Liveness.ALIVE)
    assert call(sender, "send", 50, timeout_s=20) == 551
    assert call(sender, "drain", timeout_s=20)
    assert received(got) == list(range(551))
    assert call(receiver, "epoch_changes", timeout_s=20) == 1
    for handle in (sender, receiver):
        ray.kill(handle)


def test_a_slow_strategist_gets_the_latest_tick(ray_session: Session) -> None:
    endpoint = ray_session.socket_endpoint("ticks")
    feed, strategist = (spawn(Ticks, endpoint, name=name) for name in ("feed", "strategist"))
    call(strategist, "listen", timeout_s=20)
    messages, conflated = call(feed, "feed", 3000, timeout_s=30)
    got = call(strategist, "got", timeout_s=20)
    assert messages == 3000
    assert conflated == 3000 - len(got)
    assert len(got) < 3000
    assert got == sorted(got)
    assert got[-1] == 2999
    for handle in (feed, strategist):
        ray.kill(handle)


def test_a_label_nobody_wears_is_refused_at_once(ray_session: Session) -> None:
    assert list_roles() == {"live_trading": 1, "ai_hub": 1, "fast_compute": 1}
    with pytest.raises(
        ValueError, match=r"no node wears the label gpu=true \(worn: ai_hub, fast_compute, live_trading\)"
    ):
        spawn(Sender, "", "", name="lost", role="gpu")
    check_role("ai_hub")


def test_spawn_says_what_is_wrong(ray_session: Session) -> None:
    with pytest.raises(ValueError, match=r"^qty_lots is 7, limit is 5$"):
        spawn(Hopeless, "raise", name="raises")
    with pytest.raises(ActorStartError, match=r"Hopeless\(\w{8}\).__ray_ready__: ZeroDivisionError: division by zero"):
        spawn(Hopeless, "divide", name="divides")
    with pytest.raises(CallTimeoutError, match=r"actor 'hangs' was not ready within 0.5 s"):
        spawn(Hopeless, "hang", name="hangs", ready_timeout_s=0.5)
    with pytest.raises(ValueError, match="Nameless needs a __repr__"):
        spawn(Nameless, name="nameless")
    with pytest.raises(ActorLostError, match="no actor named 'absent'"):
        get_actor("absent")
    assert health.sample(["absent"])["absent"].liveness is Liveness.ABSENT


def test_calls_end_in_time_and_with_the_actors_own_exception(ray_session: Session) -> None:
    handle = spawn(Hopeless, "", name="works")
    with pytest.raises(ValueError, match="an actor named 'works' exists already"):
        spawn(Hopeless, "", name="works")
    with pytest.raises(KeyError, match="no such order"):
        call(get_actor("works"), "fail", timeout_s=20)
    with pytest.raises(KeyError, match="no such order"):
        asyncio.run(acall(handle, "fail", timeout_s=20))
    with pytest.raises(CallTimeoutError, match=r"Hopeless\(\w{8}\).sleep has not answered within 0.1 s"):
        call(handle, "sleep", 0.5, timeout_s=0.1)
    with pytest.raises(CallTimeoutError, match=r"has not answered within 0.1 s"):
        asyncio.run(acall(handle, "sleep", 0.5, timeout_s=0.1))
    alive = health.sample(["works"])["works"]
    assert (alive.liveness, alive.restarts) == (Liveness.ALIVE, 0)
    ray.kill(handle)
    until(lambda: health.sample(["works"])["works"].liveness is Liveness.DEAD)
    with pytest.raises(ActorLostError, match=r"Hopeless\(\w{8}\).fail: "):
        call(handle, "fail", timeout_s=20)


def test_a_session_is_one_per_process_and_its_directory_short(ray_session: Session, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="connected to Ray already"):
        start_local()
    with pytest.raises(ValueError, match="too long for Ray's Unix sockets"):
        start_local(temp_dir=tmp_path / ("x" * 80))
    with pytest.raises(ValueError, match="shorten the name"):
        ray_session.socket_endpoint("x" * 100)
    assert ray_session.address.startswith("127.0.0.1:")


def test_the_cluster_file_is_one_that_ray_up_accepts() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(yaml.safe_load((Path(__file__).parents[2] / "ray_config.yaml").read_text())))
