"""The order path without Ray: the same machines, messages handed over in one deterministic order.

For parity tests, the deterministic simulation, and exact replay of a journal. What shells do with sockets and the
ledger is done here with a queue and a list.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

from actors.executor.machine import ExecutorMachine
from actors.executor.paper import PaperVenue
from actors.governor.machine import GovernorMachine
from actors.market_feed.machine import MarketFeedMachine
from actors.messages import Message, Record, Send, get_ts_known_ns
from actors.plan import Plan
from actors.strategist.machine import StrategistMachine
from market.events import BarsClosed

FEED, GOVERNOR, EXECUTOR = "market_feed", "governor", "executor"


class InProcessHouse:
    """All machines of one paper account. `records` collects what the ledger would be told, in order."""

    def __init__(self, plan: Plan, epoch: int = 1) -> None:
        self.plan = plan
        self.records: list[Message] = []
        self.alerts: list[Message] = []
        self.venue = PaperVenue(plan)
        self.governor = GovernorMachine(plan, epoch)
        self.feed = MarketFeedMachine(plan.interval_ns, (EXECUTOR, "strategist", GOVERNOR))
        self.machines: dict[str, Any] = {
            FEED: self.feed,
            EXECUTOR: ExecutorMachine(plan, epoch),
            GOVERNOR: self.governor,
        }
        for index, strategy in enumerate(plan.strategies):
            self.machines[f"strategist.{index}-{strategy.name}"] = StrategistMachine(plan, index)
        self._queue: deque[tuple[str, Message]] = deque()
        self._ts_now_ns = 0

    def run(self, closes: Iterable[BarsClosed]) -> None:
        """Feed closed bars, oldest first, and let every message be handled before the next ones come."""
        for closed in closes:
            self.tell(FEED, closed)
            self.settle()

    def tell(self, name: str, message: Message) -> None:
        """Put one message on its way."""
        self._queue.append((name, message))

    def settle(self) -> None:
        """Hand over messages until none is on its way."""
        while self._queue:
            name, message = self._queue.popleft()
            self._ts_now_ns = max(self._ts_now_ns, get_ts_known_ns(message))
            self._perform(name, self.machines[name].handle(message, self._ts_now_ns))

    def _perform(self, name: str, instructions: list[Any]) -> None:
        for instruction in instructions:
            match instruction:
                case Send():
                    if "herald" in instruction.to:
                        self.alerts.append(instruction.message)
                    for receiver in self.machines:
                        if any(receiver == to or receiver.startswith(f"{to}.") for to in instruction.to):
                            self._queue.append((receiver, instruction.message))
                case Record():
                    self.records.append(instruction.message)
                case _:
                    report = self.venue.perform(instruction, self._ts_now_ns)
                    self._perform(name, self.machines[name].handle(report, self._ts_now_ns))
