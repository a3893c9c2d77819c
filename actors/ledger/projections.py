"""Which journal records become which rows of the history: one place, so that the views add up.

Money and prices are text: the shortest decimal that reads back as the same float (`repr`). Sums of them are taken in
`Decimal`, so a view's total is the exact sum of its rows. Integers (lots, times) are integers. A float that is not
finite has no row: `NotFiniteError` names it and the history counts it as a fault. What a sweep came to has no sums:
its statistics are REAL (NULL: undefined), and what belongs together is one JSON text ("null": there is none).

Actors tell each other the same facts, and an actor may tell one twice: each row has the fact's own key, the first
record of a fact makes the row, later ones change nothing.
"""

import json
import math
from collections.abc import Callable
from decimal import Context, Decimal, Inexact, localcontext
from typing import Any

import msgspec

from actors.journal import JournalRecord
from actors.messages import Alert, EquityMarked, Message, SlotDecided, StopMoved
from market.events import (
    Event,
    Fill,
    FundingPaid,
    OrderAccepted,
    OrderCanceled,
    OrderModified,
    OrderRejected,
    OrderRequest,
    OrderTriggered,
)

SCHEMA = """
CREATE TABLE progress (journal TEXT NOT NULL, seq INTEGER NOT NULL, run INTEGER NOT NULL) STRICT;
INSERT INTO progress VALUES ('', 0, 0);
CREATE TABLE faults (
    seq INTEGER PRIMARY KEY, run INTEGER NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL
) STRICT;
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, name TEXT NOT NULL, mode TEXT NOT NULL, slots TEXT NOT NULL, about TEXT NOT NULL,
    equity_start_quote TEXT NOT NULL, ts_start_ns INTEGER NOT NULL, ts_end_ns INTEGER, outcome TEXT
) STRICT;
CREATE TABLE intents (
    run INTEGER NOT NULL, intent_id TEXT NOT NULL, seq INTEGER NOT NULL, ts_close_ns INTEGER NOT NULL,
    slot INTEGER NOT NULL, reason INTEGER NOT NULL, denial INTEGER NOT NULL, entry_lots INTEGER NOT NULL,
    reduce_lots INTEGER NOT NULL, reduce_reason INTEGER NOT NULL, stop_px TEXT NOT NULL,
    take_profit_px TEXT NOT NULL, PRIMARY KEY (run, intent_id)
) STRICT, WITHOUT ROWID;
CREATE VIEW denials AS SELECT * FROM intents WHERE denial != 0;
CREATE TABLE stop_moves (
    run INTEGER NOT NULL, ts_close_ns INTEGER NOT NULL, slot INTEGER NOT NULL, seq INTEGER NOT NULL,
    stop_px TEXT NOT NULL, PRIMARY KEY (run, ts_close_ns, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE orders (
    run INTEGER NOT NULL, client_order_id TEXT NOT NULL, seq INTEGER NOT NULL, ts_ns INTEGER NOT NULL,
    instrument_id TEXT NOT NULL, side INTEGER NOT NULL, qty_lots INTEGER NOT NULL, order_type TEXT NOT NULL,
    limit_px TEXT NOT NULL, trigger_px TEXT NOT NULL, is_reduce_only INTEGER NOT NULL, cause_id TEXT NOT NULL,
    venue_order_id TEXT NOT NULL, status TEXT NOT NULL, message TEXT NOT NULL, ts_status_ns INTEGER NOT NULL,
    PRIMARY KEY (run, client_order_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE fills (
    run INTEGER NOT NULL, instrument_id TEXT NOT NULL, trade_id TEXT NOT NULL, seq INTEGER NOT NULL,
    client_order_id TEXT NOT NULL, venue_order_id TEXT NOT NULL, side INTEGER NOT NULL, fill_px TEXT NOT NULL,
    fill_qty_lots INTEGER NOT NULL, fee_quote TEXT NOT NULL, is_maker INTEGER NOT NULL, kind INTEGER NOT NULL,
    ts_event_ns INTEGER NOT NULL, cause_id TEXT NOT NULL, PRIMARY KEY (run, instrument_id, trade_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX fills_seq ON fills (seq);
CREATE INDEX fills_order ON fills (run, client_order_id);
CREATE TABLE funding (
    run INTEGER NOT NULL, instrument_id TEXT NOT NULL, ts_event_ns INTEGER NOT NULL, seq INTEGER NOT NULL,
    qty_lots INTEGER NOT NULL, funding_rate TEXT NOT NULL, index_px TEXT NOT NULL, amount_quote TEXT NOT NULL,
    PRIMARY KEY (run, instrument_id, ts_event_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE equity (
    run INTEGER NOT NULL, ts_close_ns INTEGER NOT NULL, seq INTEGER NOT NULL, equity_quote TEXT NOT NULL,
    cash_quote TEXT NOT NULL, latch INTEGER NOT NULL, denials_total INTEGER NOT NULL, PRIMARY KEY (run, ts_close_ns)
) STRICT, WITHOUT ROWID;
CREATE TABLE alerts (
    run INTEGER NOT NULL, seq INTEGER PRIMARY KEY, severity TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL,
    ts_event_ns INTEGER NOT NULL, cause_id TEXT NOT NULL
) STRICT;
CREATE TABLE optimizations (
    sweep_id TEXT PRIMARY KEY, seq INTEGER NOT NULL, ts_ns INTEGER NOT NULL, name TEXT NOT NULL,
    strategy TEXT NOT NULL, instrument_ids TEXT NOT NULL, data_sha256 TEXT NOT NULL, code_version TEXT NOT NULL,
    spec_sha256 TEXT NOT NULL, configs INTEGER NOT NULL, passed INTEGER NOT NULL, best_params TEXT NOT NULL,
    best_metrics TEXT NOT NULL, best_metrics_out_of_sample TEXT NOT NULL, deflated_sharpe_prob REAL, pbo_frac REAL,
    spa_p REAL, faults TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE optimization_rounds (
    sweep_id TEXT NOT NULL, round INTEGER NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, sampler TEXT NOT NULL,
    configs INTEGER NOT NULL, passed INTEGER NOT NULL, failures TEXT NOT NULL, region TEXT NOT NULL,
    distributions TEXT NOT NULL, PRIMARY KEY (sweep_id, round)
) STRICT, WITHOUT ROWID;
"""


class RunStarted(Event, frozen=True):
    """A run begins: every later record is part of it until the next one. `slots` names the slots, in slot order."""

    name: str
    mode: str  # "paper", "live", "demo"
    slots: tuple[str, ...]
    equity_start_quote: float
    about: str = ""  # what a reader needs to repeat it: settings, data hash, code version
    cause_id: str = ""


class RunEnded(Event, frozen=True):
    """The run is over; `outcome` says how, in a word."""

    outcome: str
    cause_id: str = ""


Number = int | float | None


class SweepRoundFinished(Event, frozen=True):
    """One round of a sweep: what was tried, what passed, how each metric is spread."""

    round: int  # counted from 1
    name: str
    sampler: str
    configs: int
    passed: int
    failures: dict[str, int]  # constraint -> configurations that fail it
    region: dict[str, list[Number]] | None  # parameter -> [lowest, highest] that the next round searches
    quantiles: dict[str, list[Number]]  # metric -> its 0, 5, 25, 50, 75, 95, 100 % quantiles
    cause_id: str  # the sweep's id: its story is all of its rounds


class SweepFinished(Event, frozen=True):
    """A whole sweep: its data, its best, and how much of that chance explains. The rounds come before it."""

    name: str
    strategy: str
    instrument_ids: list[str]
    data_sha256: str
    code_version: str
    spec_sha256: str
    configs: int
    passed: int
    best_params: dict[str, Number]
    best_metrics: dict[str, Number]
    best_metrics_out_of_sample: dict[str, Number] | None
    deflated_sharpe_prob: Number
    pbo_frac: Number
    spa_p: Number
    faults: list[str]  # why the best may not be promoted; []: it may
    cause_id: str  # the sweep's id


class NotFiniteError(ValueError):
    """A number that must add up is NaN or infinite."""


_EXACT = Context(prec=1400, traps=[Inexact])  # digits enough for any sum of doubles
Statement = tuple[str, tuple[object, ...]]
_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(
    Message | RunStarted | RunEnded | SweepRoundFinished | SweepFinished
)


def open_envelope(payload: bytes) -> bytes:
    """Return the message bytes of a payload: itself, or the last item where a shell wrapped it in an array.

    >>> open_envelope(msgspec.msgpack.encode(["a>b", 1, 7, {"type": "Tick"}]))
    b'\\x81\\xa4type\\xa4Tick'
    """
    if payload and 0x90 <= payload[0] <= 0x9F:  # msgpack: an array of up to 15 items
        return bytes(msgspec.msgpack.decode(payload, type=list[msgspec.Raw])[-1])
    return payload


def make_decimal_text(value: float) -> str:
    """Return the shortest decimal text that reads back as `value`, plain enough for Decimal.

    >>> make_decimal_text(0.1), make_decimal_text(1e-07), make_decimal_text(-0.0)
    ('0.1', '1e-07', '0.0')
    """
    if not math.isfinite(value):
        raise NotFiniteError(f"a number is {value!r}: money must be finite to add up")
    return repr(float(value) + 0.0)  # + 0.0: no negative zero


def make_json_text(value: object) -> str:
    """Return `value` as strict JSON; every float reads back as the same float.

    >>> make_json_text({"sharpe": 1.5, "profit_factor": None})
    '{"sharpe":1.5,"profit_factor":null}'
    """
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        raise NotFiniteError("a number is NaN or infinite: JSON has no word for it") from None


def add_decimals(texts: list[str]) -> str:
    """Return the exact sum of decimal texts.

    >>> add_decimals(["0.1", "0.2", "-0.3"]), add_decimals(["1e+25", "1e-10"])
    ('0.0', '10000000000000000000000000.0000000001')
    """
    with localcontext(_EXACT):
        return str(sum((Decimal(text) for text in texts), Decimal("0.0")))


def project(record: JournalRecord, run: int) -> list[Statement]:
    """Return the statements that one journal record means for the history; none for kinds without a view.

    Raises: ValueError when the payload is not what `kind` says, or holds money that is not finite.
    """
    rule = RULES.get(record.kind)
    if rule is None:
        return []
    try:
        message = _DECODER.decode(open_envelope(record.payload))
    except (msgspec.MsgspecError, IndexError) as error:
        raise ValueError(f"payload is no {record.kind}: {error}") from error
    if type(message).__name__ != record.kind:
        raise ValueError(f"payload is a {type(message).__name__}, the record says {record.kind}")
    return rule(message, record, run)


def _insert(table: str, *values: object) -> list[Statement]:
    marks = ",".join("?" * len(values))
    return [(f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT DO NOTHING", values)]


def _run_started(m: RunStarted, r: JournalRecord, run: int) -> list[Statement]:
    slots = msgspec.json.encode(m.slots).decode()
    money = make_decimal_text(m.equity_start_quote)
    statement = "UPDATE progress SET run = ?", (r.seq,)
    return [*_insert("runs", r.seq, m.name, m.mode, slots, m.about, money, r.ts_ns, None, None), statement]


def _run_ended(m: RunEnded, r: JournalRecord, run: int) -> list[Statement]:
    return [("UPDATE runs SET ts_end_ns = ?, outcome = ? WHERE run = ?", (r.ts_ns, m.outcome, run))]


def _slot_decided(m: SlotDecided, r: JournalRecord, run: int) -> list[Statement]:
    stop_px, take_profit_px = make_decimal_text(m.stop_px), make_decimal_text(m.take_profit_px)
    wish = (m.ts_close_ns, m.slot, m.reason, m.denial, m.entry_lots, m.reduce_lots, m.reduce_reason)
    return _insert("intents", run, m.intent_id, r.seq, *wish, stop_px, take_profit_px)


def _stop_moved(m: StopMoved, r: JournalRecord, run: int) -> list[Statement]:
    return _insert("stop_moves", run, m.ts_close_ns, m.slot, r.seq, make_decimal_text(m.stop_px))


def _order_request(m: OrderRequest, r: JournalRecord, run: int) -> list[Statement]:
    limit_px, trigger_px = make_decimal_text(m.limit_px), make_decimal_text(m.trigger_px)
    terms = (m.instrument_id, m.side, m.qty_lots, m.order_type.value, limit_px, trigger_px, int(m.is_reduce_only))
    return _insert("orders", run, m.client_order_id, r.seq, r.ts_ns, *terms, m.cause_id, "", "sent", "", r.ts_ns)


def _order_status(status: str, message: str, venue_order_id: str, m: Any, run: int) -> list[Statement]:
    # What has ended stays ended: a late or doubled acknowledgement does not bring it back.
    sql = (
        "UPDATE orders SET status = ?, message = ?, ts_status_ns = ?,"
        " venue_order_id = CASE WHEN ? = '' THEN venue_order_id ELSE ? END"
        " WHERE run = ? AND client_order_id = ? AND status NOT IN ('rejected', 'canceled', 'filled')"
    )
    return [(sql, (status, message, m.ts_event_ns, venue_order_id, venue_order_id, run, m.client_order_id))]


def _order_accepted(m: OrderAccepted, r: JournalRecord, run: int) -> list[Statement]:
    return _order_status("accepted", "", m.venue_order_id, m, run)


def _order_rejected(m: OrderRejected, r: JournalRecord, run: int) -> list[Statement]:
    return _order_status("rejected", m.message, "", m, run)


def _order_canceled(m: OrderCanceled, r: JournalRecord, run: int) -> list[Statement]:
    return _order_status("canceled", m.message, m.venue_order_id, m, run)


def _order_triggered(m: OrderTriggered, r: JournalRecord, run: int) -> list[Statement]:
    return _order_status("triggered", "", m.venue_order_id, m, run)


def _order_modified(m: OrderModified, r: JournalRecord, run: int) -> list[Statement]:
    sql = "UPDATE orders SET qty_lots = ?, limit_px = ?, trigger_px = ? WHERE run = ? AND client_order_id = ?"
    terms = (m.qty_lots, make_decimal_text(m.limit_px), make_decimal_text(m.trigger_px))
    return [(sql, (*terms, run, m.client_order_id))]


def _fill(m: Fill, r: JournalRecord, run: int) -> list[Statement]:
    fill_px, fee_quote = make_decimal_text(m.fill_px), make_decimal_text(m.fee_quote)
    execution = (m.client_order_id, m.venue_order_id, m.side, fill_px, m.fill_qty_lots, fee_quote)
    row = (run, m.instrument_id, m.trade_id, r.seq, *execution, int(m.is_maker), m.kind, m.ts_event_ns, m.cause_id)
    is_full = (
        "UPDATE orders SET status = 'filled', ts_status_ns = ? WHERE run = ? AND client_order_id = ? AND qty_lots <="
        " (SELECT sum(f.fill_qty_lots) FROM fills f"
        " WHERE f.run = orders.run AND f.client_order_id = orders.client_order_id)"
    )
    return [*_insert("fills", *row), (is_full, (m.ts_event_ns, run, m.client_order_id))]


def _funding_paid(m: FundingPaid, r: JournalRecord, run: int) -> list[Statement]:
    money = (make_decimal_text(m.funding_rate), make_decimal_text(m.index_px), make_decimal_text(m.amount_quote))
    return _insert("funding", run, m.instrument_id, m.ts_event_ns, r.seq, m.qty_lots, *money)


def _equity_marked(m: EquityMarked, r: JournalRecord, run: int) -> list[Statement]:
    money = (make_decimal_text(m.equity_quote), make_decimal_text(m.cash_quote))
    return _insert("equity", run, m.ts_close_ns, r.seq, *money, m.latch, m.denials_total)


def _alert(m: Alert, r: JournalRecord, run: int) -> list[Statement]:
    return _insert("alerts", run, r.seq, m.severity.value, m.key, m.text, m.ts_event_ns, m.cause_id)


def _sweep_round_finished(m: SweepRoundFinished, r: JournalRecord, run: int) -> list[Statement]:
    counts = (m.name, m.sampler, m.configs, m.passed)
    texts = (make_json_text(m.failures), make_json_text(m.region), make_json_text(m.quantiles))
    return _insert("optimization_rounds", m.cause_id, m.round, r.seq, *counts, *texts)


def _sweep_finished(m: SweepFinished, r: JournalRecord, run: int) -> list[Statement]:
    asked = (m.name, m.strategy, make_json_text(m.instrument_ids), m.data_sha256, m.code_version, m.spec_sha256)
    best = (make_json_text(m.best_params), make_json_text(m.best_metrics), make_json_text(m.best_metrics_out_of_sample))
    odds = (m.deflated_sharpe_prob, m.pbo_frac, m.spa_p)
    row = (m.cause_id, r.seq, r.ts_ns, *asked, m.configs, m.passed, *best, *odds, make_json_text(m.faults))
    return _insert("optimizations", *row)


RULES: dict[str, Callable[[Any, JournalRecord, int], list[Statement]]] = {
    "RunStarted": _run_started,
    "RunEnded": _run_ended,
    "SlotDecided": _slot_decided,
    "StopMoved": _stop_moved,
    "OrderRequest": _order_request,
    "OrderAccepted": _order_accepted,
    "OrderRejected": _order_rejected,
    "OrderCanceled": _order_canceled,
    "OrderTriggered": _order_triggered,
    "OrderModified": _order_modified,
    "Fill": _fill,
    "FundingPaid": _funding_paid,
    "EquityMarked": _equity_marked,
    "Alert": _alert,
    "SweepRoundFinished": _sweep_round_finished,
    "SweepFinished": _sweep_finished,
}
