"""Every switch does what it says, nothing happens when all are off, and the table names every switch."""

import contextlib
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.records import NS_PER_MS
from venues.simulator import faults
from venues.simulator.faults import (
    NO_MESSAGE_FAULT,
    NO_REQUEST_FAULT,
    NO_VIEW_FAULT,
    SPECS,
    Area,
    FaultBoard,
    MessageFate,
    RequestFate,
    VenueView,
)

MS = NS_PER_MS
EXPECTED: dict[str, Any] = {
    "message_drop": MessageFate(is_dropped=True),
    "message_delay": MessageFate(delay_ns=1000 * MS),
    "message_duplicate": MessageFate(copies=2),
    "message_reorder": MessageFate(behind=1),
    "half_open": MessageFate(is_dropped=True, is_half_open=True),
    "connection_close": MessageFate(close_code=1006),
    "book_stale": MessageFate(is_book_stale=True),
    "book_crossed": MessageFate(is_book_crossed=True),
    "unknown_value": MessageFate(is_value_unknown=True),
    "expiry_hidden": MessageFate(is_dropped=True),
    "http_status_before": RequestFate(status_before=502),
    "http_status_after": RequestFate(status_after=502),
    "reply_lost": RequestFate(is_reply_lost=True),
    "reply_delay": RequestFate(reply_delay_ns=1000 * MS),
    "request_blackhole": RequestFate(is_blackholed=True),
    "fill_before_reply": RequestFate(is_push_first=True, reply_delay_ns=200 * MS),
    "fill_capped": RequestFate(fill_cap_lots=1),
    "fill_during_cancel": RequestFate(is_filled_first=True),
    "child_rejected": RequestFate(is_child_rejected=True),
    "reply_short": RequestFate(statuses_max=1),
    "nonce_refused": RequestFate(is_nonce_refused=True),
    "sequence_bumped": RequestFate(sequence_bump=1),
    "tx_vanish": RequestFate(is_tx_vanished=True),
    "benign_cancel_error": RequestFate(benign_error_code=3006),
    "grpc_status": RequestFate(grpc_status=14),
    "post_only_removed": RequestFate(is_post_only_removed=True),
    "account_view_lag": VenueView(account_view_lag_blocks=5),
    "snapshot_overlap": VenueView(snapshot_overlap_rows=10),
    "stop_hidden": VenueView(stop_hidden_ns=5000 * MS),
    "clock_skew": VenueView(clock_skew_ns=60_000 * MS),
    "upgrade_mode": VenueView(is_upgrading=True),
    "request_cap": VenueView(requests_max=10),
    "order_cap": VenueView(orders_max=0),
    "book_throttle": VenueView(book_every_ns=5000 * MS),
    "history_duplicate": VenueView(is_history_duplicated=True),
    "height_frozen": VenueView(is_height_frozen=True),
    "oracle_frozen": VenueView(is_oracle_frozen=True),
    "price_gap": VenueView(price_gap_bps=500),
    "indexer_lag": VenueView(indexer_lag_blocks=5),
}
NOTHING = {Area.MESSAGE: NO_MESSAGE_FAULT, Area.REQUEST: NO_REQUEST_FAULT, Area.VIEW: NO_VIEW_FAULT}


def decide(board: FaultBoard, area: Area, venue: str = "dydx", on: str = "x", ts_now_ns: int = 0) -> Any:
    match area:
        case Area.MESSAGE:
            return board.decide_message(venue, on, ts_now_ns)
        case Area.REQUEST:
            return board.decide_request(venue, on, ts_now_ns)
        case _:
            return board.view(venue, ts_now_ns, on)


def test_every_switch_is_in_the_table_and_tested() -> None:
    table = re.findall(r"^\| ([a-z_]+) \| ([MRV]) \|", faults.__doc__ or "", re.MULTILINE)
    assert {name: area for name, area in table} == {n: spec.area.value[0].upper() for n, spec in SPECS.items()}
    assert set(EXPECTED) == set(SPECS)


@pytest.mark.parametrize("fault", SPECS)
def test_a_switch_does_what_it_says_where_it_is_meant(fault: str) -> None:
    board, area = FaultBoard(), SPECS[fault].area
    (switch_id,) = board.apply({"on": [{"fault": fault, "venue": "dydx", "on": "x"}]}, 0)
    assert decide(board, area) == EXPECTED[fault] != NOTHING[area]
    assert decide(board, area, venue="binance") == decide(board, area, on="y") == NOTHING[area]
    assert all(decide(board, other) == NOTHING[other] for other in Area if other is not area)
    assert [row["done"] for row in board.list_on(0)] == [1]
    assert board.counts() == {fault: 1}
    board.apply({"off": [switch_id]}, 0)
    assert decide(board, area) == NOTHING[area]
    assert board.list_on(0) == []


@pytest.mark.parametrize("area", Area)
def test_nothing_when_all_are_off(area: Area) -> None:
    board = FaultBoard()
    board.apply({"on": {"fault": "message_drop"}, "off": []}, 0)
    board.apply({"off": "all"}, 0)
    assert decide(board, area) is NOTHING[area]
    assert board.counts() == {}


def test_settings_next_n_time_and_probability() -> None:
    board = FaultBoard(3)
    board.apply({"on": [{"fault": "http_status_before", "status": 429, "next_n": 2}]}, 0)
    statuses = [board.decide_request("binance", "depth", 0).status_before for _ in range(4)]
    assert statuses == [429, 429, 0, 0]
    assert board.list_on(0) == []
    board.apply({"on": [{"fault": "clock_skew", "skew_ms": -250, "for_ms": 10}]}, 5 * MS)
    assert [board.view("dydx", ts * MS).clock_skew_ns for ts in (5, 14, 15)] == [-250 * MS, -250 * MS, 0]
    board.apply({"on": [{"fault": "connection_close", "code": 1012, "after_messages": 2, "next_n": 1}]}, 0)
    assert [board.decide_message("dydx", "trades", 0).close_code for _ in range(5)] == [0, 0, 1012, 0, 0]
    board.apply({"on": [{"fault": "message_drop", "prob_frac": 0.25}]}, 0)
    dropped = sum(board.decide_message("dydx", "trades", 0).is_dropped for _ in range(2000))
    assert 420 < dropped < 580


def test_draws_are_seeded_and_do_not_disturb_each_other() -> None:
    def draw(more: bool) -> list[bool]:
        board = FaultBoard(11)
        board.apply({"on": [{"fault": "message_drop", "prob_frac": 0.5}]}, 0)
        if more:
            board.apply({"on": [{"fault": "message_duplicate", "prob_frac": 0.5}]}, 0)
        return [board.decide_message("dydx", "trades", 0).is_dropped for _ in range(50)]

    assert draw(False) == draw(True)
    assert 5 < sum(draw(False)) < 45


def test_of_two_equal_faults_the_older_strikes_first() -> None:
    board = FaultBoard()
    rows = [{"fault": "reply_delay", "delay_ms": 5, "next_n": 1}, {"fault": "reply_delay", "delay_ms": 9}]
    board.apply({"on": rows}, 0)
    assert [board.decide_request("dydx", "order", 0).reply_delay_ns // MS for _ in range(3)] == [5, 9, 9]
    board.apply({"off": "reply_delay"}, 0)
    assert board.list_on(0) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"onn": []}, "unknown key 'onn'; did you mean on"),
        ({"on": [{"fault": "reply_lst"}]}, "no fault 'reply_lst'; did you mean reply_lost"),
        ({"on": [{"fault": "reply_lost", "nextn": 1}]}, "has no 'nextn'; did you mean next_n"),
        ({"on": [{"fault": "reply_delay", "delay": 1}]}, "did you mean delay_ms"),
        ({"on": [{"fault": "reply_lost", "venue": "hyperliqid"}]}, "did you mean hyperliquid"),
        ({"on": [{"fault": "reply_lost", "prob_frac": 1.5}]}, "prob_frac is 1.5"),
        ({"on": [{"fault": "reply_lost", "prob_frac": float("nan")}]}, "prob_frac is nan"),
        ({"on": [{"fault": "reply_lost", "next_n": 0}]}, "next_n is 0"),
        ({"on": [{"fault": "fill_capped", "lots": 1.5}]}, "whole number"),
        ({"on": [{"fault": "reply_lost", "on": 3}]}, "must name a channel"),
        ({"on": [{}]}, "must be a mapping with a 'fault'"),
        ({"on": 7}, "must be a list"),
        ({"off": ["halfopen"]}, "did you mean half_open"),
    ],
)
def test_a_wrong_mapping_is_refused_in_words_and_changes_nothing(values: dict[str, Any], message: str) -> None:
    board = FaultBoard()
    board.apply({"on": [{"fault": "half_open"}]}, 0)
    before = board.list_on(0)
    with pytest.raises(ValueError, match=re.escape(message)):
        board.apply({"off": "all"} | values, 0)
    assert board.list_on(0) == before


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from([*SPECS, "on", "off", "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["on", "off", "fault", "venue", "next_n", "delay_ms"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["on", "off"]), JSON))
def test_any_mapping_is_taken_or_refused_with_a_value_error(values: dict[str, Any]) -> None:
    board = FaultBoard()
    with contextlib.suppress(ValueError):
        board.apply(values, 0)
    for area in Area:
        decide(board, area)
