"""The governor: sizes intents, runs the gate, latches, and binds approvals to exact fields, an epoch and an expiry."""

import hashlib
from typing import Any

from actors.inlet import Inlet
from actors.messages import (
    AccountUpdate,
    Alert,
    Approvals,
    Decisions,
    EquityMarked,
    Instruction,
    Message,
    OrderApproved,
    OrderPart,
    Record,
    Send,
    Severity,
    SlotDecided,
    SlotIntent,
    StopMoveApproved,
    StopMoved,
)
from actors.plan import Plan, make_intent_id
from market.events import BarsClosed, Fill, FundingPaid, OrderCanceled, OrderRejected
from market.reasons import Reason
from market.records import Action, Intent
from risk.desk import (
    CASH,
    FEES,
    FUNDING,
    Desk,
    SlotDecision,
    apply_fill_to_desk,
    apply_funding_to_desk,
    apply_stop_move,
    clear_entry,
    clear_reduce,
    compute_equity_quote,
    decide_slot,
    make_desk,
    mark_desk,
)

_HOLD = Intent(Action.HOLD.value, 0.0, 0.0, 0.0, Reason.NO_SIGNAL.value)


def make_digest(
    intent_id: str,
    leg: int,
    instrument_id: str,
    side: int,
    qty_lots: int,
    stop_px: float,
    take_profit_px: float,
    epoch: int,
    ts_expiry_ns: int,
) -> str:
    """Return the seal over the exact fields of an approval; the executor refuses an order that does not match it."""
    fields = (intent_id, leg, instrument_id, side, qty_lots, stop_px, take_profit_px, epoch, ts_expiry_ns)
    return hashlib.blake2b(repr(fields).encode(), digest_size=16).hexdigest()


class GovernorMachine:
    """One account's risk, in the steps of `risk.desk`.

    Invariants: a close is governed once, in order, and only with its bars, its account update and the decisions of
    every strategist at hand. A message of a close already governed is a repeat and changes nothing.
    """

    def __init__(self, plan: Plan, epoch: int) -> None:
        self._plan = plan
        self._epoch = epoch
        self._specs = plan.make_specs()
        self.desk: Desk = make_desk(
            self._specs, len(plan.strategies), plan.equity_start_quote, plan.limits, plan.list_priors()
        )
        self._bars: Inlet[BarsClosed] = Inlet()
        self._updates: list[Inlet[AccountUpdate]] = [Inlet() for _ in plan.executors]
        self._decisions: list[Inlet[Decisions]] = [Inlet() for _ in plan.strategies]
        self._latch = 0

    def handle(self, event: Message, ts_now_ns: int) -> list[Instruction]:
        """Take one message; govern every close that is complete."""
        match event:
            case BarsClosed():
                self._bars.offer(event)
            case AccountUpdate():
                self._updates[event.account].offer(event)
            case Decisions():
                self._decisions[event.strategy].offer(event)
            case _:
                raise TypeError(f"no handler for {type(event).__name__}")
        instructions: list[Instruction] = []
        while self._bars and all(self._updates) and all(self._decisions):
            instructions.extend(self._govern())
        return instructions

    def describe_account(self) -> dict[str, Any]:
        """Return equity, positions, latch and denials, for the live table."""
        account, denials = self.desk.account[0], self.desk.denials
        return {
            "equity_quote": float(account["equity_quote"]),
            "equity_day_start_quote": float(account["equity_day_start_quote"]),
            "cash_quote": float(self.desk.money_quote[CASH]),
            "fees_quote": float(self.desk.money_quote[FEES]),
            "funding_quote": float(self.desk.money_quote[FUNDING]),
            "latch": Reason(int(account["latch_reason"])).name,
            "denials": {Reason(reason).name: int(count) for reason, count in enumerate(denials) if count},
            "slots": [self._describe_slot(slot) for slot in range(len(self._specs))],
        }

    def _describe_slot(self, slot: int) -> dict[str, Any]:
        row, spec = self.desk.slots[slot], self._specs[slot]
        holding, orders = row["holding"], row["orders"]
        qty_lots, avg_px, mark_px = int(holding["qty_lots"]), float(holding["avg_px"]), float(row["mark_px"])
        return {
            "strategy": self._plan.strategies[spec.strategy].name,
            "instrument_id": self._plan.get_instrument(slot).instrument_id,
            "qty_base": qty_lots * spec.lot_base,
            "avg_px": avg_px,
            "mark_px": mark_px,
            "stop_px": float(orders["stop_px"]),
            "take_profit_px": float(orders["take_profit_px"]),
            "pnl_unrealized_quote": qty_lots * spec.lot_base * (mark_px - avg_px),
            "is_order_in_flight": bool(orders["entry_lots"] != 0 or orders["reduce_lots"] != 0),
        }

    def _govern(self) -> list[Instruction]:
        bars, updates = self._bars.take(), [inlet.take() for inlet in self._updates]
        decisions = [inlet.take() for inlet in self._decisions]
        ts_close_ns = bars.ts_close_ns
        assert {*(update.ts_close_ns for update in updates), *(wish.ts_close_ns for wish in decisions)} == {ts_close_ns}
        for slot, spec in enumerate(self._specs):
            self.desk.slots["mark_px"][slot] = bars.bars[spec.instrument].close_px
        for update in updates:
            self._book(update)
        self._note_protections(updates)
        equity_quote = float(compute_equity_quote(self.desk))
        mark_desk(self.desk, equity_quote, ts_close_ns)
        instructions = self._decide(bars, decisions)
        cash_quote = float(self.desk.money_quote[CASH])
        latch = int(self.desk.account[0]["latch_reason"])
        denials_total = int(self.desk.denials.sum())
        if not bars.is_history:
            instructions.append(Record(EquityMarked(ts_close_ns, equity_quote, cash_quote, latch, denials_total)))
        if latch != self._latch:
            self._latch = latch
            text = f"account latched by {Reason(latch).name}: nothing new is opened until it is released"
            alert = Alert(Severity.CRITICAL, f"governor.latch.{Reason(latch).name}", text, ts_close_ns)
            instructions += [Record(alert), Send(("herald",), alert)]
        return instructions

    def _book(self, update: AccountUpdate) -> None:
        for booked in update.booked:
            slot, event = booked.slot, booked.event
            if slot < 0:
                continue
            match event:
                case Fill():
                    qty_lots = event.side * event.fill_qty_lots
                    apply_fill_to_desk(
                        self.desk,
                        slot,
                        qty_lots,
                        event.fill_px,
                        event.fee_quote,
                        event.kind,
                        event.ts_event_ns,
                    )
                case FundingPaid():
                    apply_funding_to_desk(self.desk, slot, event.amount_quote)
                case OrderRejected() | OrderCanceled():
                    if booked.part is OrderPart.ENTRY:
                        clear_entry(self.desk, slot)
                    elif booked.part is OrderPart.REDUCE:
                        clear_reduce(self.desk, slot)
                case _:
                    pass

    def _note_protections(self, updates: list[AccountUpdate]) -> None:
        # What rests at the venue is the truth about stops: a move that it refused has not happened.
        stops_px = {protection.slot: protection.stop_px for update in updates for protection in update.protections}
        for slot, row in enumerate(self.desk.slots):
            if row["holding"]["qty_lots"] != 0:
                self.desk.slots["orders"]["stop_px"][slot] = stops_px.get(slot, 0.0)

    def _decide(self, bars: BarsClosed, decisions: list[Decisions]) -> list[Instruction]:
        ts_close_ns = bars.ts_close_ns
        intents = {wish.slot: wish for decision in decisions for wish in decision.intents}
        wishes = {wish.slot: wish.stop_px for decision in decisions for wish in decision.stop_wishes}
        records: list[Instruction] = []
        orders: list[OrderApproved] = []
        moves: list[StopMoveApproved] = []
        for slot, spec in enumerate(self._specs):
            if slot in wishes and apply_stop_move(self.desk, slot, wishes[slot]) == Reason.OK:
                moves.append(StopMoveApproved(slot, wishes[slot], self._epoch))
                records.append(Record(StopMoved(ts_close_ns, slot, wishes[slot])))
            wish = intents.get(slot) or self._make_hold(slot, ts_close_ns)
            bar = bars.bars[spec.instrument]
            decision = decide_slot(self.desk, slot, wish.intent, bar.quality, ts_close_ns)
            if wish.intent.action == Action.TARGET or decision.reduce_lots != 0:
                records.append(Record(self._describe(slot, wish, decision, ts_close_ns)))
                orders.extend(self._approve(slot, wish.intent_id, decision, ts_close_ns))
        approvals = Approvals(ts_close_ns, tuple(orders), tuple(moves))
        return [*records, Send(("executor", "market_feed"), approvals)]

    def _make_hold(self, slot: int, ts_close_ns: int) -> SlotIntent:
        # Nobody wished anything, but risk itself may close the position: that story needs an id too.
        strategy = self._plan.strategies[self._specs[slot].strategy].name
        instrument_id = self._plan.get_instrument(slot).instrument_id
        return SlotIntent(slot, make_intent_id(f"{strategy}|forced", instrument_id, ts_close_ns), _HOLD)

    def _describe(self, slot: int, wish: SlotIntent, decision: SlotDecision, ts_close_ns: int) -> SlotDecided:
        return SlotDecided(
            ts_close_ns,
            slot,
            wish.intent_id,
            int(wish.intent.reason),
            int(decision.denial),
            int(decision.entry_lots),
            int(decision.reduce_lots),
            int(decision.reduce_reason),
            float(decision.stop_px),
            float(decision.take_profit_px),
            wish.intent_id,
        )

    def _approve(self, slot: int, intent_id: str, decision: SlotDecision, ts_close_ns: int) -> list[OrderApproved]:
        legs = []
        if decision.reduce_lots != 0:
            legs.append((0, int(decision.reduce_lots), 0.0, 0.0, int(decision.reduce_reason)))
        if decision.entry_lots != 0:
            stop_px, take_profit_px = float(decision.stop_px), float(decision.take_profit_px)
            legs.append((1, int(decision.entry_lots), stop_px, take_profit_px, Reason.ENTRY_SIGNAL.value))
        instrument_id = self._plan.get_instrument(slot).instrument_id
        ts_expiry_ns = ts_close_ns + self._plan.approval_valid_intervals * self._plan.interval_ns
        approved = []
        for leg, qty_lots, stop_px, take_profit_px, reason in legs:
            side, lots = (1, qty_lots) if qty_lots > 0 else (-1, -qty_lots)
            digest = make_digest(
                intent_id, leg, instrument_id, side, lots, stop_px, take_profit_px, self._epoch, ts_expiry_ns
            )
            approved.append(
                OrderApproved(
                    intent_id,
                    leg,
                    slot,
                    instrument_id,
                    side,
                    lots,
                    stop_px,
                    take_profit_px,
                    reason,
                    self._epoch,
                    ts_expiry_ns,
                    digest,
                    intent_id,
                )
            )
        return approved
