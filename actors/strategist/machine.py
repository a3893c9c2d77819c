"""The strategist: observes each close, trails its stops, decides what to hold. Positions it knows by the venue only."""

from dataclasses import dataclass
from typing import Any

from actors.inlet import Inlet
from actors.messages import AccountUpdate, Decisions, Instruction, Message, Send, SlotIntent, StopWish
from actors.plan import Plan, make_intent_id
from market.events import BarsClosed, Fill, FillKind
from market.fills import apply_fill
from market.reasons import Reason
from market.records import POSITION_FLAT, Action, Bar, Intent, Position, Quality
from risk.stops import StopState, apply_trailing
from strategies.catalog import decide, new_state, observe

_NOT_TRADED = Quality.MISSING | Quality.NOT_FINITE | Quality.IMPOSSIBLE


@dataclass(slots=True)
class _Slot:
    instrument: int
    lot_base: float
    observed: Any
    position: Position = POSITION_FLAT
    stop_px: float = 0.0
    best_px: float = 0.0


class StrategistMachine:
    """One strategy over the account's instruments.

    Invariants: closes are decided in order and once; a close is decided only when its bars and the account's update
    of the same close are both here. A message of a close already decided is a repeat and changes nothing.
    """

    def __init__(self, plan: Plan, strategy: int) -> None:
        self._plan = plan
        self._strategy = strategy
        self._name = plan.strategies[strategy].name
        self._params = plan.strategies[strategy].params
        self._slots = {
            plan.find_slot(strategy, index): _Slot(index, instrument.lot_base, new_state(self._params))
            for index, instrument in enumerate(plan.instruments)
        }
        self._bars: Inlet[BarsClosed] = Inlet()
        self._updates: list[Inlet[AccountUpdate]] = [Inlet() for _ in plan.executors]

    def handle(self, event: Message, ts_now_ns: int) -> list[Instruction]:
        """Take bars or an account update; decide every close that is complete."""
        match event:
            case BarsClosed():
                self._bars.offer(event)
            case AccountUpdate():
                self._updates[event.account].offer(event)
            case _:
                raise TypeError(f"no handler for {type(event).__name__}")
        instructions: list[Instruction] = []
        while self._bars and all(self._updates):
            bars, updates = self._bars.take(), [inlet.take() for inlet in self._updates]
            assert {update.ts_close_ns for update in updates} == {bars.ts_close_ns}, (bars.ts_close_ns, updates)
            self._book(updates)
            instructions.append(Send(("governor",), self._decide(bars)))
        return instructions

    def describe_slots(self) -> list[dict[str, Any]]:
        """Return position and stop per slot, for the live table."""
        return [
            {
                "slot": index,
                "instrument_id": self._plan.instruments[slot.instrument].instrument_id,
                "qty_lots": slot.position.qty_lots,
                "avg_px": slot.position.avg_px,
                "stop_px": slot.stop_px,
            }
            for index, slot in self._slots.items()
        ]

    def _book(self, updates: list[AccountUpdate]) -> None:
        for booked in (booked for update in updates for booked in update.booked):
            slot = self._slots.get(booked.slot)
            if slot is None or not isinstance(booked.event, Fill):
                continue
            fill = booked.event
            is_entry = fill.kind == FillKind.ORDER and slot.position.qty_lots * fill.side >= 0
            slot.position, _ = apply_fill(
                slot.position, fill.side * fill.fill_qty_lots, fill.fill_px, slot.lot_base, fill.ts_event_ns
            )
            if is_entry:
                slot.best_px = slot.position.avg_px
        for slot in self._slots.values():
            slot.stop_px = 0.0
        for protection in (protection for update in updates for protection in update.protections):
            if protection.slot in self._slots:
                self._slots[protection.slot].stop_px = protection.stop_px

    def _decide(self, closed: BarsClosed) -> Decisions:
        intents: list[SlotIntent] = []
        wishes: list[StopWish] = []
        for index, slot in self._slots.items():
            bar = closed.bars[slot.instrument]
            slot.observed, features = observe(slot.observed, self._params, bar)
            if self._plan.limits.enabled and slot.position.qty_lots != 0 and slot.stop_px > 0.0:
                wishes.extend(self._trail(index, slot, bar))
            if closed.is_history:
                continue
            intent = decide(features, self._params, slot.position, closed.ts_close_ns)
            if self._is_breached(slot, bar) and intent.action == Action.HOLD:
                intent = Intent(Action.TARGET.value, 0.0, 0.0, 0.0, Reason.STOP.value)
            if intent.action != Action.HOLD:
                instrument_id = self._plan.instruments[slot.instrument].instrument_id
                intents.append(SlotIntent(index, make_intent_id(self._name, instrument_id, closed.ts_close_ns), intent))
        return Decisions(self._strategy, closed.ts_close_ns, tuple(intents), tuple(wishes))

    def _trail(self, index: int, slot: _Slot, bar: Bar) -> list[StopWish]:
        side = 1 if slot.position.qty_lots > 0 else -1
        stop = apply_trailing(
            StopState(slot.stop_px, slot.best_px),
            self._plan.limits.trailing,
            side,
            slot.position.avg_px,
            bar.high_px,
            bar.low_px,
        )
        slot.best_px = stop.best_px
        return [StopWish(index, stop.stop_px)] if stop.stop_px != slot.stop_px else []

    @staticmethod
    def _is_breached(slot: _Slot, bar: Bar) -> bool:
        # The first of three stop layers: the close is beyond a stop that should have fired at the venue, and did not.
        # A bar in which nothing was traded, or whose range cannot be, could not make it fire.
        if slot.position.qty_lots == 0 or slot.stop_px <= 0.0 or bar.quality & _NOT_TRADED:
            return False
        return (bar.close_px - slot.stop_px) * slot.position.qty_lots < 0.0
