"""The live machines' side of the parity proof: one account run in process, told in the rows that a replay traces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from actors.in_process import GOVERNOR, InProcessHouse
from actors.market_feed.source import iterate_closes
from actors.messages import EquityMarked, Message, SlotDecided, StopMoved
from actors.plan import Plan, StrategyPlan
from market.arrays import write_record
from market.catalog import MarketData
from market.events import BarsClosed, Fill, FillKind, FundingPaid
from market.fills import Costs
from market.reasons import Reason
from risk.desk import CASH, FEES, FUNDING
from risk.limits import Limits
from strategies.catalog import get_idea
from sweeps.replay import replay
from sweeps.tape import TRACE_DECISION, TRACE_DTYPE, TRACE_FILL, TRACE_FUNDING, TRACE_STOP_MOVE, TraceRow

Array = np.ndarray[Any, Any]

TRACE_ROWS_MAX = 1 << 16
HOLD_REASONS = (Reason.NO_SIGNAL, Reason.FEATURES_NOT_READY, Reason.INPUT_NOT_FINITE)


@dataclass(frozen=True, slots=True)
class Case:
    """One account: everything that a replay and a house are given."""

    market: MarketData
    params: tuple[Any, ...]
    limits: Limits
    costs: Costs
    equity_start_quote: float = 10_000.0

    def make_plan(self) -> Plan:
        """Return the same account for the machines."""
        return Plan(
            instruments=self.market.instruments,
            strategies=(StrategyPlan(get_idea(self.params).name, self.params),),
            limits=self.limits,
            costs=self.costs,
            equity_start_quote=self.equity_start_quote,
            interval_ns=self.market.interval_ns,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to, the same from either side; arrays are compared by their bytes."""

    trace: Array  # TraceRow[rows]
    equity_quote: Array  # float64[T], at each close
    denials: Array  # int64[reasons]
    fees_quote: float
    funding_quote: float


def run_replay_side(case: Case, trace_rows_max: int = TRACE_ROWS_MAX) -> Outcome:
    """Replay the case, compiled."""
    result, trace = replay(
        case.market, case.params, case.limits, case.costs, case.equity_start_quote, trace_rows_max=trace_rows_max
    )
    assert len(trace) < TRACE_ROWS_MAX
    return Outcome(
        _merge_hold_reasons(trace), result.equity_quote, result.denials, result.fees_quote, result.funding_quote
    )


def _merge_hold_reasons(trace: Array) -> Array:
    # A forced exit is decided under a HOLD. Why the strategy held never leaves the strategist, so the governor's
    # record says NO_SIGNAL; nothing depends on it.
    trace = trace.copy()
    trace["reason"][(trace["kind"] == TRACE_DECISION) & np.isin(trace["reason"], HOLD_REASONS)] = Reason.NO_SIGNAL
    return trace


def run_live_side(case: Case, house: InProcessHouse | None = None) -> Outcome:
    """Run the case through the machines; venue and governor must agree on the account's worth at every close."""
    house = house or InProcessHouse(case.make_plan())
    for closed in iterate_closes(case.market):
        step(house, closed)
    return read_house(house)


def step(house: InProcessHouse, closed: BarsClosed) -> None:
    """One interval; then the venue's and the governor's accounts are the same, to the bit."""
    house.run([closed])
    marked = next(record for record in reversed(house.records) if isinstance(record, EquityMarked))
    assert marked.ts_close_ns == closed.ts_close_ns
    assert marked.equity_quote == house.venue.equity_quote


def read_house(house: InProcessHouse) -> Outcome:
    """Return what a house has recorded."""
    desk = house.machines[GOVERNOR].desk
    equity_quote = [record.equity_quote for record in house.records if isinstance(record, EquityMarked)]
    assert float(desk.money_quote[CASH]) == house.venue.cash_quote
    return Outcome(
        make_trace(house.records, house.plan),
        np.array(equity_quote),
        desk.denials,
        float(desk.money_quote[FEES]),
        float(desk.money_quote[FUNDING]),
    )


def make_trace(records: Sequence[Message], plan: Plan) -> Array:
    """Return TraceRow[rows] of what the ledger was told of a one-strategy account, in the same order."""
    slots = {instrument.instrument_id: slot for slot, instrument in enumerate(plan.instruments)}
    rows = [row for record in records if (row := _make_row(record, slots)) is not None]
    trace = np.zeros(len(rows), TRACE_DTYPE)
    for index, row in enumerate(rows):
        write_record(trace, index, row)
    return trace


def _make_row(record: Message, slots: dict[str, int]) -> TraceRow | None:
    match record:
        case Fill():
            qty_lots = record.side * record.fill_qty_lots
            slot, px, fee_quote = slots[record.instrument_id], record.fill_px, record.fee_quote
            return TraceRow(TRACE_FILL, record.ts_event_ns, slot, record.kind, 0, qty_lots, 0, px, fee_quote)
        case FundingPaid():
            slot, px, amount_quote = slots[record.instrument_id], record.index_px, record.amount_quote
            return TraceRow(TRACE_FUNDING, record.ts_event_ns, slot, 0, 0, record.qty_lots, 0, px, amount_quote)
        case SlotDecided():
            return TraceRow(
                TRACE_DECISION,
                record.ts_close_ns,
                record.slot,
                record.reason,
                record.denial,
                record.entry_lots,
                record.reduce_lots,
                record.stop_px,
                record.take_profit_px,
            )
        case StopMoved():
            return TraceRow(TRACE_STOP_MOVE, record.ts_close_ns, record.slot, 0, 0, 0, 0, record.stop_px, 0.0)
    return None


def merge_records(executor: Sequence[Message], governor: Sequence[Message], interval_ns: int) -> list[Message]:
    """Return what two actors recorded, in the account's own order: at each close first the venue's doings."""
    rows = [(_get_ts_close_ns(message, interval_ns), 0, message) for message in executor]
    rows += [(_get_ts_close_ns(message, interval_ns), 1, message) for message in governor]
    return [message for ts_ns, _, message in sorted(rows, key=lambda row: row[:2]) if ts_ns > 0]


def _get_ts_close_ns(message: Message, interval_ns: int) -> int:
    match message:
        case Fill(kind=FillKind.LIQUIDATION):
            return message.ts_event_ns
        case Fill() | FundingPaid():
            return (message.ts_event_ns // interval_ns + 1) * interval_ns
        case SlotDecided() | StopMoved() | EquityMarked():
            return message.ts_close_ns
    return 0  # no row of a trace


def find_difference(live: Outcome, replayed: Outcome) -> str:
    """Return the first difference in words, "" where both are the same to the bit."""
    for index in range(min(len(live.trace), len(replayed.trace))):
        if live.trace[index].tobytes() != replayed.trace[index].tobytes():
            return f"row {index}: live {_tell(live.trace[index])}\n replayed {_tell(replayed.trace[index])}"
    if len(live.trace) != len(replayed.trace):
        longer = max(live.trace, replayed.trace, key=len)
        row = longer[min(len(live.trace), len(replayed.trace))]
        return f"rows: live {len(live.trace)}, replayed {len(replayed.trace)}; the first extra one is {_tell(row)}"
    if live.equity_quote.tobytes() != replayed.equity_quote.tobytes():
        return f"equity: {live.equity_quote} and {replayed.equity_quote}"
    if live.denials.tobytes() != replayed.denials.tobytes():
        return f"denials: {tell_denials(live.denials)} and {tell_denials(replayed.denials)}"
    for name in ("fees_quote", "funding_quote"):
        if getattr(live, name) != getattr(replayed, name):
            return f"{name}: {getattr(live, name)!r} and {getattr(replayed, name)!r}"
    return ""


def tell_denials(denials: Array) -> dict[str, int]:
    """Return the counts by name."""
    return {Reason(reason).name: int(count) for reason, count in enumerate(denials) if count}


def _tell(row: Any) -> str:
    return str(dict(zip(row.dtype.names, row.item(), strict=True)))
