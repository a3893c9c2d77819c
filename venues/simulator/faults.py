"""Faults as switches: what a simulator does wrong on purpose, decided here, done by whoever asks. Sans-IO and seeded.

`FaultBoard.apply(mapping)` turns switches on and off at any time; a control endpoint hands the mapping over as it came:
    {"on": [{"fault": "reply_lost", "venue": "hyperliquid", "on": "order", "next_n": 1}], "off": [3, "half_open"]}
    "off": "all" turns everything off. Optional for every fault: venue and on ("*"), prob_frac (1.0), next_n (no end),
    for_ms (no end). `on` is a message channel, a request kind, or "*". The fault's own settings are in `SPECS`.
Every switch draws from a generator of its own, so that one more switch does not change what the others do.

Which switch is which knob of PROTOCOLS section 4 (the area says who asks: M decide_message, R decide_request, V view):
| switch | area | knob |
|---|---|---|
| message_drop | M | 4.1 drop only one channel, suppress n fills on WS only; 4.2 drop a message; 4.3 kline missed |
| message_delay | M | 4.1 order of orderUpdates against reply; 4.3 kline final late |
| message_duplicate | M | 4.1 duplicate rows; same trade twice |
| message_reorder | M | 4.1 events out of order |
| half_open | M | 4.1 half-open (stop sending, keep TCP); 4.3 frozen but connected |
| connection_close | M | 4.1 close 1006/1000; 4.2 close codes 1011, 1012; 4.3 24 h cut |
| book_stale | M | 4.1 stale prices: the same book again |
| book_crossed | M | 4.2 emit crossed levels |
| unknown_value | M | 4.1 inject unknown dir |
| expiry_hidden | M | 4.2 suppress the expiry message |
| http_status_before | R | 4.1 502 before accept; 4.3 429, 418 |
| http_status_after | R | 4.1 502 after accept |
| reply_lost | R | 4.1 accept + drop reply |
| reply_delay | R | 4.1 delay reply past timeout |
| request_blackhole | R | 4.2 blackhole server |
| fill_before_reply | R | 4.1 push userFills before HTTP reply |
| fill_capped | R | 4.1 parent partly filled (fills of some lots only) |
| fill_during_cancel | R | 4.1 fill during modify; 4.2 fill between cancel ack and GTB |
| child_rejected | R | 4.1 reject child only |
| reply_short | R | 4.1 return short statuses list |
| nonce_refused | R | 4.1 nonce collision where the client made none |
| sequence_bumped | R | 4.2 bump sequence externally |
| account_view_lag | V | 4.2 delay Account view |
| tx_vanish | R | 4.2 drop x % of short-term tx after code 0 |
| benign_cancel_error | R | 4.2 return 3006, 9, 19 |
| grpc_status | R | 4.2 status codes |
| post_only_removed | R | 4.2 post-only cross accepted then removed, both variants |
| snapshot_overlap | V | 4.1 resend overlapping snapshot |
| stop_hidden | V | 4.1 hide / late-show stop |
| clock_skew | V | 4.1 shift venue clock |
| upgrade_mode | V | 4.1 "upgrade" mode |
| request_cap | V | 4.1 set low cap; 4.2 small limits (block rate) |
| order_cap | V | 4.2 small limits (equity tier) |
| book_throttle | V | 4.1 throttle mode default |
| history_duplicate | V | 4.1 duplicate rows of historicalOrders |
| height_frozen | V | 4.2 freeze height |
| oracle_frozen | V | 4.2 resume with old oracle; oracle lag |
| price_gap | V | 4.2 gap scenario: the book empties between the touch and so far away |
| indexer_lag | V | 4.2 lag parameter |
No switches, because a venue always does them: the real nonce set, rule 1.9b on children, empty state for an agent's
address, unknown coin drops the socket, ACK then silence on Binance's wrong path, resize of reduce-only at the trigger.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from market.instruments import suggest
from market.records import NS_PER_MS

VENUES = ("binance", "hyperliquid", "dydx")
ANY = "*"


class Area(StrEnum):
    """Which question a switch answers."""

    MESSAGE = "message"
    REQUEST = "request"
    VIEW = "view"


@dataclass(frozen=True, slots=True)
class Setting:
    """One number of a fault."""

    default: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Spec:
    """What a fault is asked about, and its own settings by name."""

    area: Area
    settings: Mapping[str, Setting] = field(default_factory=dict)


_M, _R, _V = Area.MESSAGE, Area.REQUEST, Area.VIEW
_MS = Setting(1000, 0, 86_400_000)

SPECS: dict[str, Spec] = {
    "message_drop": Spec(_M),
    "message_delay": Spec(_M, {"delay_ms": _MS}),
    "message_duplicate": Spec(_M, {"copies": Setting(2, 2, 100)}),
    "message_reorder": Spec(_M, {"behind": Setting(1, 1, 1000)}),
    "half_open": Spec(_M),
    "connection_close": Spec(_M, {"code": Setting(1006, 1000, 4999), "after_messages": Setting(0, 0, 1e9)}),
    "book_stale": Spec(_M),
    "book_crossed": Spec(_M),
    "unknown_value": Spec(_M),
    "expiry_hidden": Spec(_M),
    "http_status_before": Spec(_R, {"status": Setting(502, 400, 599)}),
    "http_status_after": Spec(_R, {"status": Setting(502, 400, 599)}),
    "reply_lost": Spec(_R),
    "reply_delay": Spec(_R, {"delay_ms": _MS}),
    "request_blackhole": Spec(_R),
    "fill_before_reply": Spec(_R, {"delay_ms": Setting(200, 0, 86_400_000)}),
    "fill_capped": Spec(_R, {"lots": Setting(1, 0, 1e15)}),
    "fill_during_cancel": Spec(_R),
    "child_rejected": Spec(_R),
    "reply_short": Spec(_R, {"statuses": Setting(1, 0, 1000)}),
    "nonce_refused": Spec(_R),
    "sequence_bumped": Spec(_R, {"by": Setting(1, 1, 1e6)}),
    "tx_vanish": Spec(_R),
    "benign_cancel_error": Spec(_R, {"code": Setting(3006, 1, 1e6)}),
    "grpc_status": Spec(_R, {"code": Setting(14, 1, 16)}),
    "post_only_removed": Spec(_R, {"is_silent": Setting(0, 0, 1)}),
    "account_view_lag": Spec(_V, {"blocks": Setting(5, 1, 1e6)}),
    "snapshot_overlap": Spec(_V, {"rows": Setting(10, 1, 10_000)}),
    "stop_hidden": Spec(_V, {"hidden_ms": Setting(5000, 0, 86_400_000)}),
    "clock_skew": Spec(_V, {"skew_ms": Setting(60_000, -1e12, 1e12)}),
    "upgrade_mode": Spec(_V),
    "request_cap": Spec(_V, {"requests": Setting(10, 0, 1e9)}),
    "order_cap": Spec(_V, {"orders": Setting(0, 0, 1e6)}),
    "book_throttle": Spec(_V, {"every_ms": Setting(5000, 1, 86_400_000)}),
    "history_duplicate": Spec(_V),
    "height_frozen": Spec(_V),
    "oracle_frozen": Spec(_V),
    "price_gap": Spec(_V, {"gap_bps": Setting(500, 1, 9000)}),
    "indexer_lag": Spec(_V, {"blocks": Setting(5, 1, 1e6)}),
}
_COMMON = ("fault", "venue", "on", "prob_frac", "next_n", "for_ms")


@dataclass(slots=True)
class Switch:
    """One fault that is on; `left_n` and `done` count what it did. Made by the board."""

    switch_id: int
    fault: str
    venue: str
    on: str
    prob_frac: float
    left_n: int | None  # None: no end
    ts_end_ns: int | None
    settings: dict[str, int]
    draws: random.Random
    seen: int = 0
    done: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "id": self.switch_id,
            "fault": self.fault,
            "venue": self.venue,
            "on": self.on,
            "prob_frac": self.prob_frac,
            "left_n": self.left_n,
            "ts_end_ns": self.ts_end_ns,
            "done": self.done,
            **self.settings,
        }


@dataclass(frozen=True, slots=True)
class MessageFate:
    """What happens to one outgoing message. All defaults: nothing."""

    is_dropped: bool = False  # message_drop, expiry_hidden or half_open
    is_half_open: bool = False  # nothing is sent on the connection from here on
    copies: int = 1
    delay_ns: int = 0
    behind: int = 0  # sent after so many later messages
    close_code: int = 0  # close the connection with it, after this message; 0: do not
    is_book_stale: bool = False
    is_book_crossed: bool = False
    is_value_unknown: bool = False


@dataclass(frozen=True, slots=True)
class RequestFate:
    """What happens to one request. All defaults: nothing. The sim acts in this order: refuse, accept, reply."""

    is_blackholed: bool = False  # neither accepted nor answered
    status_before: int = 0  # HTTP status instead of accepting; 0: none
    grpc_status: int = 0  # gRPC status instead of accepting
    is_nonce_refused: bool = False
    sequence_bump: int = 0  # the account's sequence moves on before the request is looked at
    benign_error_code: int = 0  # answer of a cancel, which is done all the same
    is_tx_vanished: bool = False  # code 0, then nothing
    is_post_only_removed: bool = False
    is_removal_silent: bool = False
    is_child_rejected: bool = False
    fill_cap_lots: int | None = None
    is_filled_first: bool = False  # a cancel or modify comes after a fill of the order
    statuses_max: int | None = None  # of a batch reply
    status_after: int = 0  # HTTP status instead of the reply, accepted all the same
    is_reply_lost: bool = False
    reply_delay_ns: int = 0
    is_push_first: bool = False  # pushes overtake the reply, which waits for reply_delay_ns


@dataclass(frozen=True, slots=True)
class VenueView:
    """What a venue's state looks like. All defaults: as it is."""

    account_view_lag_blocks: int = 0
    snapshot_overlap_rows: int = 0
    stop_hidden_ns: int = 0
    clock_skew_ns: int = 0
    is_upgrading: bool = False
    requests_max: int | None = None
    orders_max: int | None = None
    book_every_ns: int = 0
    is_history_duplicated: bool = False
    is_height_frozen: bool = False
    is_oracle_frozen: bool = False
    price_gap_bps: int = 0
    indexer_lag_blocks: int = 0


NO_MESSAGE_FAULT = MessageFate()
NO_REQUEST_FAULT = RequestFate()
NO_VIEW_FAULT = VenueView()


class FaultBoard:
    """The switches of all simulators of one process."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._switches: dict[int, Switch] = {}
        self._count = 0
        self._done: dict[str, int] = {}

    def apply(self, values: Mapping[str, Any], ts_now_ns: int) -> list[int]:
        """Turn switches off, then on, as a plain mapping says; return the ids of the new ones.

        Raises ValueError naming what is wrong; nothing has changed then.
        """
        unknown = [name for name in values if name not in ("on", "off")]
        if unknown:
            raise ValueError(f"faults: unknown key {unknown[0]!r}{suggest(str(unknown[0]), ('on', 'off'))}: on and off")
        rows = values.get("on", [])
        rows = [rows] if isinstance(rows, Mapping) else rows
        if not isinstance(rows, list | tuple):
            raise ValueError(f"faults: 'on' is {rows!r}: must be a list of switches")
        checked = [_check_switch(row, f"faults.on[{index}]") for index, row in enumerate(rows)]
        for switch_id in self._find_off(values.get("off", [])):
            del self._switches[switch_id]
        return [self._add(row, ts_now_ns) for row in checked]

    def list_on(self, ts_now_ns: int) -> list[dict[str, Any]]:
        """Return the switches that are on, oldest first, ready for JSON."""
        self._expire(ts_now_ns)
        return [switch.to_dict() for switch in self._switches.values()]

    def counts(self) -> dict[str, int]:
        """Return how often each fault struck, those of switches gone included."""
        return dict(sorted(self._done.items()))

    def decide_message(self, venue: str, channel: str, ts_now_ns: int) -> MessageFate:
        """Return what happens to one outgoing message."""
        struck = self._strike(Area.MESSAGE, venue, channel, ts_now_ns)
        if not struck:
            return NO_MESSAGE_FAULT
        return MessageFate(
            is_dropped=any(fault in struck for fault in ("message_drop", "half_open", "expiry_hidden")),
            is_half_open="half_open" in struck,
            copies=_get(struck, "message_duplicate", "copies", 1),
            delay_ns=_get(struck, "message_delay", "delay_ms", 0) * NS_PER_MS,
            behind=_get(struck, "message_reorder", "behind", 0),
            close_code=_get(struck, "connection_close", "code", 0),
            is_book_stale="book_stale" in struck,
            is_book_crossed="book_crossed" in struck,
            is_value_unknown="unknown_value" in struck,
        )

    def decide_request(self, venue: str, kind: str, ts_now_ns: int) -> RequestFate:
        """Return what happens to one request."""
        struck = self._strike(Area.REQUEST, venue, kind, ts_now_ns)
        if not struck:
            return NO_REQUEST_FAULT
        delays_ms = (_get(struck, fault, "delay_ms", 0) for fault in ("reply_delay", "fill_before_reply"))
        return RequestFate(
            is_blackholed="request_blackhole" in struck,
            status_before=_get(struck, "http_status_before", "status", 0),
            grpc_status=_get(struck, "grpc_status", "code", 0),
            is_nonce_refused="nonce_refused" in struck,
            sequence_bump=_get(struck, "sequence_bumped", "by", 0),
            benign_error_code=_get(struck, "benign_cancel_error", "code", 0),
            is_tx_vanished="tx_vanish" in struck,
            is_post_only_removed="post_only_removed" in struck,
            is_removal_silent=bool(_get(struck, "post_only_removed", "is_silent", 0)),
            is_child_rejected="child_rejected" in struck,
            fill_cap_lots=struck["fill_capped"]["lots"] if "fill_capped" in struck else None,
            is_filled_first="fill_during_cancel" in struck,
            statuses_max=struck["reply_short"]["statuses"] if "reply_short" in struck else None,
            status_after=_get(struck, "http_status_after", "status", 0),
            is_reply_lost="reply_lost" in struck,
            reply_delay_ns=max(delays_ms) * NS_PER_MS,
            is_push_first="fill_before_reply" in struck,
        )

    def view(self, venue: str, ts_now_ns: int, on: str = ANY) -> VenueView:
        """Return what a venue's state looks like now; draws and counts as the others do."""
        struck = self._strike(Area.VIEW, venue, on, ts_now_ns)
        if not struck:
            return NO_VIEW_FAULT
        return VenueView(
            account_view_lag_blocks=_get(struck, "account_view_lag", "blocks", 0),
            snapshot_overlap_rows=_get(struck, "snapshot_overlap", "rows", 0),
            stop_hidden_ns=_get(struck, "stop_hidden", "hidden_ms", 0) * NS_PER_MS,
            clock_skew_ns=_get(struck, "clock_skew", "skew_ms", 0) * NS_PER_MS,
            is_upgrading="upgrade_mode" in struck,
            requests_max=struck["request_cap"]["requests"] if "request_cap" in struck else None,
            orders_max=struck["order_cap"]["orders"] if "order_cap" in struck else None,
            book_every_ns=_get(struck, "book_throttle", "every_ms", 0) * NS_PER_MS,
            is_history_duplicated="history_duplicate" in struck,
            is_height_frozen="height_frozen" in struck,
            is_oracle_frozen="oracle_frozen" in struck,
            price_gap_bps=_get(struck, "price_gap", "gap_bps", 0),
            indexer_lag_blocks=_get(struck, "indexer_lag", "blocks", 0),
        )

    def _add(self, row: Mapping[str, Any], ts_now_ns: int) -> int:
        self._count += 1
        for_ms = row.get("for_ms")
        self._switches[self._count] = Switch(
            switch_id=self._count,
            fault=row["fault"],
            venue=row.get("venue", ANY),
            on=row.get("on", ANY),
            prob_frac=float(row.get("prob_frac", 1.0)),
            left_n=row.get("next_n"),
            ts_end_ns=None if for_ms is None else ts_now_ns + int(for_ms) * NS_PER_MS,
            settings={
                name: int(row.get(name, setting.default)) for name, setting in SPECS[row["fault"]].settings.items()
            },
            draws=random.Random(f"{self._seed}:{self._count}"),
        )
        return self._count

    def _find_off(self, names: Any) -> list[int]:
        if names == "all":
            return [*self._switches]
        found: list[int] = []
        for name in names if isinstance(names, list | tuple) else [names]:
            if isinstance(name, int) and not isinstance(name, bool):
                found += [name] if name in self._switches else []  # used up already: off is off
            elif isinstance(name, str) and name in SPECS:
                found += [switch_id for switch_id, switch in self._switches.items() if switch.fault == name]
            else:
                raise ValueError(f"faults.off: no fault {name!r}{suggest(str(name), SPECS)}: an id, a name, or all")
        return [*dict.fromkeys(found)]

    def _expire(self, ts_now_ns: int) -> None:
        for switch_id, switch in [*self._switches.items()]:
            if switch.left_n == 0 or (switch.ts_end_ns is not None and ts_now_ns >= switch.ts_end_ns):
                del self._switches[switch_id]

    def _strike(self, area: Area, venue: str, on: str, ts_now_ns: int) -> dict[str, dict[str, int]]:
        # Of two switches of one fault the older strikes; the younger waits until it does not.
        if not self._switches:
            return {}
        self._expire(ts_now_ns)
        struck: dict[str, dict[str, int]] = {}
        for switch in self._switches.values():
            is_meant = switch.venue in (ANY, venue) and switch.on in (ANY, on)
            if SPECS[switch.fault].area is not area or not is_meant or switch.fault in struck:
                continue
            switch.seen += 1
            if switch.seen <= switch.settings.get("after_messages", 0):
                continue
            if switch.prob_frac < 1.0 and switch.draws.random() >= switch.prob_frac:
                continue
            switch.done += 1
            self._done[switch.fault] = self._done.get(switch.fault, 0) + 1
            if switch.left_n is not None:
                switch.left_n -= 1
            struck[switch.fault] = switch.settings
        return struck


def _get(struck: Mapping[str, Mapping[str, int]], fault: str, setting: str, default: int) -> int:
    return struck[fault][setting] if fault in struck else default


def _check_switch(row: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(row, Mapping) or "fault" not in row:
        raise ValueError(f"{place}: is {row!r}: must be a mapping with a 'fault'")
    fault = row["fault"]
    if not isinstance(fault, str) or fault not in SPECS:
        raise ValueError(f"{place}: no fault {fault!r}{suggest(str(fault), SPECS)} (known: {', '.join(SPECS)})")
    settings = SPECS[fault].settings
    for name, value in row.items():
        known = (*_COMMON, *settings)
        if name not in known:
            raise ValueError(f"{place}: {fault} has no {name!r}{suggest(str(name), known)} (known: {', '.join(known)})")
        if name == "venue" and value not in (ANY, *VENUES):
            raise ValueError(
                f"{place}: no venue {value!r}{suggest(str(value), VENUES)}: one of {', '.join(VENUES)} or *"
            )
        if name == "on" and not (isinstance(value, str) and value):
            raise ValueError(f"{place}: on is {value!r}: must name a channel or request kind, or be *")
        if name == "prob_frac":
            _check_number(value, 0.0, 1.0, f"{place}: {name}")
        elif name in ("next_n", "for_ms") and value is not None:
            _check_number(value, 1, 1e15, f"{place}: {name}", is_whole=True)
        elif name in settings:
            _check_number(value, settings[name].minimum, settings[name].maximum, f"{place}: {name}", is_whole=True)
    return row


def _check_number(value: Any, minimum: float, maximum: float, place: str, is_whole: bool = False) -> None:
    is_number = isinstance(value, int | float) and math.isfinite(value)
    if not is_number or not minimum <= value <= maximum or (is_whole and value != int(value)):
        raise ValueError(f"{place} is {value!r}: must be a {'whole ' * is_whole}number in [{minimum:g}, {maximum:g}]")
