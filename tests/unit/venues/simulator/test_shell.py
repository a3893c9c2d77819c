"""Real time for a simulator: blocks are heard one by one, and a reader who does not read holds up nobody else."""

import asyncio
from typing import Any

from market.records import NS_PER_S
from tests.unit.venues.order_requests import BTC, BUY, limit
from tests.unit.venues.simulator.test_driven_market import TS_NS, make_market
from venues.simulator.accounts import SimulatedAccount
from venues.simulator.delivery import DeliverySettings
from venues.simulator.driven_market import Block
from venues.simulator.faults import FaultBoard
from venues.simulator.shell import Outbox, World

DEADLINE_S = 30.0


def make_world(now_ns: list[int]) -> World:
    market = make_market()
    market.advance(TS_NS)
    return World(market, FaultBoard(), "test", lambda: now_ns[0])


def test_each_block_is_told_before_the_next_is_made() -> None:
    now_ns = [TS_NS]
    world = make_world(now_ns)
    seen: list[tuple[int, int]] = []
    world.listen(lambda block: seen.append((block.ts_event_ns, world.market.ts_now_ns)))
    now_ns[0] += 20 * NS_PER_S
    world.advance()
    assert len(seen) > 10
    assert all(told_ns == market_ns for told_ns, market_ns in seen)
    assert world.market.ts_now_ns == now_ns[0]


def test_what_a_listener_causes_is_told_after_what_it_heard() -> None:
    now_ns = [TS_NS]
    world = make_world(now_ns)
    heard: list[Block] = []
    acted: list[Block] = []

    def act(block: Block) -> None:
        if not acted:
            order = limit("1", BUY, 5, 50.0)
            acted.append(world.act(lambda ts_ns: world.market.submit("a", [order], ts_ns)))

    world.listen(act)
    world.listen(heard.append)
    now_ns[0] += 20 * NS_PER_S
    world.advance()
    assert acted[0] in heard
    numbers = [block.number for block in heard]
    assert numbers == sorted(numbers)
    assert len(heard) > 10


async def wait_for(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


class Socket:
    """A socket that reads, or not."""

    def __init__(self, is_stuck: bool = False) -> None:
        self.is_stuck, self.got, self.codes = is_stuck, list[bytes](), list[int]()

    async def send(self, payload: bytes) -> None:
        """Take a message, or never return."""
        if self.is_stuck:
            await asyncio.Event().wait()
        self.got.append(payload)

    async def close(self, code: int) -> None:
        """Note the code; one who does not read never sees a close frame."""
        self.codes.append(code)
        if self.is_stuck and code != 1006:
            await asyncio.Event().wait()


def test_a_stuck_reader_is_cut_and_stops_nobody() -> None:
    async def run() -> None:
        outbox = Outbox(make_world([TS_NS]), DeliverySettings(latency_median_ns=0, queue_max=50))
        stuck, fine = Socket(is_stuck=True), Socket()
        outbox.open("stuck", stuck.send, stuck.close)
        outbox.open("fine", fine.send, fine.close)
        task = asyncio.create_task(outbox.run())
        for number in range(200):
            outbox.push("stuck", "trades", b"x")
            outbox.push("fine", "trades", b"%d" % number)
            await wait_for(lambda number=number: len(fine.got) > number)
        await wait_for(lambda: stuck.codes == [1008, 1006])  # asked first, then by force
        assert fine.got == [b"%d" % number for number in range(200)]
        outbox.close("fine", 1001)
        await wait_for(lambda: fine.codes == [1001])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_a_broken_writer_ends_the_outbox_with_its_error() -> None:
    async def run() -> None:
        outbox = Outbox(make_world([TS_NS]), DeliverySettings(latency_median_ns=0))

        async def fail(payload: bytes) -> None:
            raise KeyError(payload)

        outbox.open("one", fail, Socket().close)
        outbox.push("one", "trades", b"x")
        task = asyncio.create_task(outbox.run())
        await asyncio.wait({task}, timeout=DEADLINE_S)
        assert isinstance(task.exception(), KeyError)

    asyncio.run(run())


def test_secrets_of_an_account_stay_out_of_its_repr() -> None:
    shown = repr(SimulatedAccount("0xabc", 5.0, "the key", "the words"))
    assert "0xabc" in shown
    assert "the key" not in shown
    assert "the words" not in shown


def test_a_market_names_its_instruments() -> None:
    assert make_market().instruments == (BTC,)
