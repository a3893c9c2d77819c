"""All machines of one account under one seeded scheduler, with lanes that delay and actors that die.

What is modelled: lanes keep their own order and nothing else, so messages of different lanes interleave in every
way; an actor dies between two messages and loses what of its journal was not durable, as its shell does; it is rebuilt
by its journal with the instructions dropped, finishes what it had begun, says its last message per lane again, and is
told again what its journal lacks; an answer of the venue is lost and the order's outcome unknown.

Two deaths at once are not modelled: while an actor has not heard again what it lost, its senders live.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from actors.executor.machine import ExecutorMachine, SubmitOrders, VenueInstruction
from actors.executor.paper import PaperVenue
from actors.governor.machine import GovernorMachine
from actors.market_feed.machine import MarketFeedMachine
from actors.market_feed.source import iterate_closes
from actors.messages import (
    Approvals,
    Message,
    Record,
    Send,
    Tick,
    VenueReported,
    get_ts_known_ns,
)
from actors.plan import Plan
from actors.strategist.machine import StrategistMachine
from market.catalog import MarketData
from market.events import Fill, OrderRequest, OrderType
from tests.parity.trace import merge_records

FEED, GOVERNOR, EXECUTOR = "market_feed", "governor", "executor"
EPOCH = 1
LOST_ENTRIES_MAX = 12  # of a journal, at a death


@dataclass(frozen=True)
class Chances:
    """How likely each trouble is, per step or per order."""

    death: float = 0.0
    lost_answer: float = 0.0  # the venue took the orders, nobody knows
    lost_request: float = 0.0  # the venue never heard of them
    tick: float = 0.02


@dataclass
class Lane:
    """What one actor says to another. `heard` messages were handled; a dying sender takes the rest with it."""

    said: list[Message] = field(default_factory=list)
    heard: int = 0
    heard_most: int = 0

    @property
    def is_waiting(self) -> bool:
        return self.heard < len(self.said)


@dataclass(frozen=True)
class Entry:
    """One line of a journal: an event with its place on its lane ("" and -1: an outcome), or a note."""

    message: Message
    is_event: bool
    sender: str = ""
    place: int = -1


class SimulatedVenue:
    """The paper venue behind a line that loses requests and answers; which, follows from seed and order id.

    So a venue that is rebuilt loses the same ones again. Checks that no order id is ever sent twice.
    """

    def __init__(self, plan: Plan, seed: int, chances: Chances) -> None:
        self.paper = PaperVenue(plan)
        self.ts_close_ns = 0
        self.filled_lots: dict[str, int] = {}
        self._sent_ids: set[str] = set()
        self._trade_ids: set[str] = set()
        self._seed, self._chances = seed, chances

    def perform(self, instruction: VenueInstruction, ts_now_ns: int) -> VenueReported:
        """Return what the caller hears of it."""
        luck = 1.0
        if isinstance(instruction, SubmitOrders):
            ids = [request.client_order_id for request in instruction.requests]
            assert self._sent_ids.isdisjoint(ids), f"sent twice: {ids}"
            self._sent_ids.update(ids)
            luck = np.random.default_rng([self._seed, int(ids[0], 16) % (1 << 32)]).random()
            if luck < self._chances.lost_request:
                return VenueReported((), unknown_ids=tuple(ids))
        report = self.paper.perform(instruction, ts_now_ns)
        self.ts_close_ns = max(self.ts_close_ns, report.ts_close_ns)
        self._tally(report)
        if isinstance(instruction, SubmitOrders) and luck < self._chances.lost_request + self._chances.lost_answer:
            return VenueReported((), unknown_ids=tuple(request.client_order_id for request in instruction.requests))
        return report

    def _tally(self, report: VenueReported) -> None:
        for event in report.events:
            if isinstance(event, Fill) and event.trade_id not in self._trade_ids:
                self._trade_ids.add(event.trade_id)
                lots = self.filled_lots.get(event.instrument_id, 0)
                self.filled_lots[event.instrument_id] = lots + event.side * event.fill_qty_lots


class Node:
    """One actor: a machine, its journal, its clock."""

    def __init__(self, name: str, make_machine: Callable[[], Any]) -> None:
        self.name = name
        self.make_machine = make_machine
        self.machine = make_machine()
        self.journal: list[Entry] = []
        self.durable = 0  # entries that outlive a death
        self.ts_now_ns = 0
        self.past: deque[Entry] = deque()  # of an earlier life, not yet lived again
        self.last_said: dict[str, Message] = {}  # by an earlier life: it may not have arrived


class World:
    """Machines, lanes and the venue of one plan over one market; `run` steps until nothing is left to do."""

    def __init__(self, plan: Plan, market: MarketData, seed: int, chances: Chances) -> None:
        self.plan, self.market, self.seed, self.chances = plan, market, seed, chances
        self.random = np.random.default_rng(seed)
        self.deaths = 0
        self.unknowns = 0
        strategists = [f"strategist.{index}-{part.name}" for index, part in enumerate(plan.strategies)]
        window = int(self.random.integers(1, 20))
        subscribers = (EXECUTOR, *strategists, GOVERNOR)
        self.nodes = {
            FEED: Node(FEED, lambda: MarketFeedMachine(plan.interval_ns, subscribers, window)),
            EXECUTOR: Node(EXECUTOR, lambda: ExecutorMachine(plan, EPOCH)),
            GOVERNOR: Node(GOVERNOR, lambda: GovernorMachine(plan, EPOCH)),
        }
        for index, name in enumerate(strategists):
            self.nodes[name] = Node(name, lambda index=index: StrategistMachine(plan, index))  # type: ignore[misc]
        listeners = {
            FEED: subscribers,
            EXECUTOR: (GOVERNOR, *strategists),
            GOVERNOR: (EXECUTOR, FEED),
            **dict.fromkeys(strategists, (GOVERNOR,)),
        }
        self.lanes = {(sender, name): Lane() for sender, names in listeners.items() for name in names}
        self.venue = self._make_venue()
        self._source = iterate_closes(market)
        self._next_bars = next(self._source, None)
        self.checks = 0

    def _make_venue(self) -> SimulatedVenue:
        return SimulatedVenue(self.plan, self.seed, self.chances)

    # ---- the scheduler

    def run(self) -> None:
        """Take one random step after another until every bar is governed; check the invariants after each."""
        while True:
            steps = list(self._list_steps())
            if not steps:
                break
            if self.random.random() < self.chances.death:
                self._kill(self.nodes[str(self.random.choice(list(self.nodes)))])
            elif self.random.random() < self.chances.tick:
                self._hear(self.nodes[EXECUTOR], Entry(Tick(), is_event=True))
            else:
                steps[int(self.random.integers(len(steps)))]()
            self.check()
        assert self._next_bars is None, f"stuck: {self._describe()}"

    def _list_steps(self) -> Iterator[Callable[[], None]]:
        for key, lane in self.lanes.items():
            if lane.is_waiting:
                yield lambda key=key: self._deliver(*key)  # type: ignore[misc]
        if self._next_bars is not None and self.nodes[FEED].machine.is_open:
            yield self._publish

    def _describe(self) -> str:
        waiting = {f"{sender}>{name}": len(lane.said) - lane.heard for (sender, name), lane in self.lanes.items()}
        return f"waiting {waiting}, next bars {self._next_bars}"

    def _publish(self) -> None:
        assert self._next_bars is not None
        feed, bars = self.nodes[FEED], self._next_bars
        self._next_bars = next(self._source, None)
        self._perform(feed, feed.machine.handle(bars, bars.ts_close_ns))

    def _deliver(self, sender: str, name: str) -> None:
        lane = self.lanes[sender, name]
        message = lane.said[lane.heard]
        lane.heard += 1
        lane.heard_most = max(lane.heard_most, lane.heard)
        self._hear(self.nodes[name], Entry(message, is_event=True, sender=sender, place=lane.heard))

    # ---- what a shell does

    def _hear(self, node: Node, entry: Entry) -> None:
        node.ts_now_ns = max(node.ts_now_ns, get_ts_known_ns(entry.message))
        node.journal.append(entry)
        self._perform(node, node.machine.handle(entry.message, node.ts_now_ns))

    def _perform(self, node: Node, instructions: list[Any]) -> None:
        # What an earlier life has done is in `past`: it is taken from there, in the order in which it was done.
        for instruction in instructions:
            match instruction:
                case Send():
                    for name in self._list_receivers(node, instruction):
                        if node.past:
                            node.last_said[name] = instruction.message
                        else:
                            self._say(node, name, instruction.message)
                case Record():
                    node.journal.append(self._take_past(node, instruction.message))
                    if instruction.is_awaited:
                        node.durable = max(node.durable, len(node.journal))
                case _:
                    outcome = self.venue.perform(instruction, node.ts_now_ns)
                    self.unknowns += len(outcome.unknown_ids)
                    self._hear(node, self._take_past(node, outcome, is_event=True))

    def _take_past(self, node: Node, message: Message, is_event: bool = False) -> Entry:
        entry = Entry(message, is_event)
        if node.past:
            assert node.past.popleft() == entry, f"{node.name} does something else when it lives again"
        return entry

    def _say(self, node: Node, name: str, message: Message) -> None:
        last_said, node.last_said = node.last_said, {}
        for receiver, last in [*last_said.items(), (name, message)]:
            self.lanes[node.name, receiver].said.append(last)

    def _list_receivers(self, node: Node, instruction: Send) -> list[str]:
        return [
            name
            for sender, name in self.lanes
            if sender == node.name and any(name == to or name.startswith(f"{to}.") for to in instruction.to)
        ]

    # ---- death and recovery

    def _kill(self, node: Node) -> None:
        outbound = [lane for (sender, _), lane in self.lanes.items() if sender == node.name]
        if any(lane.heard < lane.heard_most for lane in outbound):
            return  # somebody has yet to hear again what this one keeps for it
        self.deaths += 1
        keep = max(node.durable, len(node.journal) - int(self.random.integers(0, LOST_ENTRIES_MAX)))
        node.journal = node.journal[:keep]
        for lane in outbound:
            del lane.said[lane.heard :]
        node.machine, node.ts_now_ns = node.make_machine(), 0
        if node.name == EXECUTOR:
            self.venue = self._make_venue()
        for (sender, name), lane in self.lanes.items():
            if name == node.name:
                places = [entry.place for entry in node.journal if entry.sender == sender]
                lane.heard = places[-1] if places else 0
        node.past, node.journal = deque(node.journal), []
        while node.past:
            self._hear(node, node.past.popleft())
        last_said, node.last_said = node.last_said, {}
        for name, message in last_said.items():
            self._say(node, name, message)
        if node.name == FEED:
            self._rewind_source(node)

    def _rewind_source(self, node: Node) -> None:
        ts_confirmed_ns = max(
            (entry.message.ts_close_ns for entry in node.journal if isinstance(entry.message, Approvals)), default=0
        )
        self._source = (bars for bars in iterate_closes(self.market) if bars.ts_close_ns > ts_confirmed_ns)
        self._next_bars = next(self._source, None)

    # ---- invariants

    def check(self) -> None:
        """Fills make the position, what is held is protected, money is a number."""
        self.checks += 1
        positions = dict(self.venue.paper.list_positions())
        filled = {name: lots for name, lots in self.venue.filled_lots.items() if lots != 0}
        assert filled == positions
        ours = self.nodes[EXECUTOR].machine.list_positions()
        assert dict(ours) == positions, (ours, positions)
        assert math.isfinite(self.venue.paper.equity_quote)
        if not self.plan.limits.enabled:
            return
        for instrument_id, qty_lots in positions.items():
            side = -1 if qty_lots > 0 else 1
            resting = [
                order
                for order in self.venue.paper.list_orders(instrument_id)
                if order.order_type is OrderType.STOP_MARKET and order.is_armed and order.side == side
            ]
            assert [order.qty_leaves_lots for order in resting] == [abs(qty_lots)], (instrument_id, qty_lots, resting)

    # ---- what it came to

    def list_records(self) -> list[Message]:
        """Return what the ledger was told that a replay traces too, in the order of the account's own time."""
        executor, governor = self._list_notes(EXECUTOR, Message), self._list_notes(GOVERNOR, Message)
        return merge_records(executor, governor, self.market.interval_ns)

    def list_requests(self) -> list[OrderRequest]:
        """Return every order that was noted before it was sent."""
        return [message for message in self._list_notes(EXECUTOR, OrderRequest) if isinstance(message, OrderRequest)]

    def _list_notes(self, name: str, kinds: Any) -> list[Message]:
        journal = self.nodes[name].journal
        return [entry.message for entry in journal if not entry.is_event and isinstance(entry.message, kinds)]
