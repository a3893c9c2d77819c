"""Lanes over real sockets, both ends in one process: restarts, slowness, strangers."""

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cluster import link
from cluster.frames import FrameKind, RemoteProtocolError, encode_frame
from cluster.handshake import Hello, new_nonce, open_hello, open_welcome, seal_hello, seal_welcome
from cluster.lanes import (
    LaneConnected,
    LaneDisconnected,
    LaneEpochChanged,
    LaneEvent,
    LaneFailed,
    LaneFull,
    LaneKind,
    LaneLost,
    LanePosition,
    LaneReceiver,
    LaneServer,
    parse_endpoint,
)

TOKEN = b"0123456789abcdef"


@pytest.fixture
def endpoint() -> Iterator[str]:
    with TemporaryDirectory(prefix="l-", dir="/tmp") as directory:  # short: a socket's path ends at 107 bytes
        yield f"unix://{directory}/lane.sock"


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def numbers(start: int, end: int) -> list[bytes]:
    return [b"%d" % number for number in range(start, end)]


@pytest.mark.parametrize("scheme", ["unix", "tcp"])
def test_messages_arrive_once_and_in_order_however_often_the_line_is_cut(endpoint: str, scheme: str) -> None:
    async def scenario() -> None:
        got: list[bytes] = []
        where = endpoint if scheme == "unix" else "tcp://127.0.0.1:0"
        server = await LaneServer("orders", LaneKind.RELIABLE, where, token=TOKEN, capacity=100).start()
        receiver = LaneReceiver(server.endpoint, got.append, lane="orders", name="governor", token=TOKEN)
        await receiver.start()
        for index, payload in enumerate(numbers(0, 2000)):
            await server.send(payload)
            if index % 400 == 399:
                await until(lambda: server.receivers_connected)
                server._links["governor"].abort("cut by the test")
        assert await server.drain(10)
        assert got == numbers(0, 2000)
        assert receiver.counters().connections > 1
        assert receiver.counters().lost == receiver.counters().duplicates == 0
        await receiver.close()
        await server.close()

    run(scenario)


def test_a_full_reliable_lane_refuses_or_waits_and_never_drops(endpoint: str) -> None:
    async def scenario() -> None:
        got: list[bytes] = []
        server = await LaneServer("orders", LaneKind.RELIABLE, endpoint, capacity=3, receivers=["executor"]).start()
        for payload in numbers(0, 3):
            server.send_nowait(payload)
        with pytest.raises(LaneFull, match="lane 'orders' is full: 3 waiting for executor"):
            server.send_nowait(b"3")
        waiting = [asyncio.create_task(server.send(payload)) for payload in numbers(3, 8)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)
        receiver = await LaneReceiver(endpoint, got.append, lane="orders", name="executor").start()
        await asyncio.gather(*waiting)
        assert await server.drain(5)
        assert got == numbers(0, 8)
        await receiver.close()
        await server.close()

    run(scenario)


def test_each_receiver_has_its_own_sequence_and_a_latecomer_is_told_what_it_missed(endpoint: str) -> None:
    async def scenario() -> None:
        got: dict[str, list[bytes]] = {"first": [], "second": [], "late": []}
        events: list[LaneEvent] = []
        server = await LaneServer("fills", LaneKind.RELIABLE, endpoint, receivers=["first", "second"]).start()
        for payload in numbers(0, 5):
            server.send_nowait(payload)
        receivers = [
            await LaneReceiver(endpoint, got[name].append, lane="fills", name=name, on_event=events.append).start()
            for name in got
        ]
        await asyncio.gather(*(receiver.wait_connected(5) for receiver in receivers))
        server.send_nowait(b"5")
        assert await server.drain(5)
        assert got == {"first": numbers(0, 6), "second": numbers(0, 6), "late": [b"5"]}
        assert [event for event in events if isinstance(event, LaneLost)] == [LaneLost("fills", 5)]
        for receiver in receivers:
            await receiver.close()
        await server.close()

    run(scenario)


def test_a_receiver_gone_for_good_blocks_until_it_is_forgotten(endpoint: str) -> None:
    async def scenario() -> None:
        server = await LaneServer("fills", LaneKind.RELIABLE, endpoint, capacity=2, receivers=["gone"]).start()
        for payload in numbers(0, 2):
            server.send_nowait(payload)
        waiting = asyncio.create_task(server.send(b"2"))
        await asyncio.sleep(0.01)
        assert server.forget("gone") == 2
        await waiting
        assert server.forget("gone") == 0
        await server.close()

    run(scenario)


def test_a_restarted_receiver_goes_on_where_its_journal_says(endpoint: str) -> None:
    async def scenario() -> None:
        server = await LaneServer("orders", LaneKind.RELIABLE, endpoint, epoch=5).start()
        journal: list[tuple[LanePosition | None, bytes]] = []

        def first_life(payload: bytes) -> None:
            journal.append((receiver.position, payload))

        receiver = await LaneReceiver(endpoint, first_life, lane="orders", name="governor").start()
        for payload in numbers(0, 10):
            server.send_nowait(payload)
        assert await server.drain(5)
        await receiver.close()
        for payload in numbers(10, 20):
            server.send_nowait(payload)
        position, _ = journal[6]  # the rest of the journal is taken to be lost
        assert position == LanePosition(5, 7)
        got: list[bytes] = []
        again = await LaneReceiver(endpoint, got.append, lane="orders", name="governor", position=position).start()
        assert await server.drain(5)
        assert got == numbers(7, 20)
        forgetful = LaneReceiver(endpoint, got.append, lane="orders", name="governor")
        await again.close()
        server.send_nowait(b"20")
        await forgetful.start()
        assert await server.drain(5)
        assert got == numbers(7, 21)
        await forgetful.close()
        await server.close()

    run(scenario)


def test_a_restarted_sender_begins_a_new_epoch_and_may_listen_elsewhere(endpoint: str) -> None:
    async def scenario() -> None:
        got: list[bytes] = []
        events: list[LaneEvent] = []
        server = await LaneServer("orders", LaneKind.RELIABLE, endpoint, token=TOKEN, epoch=1).start()
        receiver = LaneReceiver(
            lambda: server.endpoint, got.append, lane="orders", name="governor", token=TOKEN, on_event=events.append
        )
        await receiver.start()
        server.send_nowait(b"old life")
        await until(lambda: got)
        await server.close()
        server = await LaneServer("orders", LaneKind.RELIABLE, "tcp://127.0.0.1:0", token=TOKEN, epoch=2).start()
        server.send_nowait(b"new life")
        assert await server.drain(5)
        assert got == [b"old life", b"new life"]
        assert [type(event) for event in events] == [
            LaneConnected,
            LaneDisconnected,
            LaneEpochChanged,
            LaneConnected,
        ]
        await receiver.close()
        await server.close()

    run(scenario)


def test_older_lives_are_fenced_on_both_sides(endpoint: str) -> None:
    async def scenario() -> None:
        server = await LaneServer("orders", LaneKind.RELIABLE, endpoint, epoch=9).start()
        new = LaneReceiver(endpoint, lambda _: None, lane="orders", name="governor", incarnation=2)
        old = LaneReceiver(endpoint, lambda _: None, lane="orders", name="governor", incarnation=1)
        await (await old.start()).wait_connected(5)
        await (await new.start()).wait_connected(5)
        assert "replaced by a newer one" in str(await old.wait_stopped())
        revenant = LaneReceiver(endpoint, lambda _: None, lane="orders", name="governor", incarnation=1)
        assert "replaced by a newer one" in str(await (await revenant.start()).wait_stopped())
        wary = LaneReceiver(endpoint, lambda _: None, lane="orders", name="executor", position=LanePosition(10, 1))
        with pytest.raises(TimeoutError, match="sender has epoch 9, already seen 10"):
            await (await wary.start()).wait_connected(0.2)
        for receiver in (new, old, revenant, wary):
            await receiver.close()
        await server.close()

    run(scenario)


def test_a_slow_receiver_of_market_data_gets_the_latest_per_key(endpoint: str) -> None:
    async def scenario() -> None:
        got: list[bytes] = []
        gate = asyncio.Event()

        async def slow(payload: bytes) -> None:
            await gate.wait()
            got.append(payload)

        server = await LaneServer("ticks", LaneKind.CONFLATED, endpoint, window=4, capacity=2).start()
        receiver = await LaneReceiver(endpoint, slow, lane="ticks", name="strategist").start()
        await receiver.wait_connected(5)
        for number in range(1000):
            server.send_nowait(b"BTC %d" % number, key=b"BTC")
            server.send_nowait(b"ETH %d" % number, key=b"ETH")
            if number % 10 == 0:
                await asyncio.sleep(0)
        with pytest.raises(LaneFull, match="2 waiting"):
            server.send_nowait(b"SOL", key=b"SOL")
        gate.set()
        assert await server.drain(5)
        assert len(got) <= 4 + 4
        assert got[-2:] == [b"BTC 999", b"ETH 999"]
        assert server.counters().conflated == 2000 - len(got)
        late: list[bytes] = []
        latecomer = await LaneReceiver(endpoint, late.append, lane="ticks", name="late").start()
        await until(lambda: len(late) == 2)
        assert late == [b"BTC 999", b"ETH 999"]
        for each in (receiver, latecomer):
            await each.close()
        await server.close()

    run(scenario)


def test_a_message_is_acknowledged_only_when_its_coroutine_has_returned(endpoint: str) -> None:
    async def scenario() -> None:
        gate = asyncio.Event()
        handled: list[bytes] = []

        async def handle(payload: bytes) -> None:
            await gate.wait()
            handled.append(payload)

        server = await LaneServer("orders", LaneKind.RELIABLE, endpoint).start()
        receiver = await LaneReceiver(endpoint, handle, lane="orders", name="ledger").start()
        for payload in numbers(0, 3):
            server.send_nowait(payload)
        await until(lambda: receiver.counters().waiting == 2)
        assert not await server.drain(0.05)
        assert server.counters().waiting == 3
        server._links["ledger"].abort("cut by the test")
        await until(lambda: not receiver.is_connected)
        gate.set()
        assert await server.drain(5)
        assert handled == numbers(0, 3)
        await receiver.close()
        await server.close()

    run(scenario)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_that_raises_stops_the_lane_and_keeps_the_message(endpoint: str, is_async: bool) -> None:
    async def scenario() -> None:
        events: list[LaneEvent] = []

        def fail(payload: bytes) -> None:
            raise KeyError("our bug")

        async def fail_later(payload: bytes) -> None:
            raise KeyError("our bug")

        server = await LaneServer("orders", LaneKind.RELIABLE, endpoint).start()
        handler = fail_later if is_async else fail
        receiver = LaneReceiver(endpoint, handler, lane="orders", name="governor", on_event=events.append)
        await receiver.start()
        server.send_nowait(b"order")
        assert "our bug" in str(await receiver.wait_stopped())
        assert any(isinstance(event, LaneFailed) for event in events)
        await receiver.close()
        got: list[bytes] = []
        mended = await LaneReceiver(endpoint, got.append, lane="orders", name="governor").start()
        assert await server.drain(5)
        assert got == [b"order"]
        await mended.close()
        await server.close()

    run(scenario)


@pytest.mark.parametrize(
    ("lane", "token", "why"),
    [
        pytest.param("orders", b"another secret!!", "does not know the token", id="token"),
        pytest.param("ticks", TOKEN, "this is lane 'orders', not 'ticks'", id="lane"),
    ],
)
def test_strangers_are_refused(lane: str, token: bytes, why: str) -> None:
    async def scenario() -> None:
        server = await LaneServer("orders", LaneKind.RELIABLE, "tcp://127.0.0.1:0", token=TOKEN).start()
        server.send_nowait(b"secret order")
        got: list[bytes] = []
        stranger = await LaneReceiver(server.endpoint, got.append, lane=lane, name="governor", token=token).start()
        assert why in str(await stranger.wait_stopped())
        _, host, port = parse_endpoint(server.endpoint)
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert b"secret order" not in await reader.read()
        writer.close()
        assert not got
        assert server.counters().waiting == 1
        await stranger.close()
        await server.close()

    run(scenario)


def test_both_ends_prove_the_token_on_fresh_nonces() -> None:
    nonce, other = new_nonce(), new_nonce()
    hello = Hello(lane="orders", name="governor", incarnation=1, epoch=None, sequence=0, nonce=nonce)
    assert open_hello(seal_hello(hello, TOKEN, other), TOKEN, other) == hello
    with pytest.raises(RemoteProtocolError, match="token"):
        open_hello(seal_hello(hello, TOKEN, other), TOKEN, nonce)  # an old handshake played back
    with pytest.raises(RemoteProtocolError, match="token"):
        open_welcome(seal_hello(hello, TOKEN, other), TOKEN, other)  # a receiver's words turned around
    with pytest.raises(RemoteProtocolError, match="malformed WELCOME"):
        open_welcome(seal_welcome(hello, TOKEN, other), TOKEN, other)  # type: ignore[arg-type]


def test_the_socket_is_ours_alone_and_a_stale_one_is_replaced(endpoint: str) -> None:
    path = Path(endpoint.removeprefix("unix://"))

    async def scenario() -> None:
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(path))
        stale.close()
        server = await LaneServer("orders", LaneKind.RELIABLE, endpoint).start()
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        await server.close()
        assert not path.exists()

    run(scenario)


def test_a_silent_half_open_line_is_cut_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(link, "SILENCE_S", 0.1)

    async def scenario() -> None:
        got: list[bytes] = []
        is_forwarding = True

        async def pump(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forwards: Callable[[], bool]
        ) -> None:
            while data := await reader.read(65536):
                if forwards():
                    writer.write(data)
            writer.close()

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            born_forwarding = is_forwarding
            _, host, port = parse_endpoint(server.endpoint)
            far_reader, far_writer = await asyncio.open_connection(host, port)
            check = (lambda: is_forwarding) if born_forwarding else (lambda: True)
            await asyncio.gather(pump(reader, far_writer, check), pump(far_reader, writer, check))

        server = await LaneServer("orders", LaneKind.RELIABLE, "tcp://127.0.0.1:0", token=TOKEN).start()
        middle = await asyncio.start_server(forward, "127.0.0.1", 0)
        port = middle.sockets[0].getsockname()[1]
        receiver = LaneReceiver(f"tcp://127.0.0.1:{port}", got.append, lane="orders", name="governor", token=TOKEN)
        await (await receiver.start()).wait_connected(5)
        is_forwarding = False  # the first line goes silent, its sockets stay open
        server.send_nowait(b"order")
        assert await server.drain(5)
        assert got == [b"order"]
        assert receiver.counters().connections == 2
        await receiver.close()
        middle.close()
        await server.close()

    run(scenario)


@pytest.mark.parametrize(
    ("endpoint_given", "message"),
    [
        ("unix://relative.sock", "must be absolute"),
        (f"unix:///{'x' * 120}", "path is over 107 bytes"),
        ("tcp://host", "expected unix:///path or tcp://host:port"),
        ("tcp://host:70000", "expected unix:///path or tcp://host:port"),
        ("http://host:80", "expected unix:///path or tcp://host:port"),
        ("tcp://127.0.0.1:0", "needs at least 16"),
    ],
)
def test_bad_endpoints_are_named(endpoint_given: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LaneServer("orders", LaneKind.RELIABLE, endpoint_given)


def test_an_oversized_payload_is_refused_at_the_sender() -> None:
    with pytest.raises(ValueError, match="limit is 16777216"):
        encode_frame(FrameKind.MESSAGE, 1, bytes(16 * 1024 * 1024 + 1))
