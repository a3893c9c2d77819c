"""The synchronisation machine: on real captures, under faults over them, and case by case."""

from bisect import bisect_right
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.book import BookDiff, BookSnapshot, Continuity
from market.records import NS_PER_MS, NS_PER_S
from tests.shared_data import needs_shared
from tests.unit.venues.binance.captured import BTC, ETH, LONG, SPOT, SlowBook, read_messages, ticker_levels
from venues.binance.book_sync import (
    BookLost,
    BookReady,
    BookSyncMachine,
    ClockMeasured,
    DiffReceived,
    Disconnected,
    FetchSnapshot,
    Reconnect,
    Resubscribe,
    SnapshotFailed,
    SnapshotReceived,
    StreamOpened,
    SyncInstruction,
    SyncSettings,
    TickerReceived,
    TimePassed,
)
from venues.binance.messages import BookSnapshotText, BookTicker, DepthUpdate
from venues.book_feed import LostReason

S = NS_PER_S
ALL = 100_000


def make_diff(first_id: int, last_id: int, previous_id: int = -1, bid_qty: float = 1.0, ts_ns: int = 0) -> BookDiff:
    return BookDiff(first_id, last_id, previous_id, ((10.0, bid_qty),), (), ts_ns)


def make_snapshot(last_id: int) -> BookSnapshot:
    return BookSnapshot(last_id, ((10.0, 5.0), (9.0, 5.0)), ((11.0, 5.0),))


def make_ready(settings: SyncSettings | None = None) -> BookSyncMachine:
    """A futures machine whose book is at update 20, everything having happened at second 1."""
    machine = BookSyncMachine(Continuity.FUTURES, settings)
    assert machine.handle(StreamOpened(), S) == []
    [fetch] = machine.handle(DiffReceived(make_diff(11, 20, 10, ts_ns=S)), S)
    assert isinstance(fetch, FetchSnapshot)
    assert machine.handle(SnapshotReceived(fetch.request_id, make_snapshot(15)), S) == [BookReady(20)]
    assert (machine.bids(), machine.last_id) == (((10.0, 1.0),), 20)
    return machine


def lost(instructions: list[SyncInstruction]) -> LostReason | None:
    reasons = [instruction.reason for instruction in instructions if isinstance(instruction, BookLost)]
    return reasons[0] if reasons else None


@needs_shared
@pytest.mark.parametrize("name", [BTC, ETH, SPOT, LONG])
def test_captures_synchronise_and_end_in_the_same_book(name: str) -> None:
    machine = BookSyncMachine(Continuity.SPOT if name == SPOT else Continuity.FUTURES)
    slow: SlowBook | None = None
    waiting: list[DepthUpdate] = []
    request_id, ready, lost_count = 0, 0, 0
    start_ns = read_messages(name)[0][0]
    machine.handle(StreamOpened(), start_ns)
    for ts_ns, message in read_messages(name):
        data = message.data
        done: list[SyncInstruction] = []
        if isinstance(data, DepthUpdate):
            done = machine.handle(DiffReceived(data.to_diff(ts_ns)), ts_ns)
            if slow is None:
                waiting.append(data)
            else:
                slow.apply(data)
        elif isinstance(data, BookSnapshotText):
            done = machine.handle(SnapshotReceived(request_id, data.to_snapshot(ts_ns)), ts_ns)
            slow = SlowBook(data)
            for update in waiting:
                if update.last_id > slow.last_id:
                    slow.apply(update)
        elif isinstance(data, BookTicker):
            done = machine.handle(TickerReceived(data.update_id, *ticker_levels(data)), ts_ns)
        for instruction in done:
            if isinstance(instruction, FetchSnapshot):
                request_id = instruction.request_id
            ready += isinstance(instruction, BookReady)
            lost_count += isinstance(instruction, BookLost)
        machine.handle(TimePassed(), ts_ns)
    assert slow is not None
    assert (ready, lost_count, machine.last_id) == (1, 0, slow.last_id)
    assert (machine.bids(ALL), machine.asks(ALL)) == slow.levels()


@needs_shared
@pytest.mark.parametrize("name", [BTC, ETH, SPOT])
def test_the_ticker_of_a_capture_agrees_with_the_book_at_every_update_and_at_the_end(name: str) -> None:
    # A ticker is pushed at each change of the best prices: the last one up to the book's update is the book's best.
    messages = read_messages(name)
    tickers = {m.data.update_id: ticker_levels(m.data) for _, m in messages if isinstance(m.data, BookTicker)}
    ids = sorted(tickers)
    machine = BookSyncMachine(Continuity.SPOT if name == SPOT else Continuity.FUTURES)
    machine.handle(StreamOpened(), 1)
    compared = agreed = 0
    is_agreed = False
    for ts_ns, message in messages:
        if isinstance(message.data, DepthUpdate):
            machine.handle(DiffReceived(message.data.to_diff(ts_ns)), ts_ns)
            if machine.is_ready:
                best = tickers[ids[bisect_right(ids, machine.last_id) - 1]]
                is_agreed = (*machine.bids(), *machine.asks()) == best
                compared, agreed = compared + 1, agreed + is_agreed
        elif isinstance(message.data, BookSnapshotText):
            machine.handle(SnapshotReceived(1, message.data.to_snapshot(ts_ns)), ts_ns)
    assert is_agreed
    assert (compared > 1000, agreed) == (True, compared)


@cache
def truth_of(name: str, count: int) -> tuple[list[DepthUpdate], list[BookSnapshot]]:
    """The first updates after a capture's snapshot, and the true whole book after each."""
    updates = [message.data for _, message in read_messages(name) if isinstance(message.data, DepthUpdate)]
    [snapshot] = [message.data for _, message in read_messages(name) if isinstance(message.data, BookSnapshotText)]
    slow = SlowBook(snapshot)
    updates = [update for update in updates if update.last_id > snapshot.last_id][:count]
    books = []
    for update in updates:
        slow.apply(update)
        books.append(BookSnapshot(update.last_id, *slow.levels()))
    return updates, books


FAULTS = st.lists(st.tuples(st.integers(1, 110), st.sampled_from(["drop", "repeat", "swap", "far"])), max_size=6)


def disturb(count: int, faults: list[tuple[int, str]]) -> list[int]:
    """Indices of the updates in the order in which a bad transport delivers them."""
    order = list(range(count))
    for at, fault in faults:
        at = min(at, len(order) - 2)
        if fault == "drop":
            del order[at]
        elif fault == "repeat":
            order.insert(at, order[at])
        elif fault == "swap":
            order[at], order[at + 1] = order[at + 1], order[at]
        else:
            order.insert(min(at + 7, len(order)), order.pop(at))
    return order


@needs_shared
@pytest.mark.parametrize("name", [BTC, SPOT])
@settings(max_examples=60)
@given(faults=FAULTS, lag=st.integers(0, 12), answer_after=st.integers(0, 9), snapshot_age=st.integers(0, 6))
def test_faults_never_make_a_wrong_book(
    name: str, faults: list[tuple[int, str]], lag: int, answer_after: int, snapshot_age: int
) -> None:
    count = 120
    updates, books = truth_of(name, count)
    truth = {book.last_id: book for book in books}
    machine = BookSyncMachine(Continuity.SPOT if name == SPOT else Continuity.FUTURES)
    machine.handle(StreamOpened(), S)
    order = disturb(count, faults)
    pending: list[tuple[int, int]] = []  # (step at which the answer comes, request)
    broken, ts_ns = 0, S
    for step, index in enumerate(order):
        ts_ns = max(ts_ns, updates[index].ts_event_ms * NS_PER_MS)
        done = machine.handle(DiffReceived(updates[index].to_diff(ts_ns)), ts_ns)
        newest = max(order[: step + 1])
        for due, request_id in list(pending):
            if due <= step:
                pending.remove((due, request_id))
                snapshot = books[min(max(0, newest + lag - snapshot_age), count - 1)]
                done += machine.handle(SnapshotReceived(request_id, snapshot), ts_ns)
        for instruction in done:
            if isinstance(instruction, FetchSnapshot):
                pending.append((step + 1 + answer_after, instruction.request_id))
            broken += isinstance(instruction, BookLost)
        if machine.is_ready:
            book = truth[machine.last_id]
            assert (machine.bids(ALL), machine.asks(ALL)) == (book.bids, book.asks)
    if order == list(range(count)):
        assert (broken, machine.is_ready) == (0, True)


@needs_shared
@pytest.mark.parametrize("name", [BTC, SPOT])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [("drop", LostReason.GAP), ("repeat", LostReason.REPEATED), ("swap", LostReason.GAP), ("far", LostReason.GAP)],
)
def test_each_fault_leads_to_a_resync(name: str, fault: str, reason: LostReason) -> None:
    updates, books = truth_of(name, 120)
    machine = BookSyncMachine(Continuity.SPOT if name == SPOT else Continuity.FUTURES)
    machine.handle(StreamOpened(), S)
    reasons: list[LostReason] = []
    for index in disturb(120, [(60, fault)]):
        done = machine.handle(DiffReceived(updates[index].to_diff()), S)
        reasons += [reason for reason in [lost(done)] if reason]
        for instruction in done:
            if isinstance(instruction, FetchSnapshot):
                newest = max(index, 67 if reasons else 0)
                machine.handle(SnapshotReceived(instruction.request_id, books[newest]), S)
    assert reasons[0] is reason
    assert machine.is_ready
    assert (machine.bids(ALL), machine.asks(ALL)) == (books[-1].bids, books[-1].asks)


def test_the_snapshot_is_asked_for_after_the_first_diff() -> None:
    machine = BookSyncMachine(Continuity.FUTURES, SyncSettings(stagger_ns=7))
    assert machine.handle(StreamOpened(), S) == []
    assert machine.handle(TimePassed(), S) == []
    assert machine.handle(DiffReceived(make_diff(1, 2, 0)), S) == [FetchSnapshot(1, 7)]
    assert machine.handle(DiffReceived(make_diff(3, 4, 2)), S) == []


def test_old_snapshots_are_asked_for_again_with_growing_waits_and_no_loop() -> None:
    machine = BookSyncMachine(Continuity.FUTURES, SyncSettings(backoff_base_ns=S, backoff_max_ns=4 * S))
    machine.handle(StreamOpened(), S)
    [fetch] = machine.handle(DiffReceived(make_diff(100, 110, 99)), S)
    waits_s = []
    for _ in range(6):
        assert isinstance(fetch, FetchSnapshot)
        waits_s.append(fetch.after_ns // S)
        [fetch] = machine.handle(SnapshotReceived(fetch.request_id, make_snapshot(50)), S)
    assert (waits_s, machine.snapshots_old) == ([0, 1, 2, 4, 4, 4], 6)
    assert isinstance(fetch, FetchSnapshot)
    assert machine.handle(SnapshotReceived(fetch.request_id, make_snapshot(105)), S) == [BookReady(110)]


def test_failed_overdue_and_overtaken_requests() -> None:
    machine = BookSyncMachine(Continuity.FUTURES, SyncSettings(request_timeout_ns=S))
    machine.handle(StreamOpened(), S)
    assert machine.handle(DiffReceived(make_diff(1, 2, 0)), S) == [FetchSnapshot(1, 0)]
    assert machine.next_due_ns() == 2 * S
    assert machine.handle(SnapshotFailed(1, 60 * S), S) == [FetchSnapshot(2, 60 * S)]  # Retry-After is obeyed
    assert machine.handle(SnapshotReceived(1, make_snapshot(2)), S) == []
    assert machine.handle(SnapshotFailed(1), S) == []
    machine.handle(DiffReceived(make_diff(3, 4, 2)), 61 * S)
    [fetch] = machine.handle(TimePassed(), 62 * S)
    assert fetch == FetchSnapshot(3, 2 * S)


@pytest.mark.parametrize(
    ("diff", "reason"),
    [
        (make_diff(22, 30, 21), LostReason.GAP),
        (make_diff(11, 20, 10), LostReason.REPEATED),
        (make_diff(1, 9, 0), LostReason.REPEATED),
        (BookDiff(21, 30, 20, ((11.0, 1.0),), ()), LostReason.CROSSED),
    ],
)
def test_what_is_not_next_ends_the_book(diff: BookDiff, reason: LostReason) -> None:
    machine = make_ready()
    done = machine.handle(DiffReceived(diff), 2 * S)
    assert lost(done) is reason
    assert isinstance(done[1], FetchSnapshot)
    assert (machine.bids(), machine.asks(), machine.take_view(), machine.last_id) == ((), (), None, -1)
    assert machine.counts[reason] == 1


def test_after_a_gap_the_buffered_diffs_are_used() -> None:
    machine = make_ready()
    [_, fetch] = machine.handle(DiffReceived(make_diff(31, 40, 30, 2.0)), 2 * S)
    assert machine.handle(DiffReceived(make_diff(41, 50, 40, 3.0)), 2 * S) == []
    assert isinstance(fetch, FetchSnapshot)
    assert machine.handle(SnapshotReceived(fetch.request_id, make_snapshot(35)), 2 * S) == [BookReady(50)]
    assert machine.bids(2) == ((10.0, 3.0), (9.0, 5.0))


def test_overlapping_sockets_may_repeat() -> None:
    machine = make_ready(SyncSettings(repeats_max=2))
    for _ in range(2):
        assert machine.handle(DiffReceived(make_diff(11, 20, 10)), 2 * S) == []
    assert machine.handle(DiffReceived(make_diff(21, 30, 20)), 2 * S) == []
    assert machine.repeats_dropped == 2
    for _ in range(2):
        assert machine.handle(DiffReceived(make_diff(21, 30, 20)), 2 * S) == []
    assert lost(machine.handle(DiffReceived(make_diff(21, 30, 20)), 2 * S)) is LostReason.REPEATED


def test_a_silent_stream_is_subscribed_again_and_then_given_up() -> None:
    machine = BookSyncMachine(Continuity.FUTURES)
    machine.handle(StreamOpened(), S)
    assert machine.next_due_ns() == 11 * S
    assert machine.handle(TimePassed(), 10 * S) == []
    for _ in range(2):
        [instruction] = machine.handle(TimePassed(), machine.next_due_ns())
        assert isinstance(instruction, Resubscribe)
        assert "right path" in instruction.detail
    [instruction] = machine.handle(TimePassed(), machine.next_due_ns())
    assert isinstance(instruction, Reconnect)


def test_silence_makes_a_book_stale() -> None:
    machine = make_ready()
    assert machine.handle(TimePassed(), 5 * S) == []
    assert machine.compute_age_ns(5 * S) == 4 * S
    done = machine.handle(TimePassed(), machine.next_due_ns())
    assert lost(done) is LostReason.STALE
    assert isinstance(done[1], Resubscribe)
    assert machine.handle(StreamOpened(), 7 * S) == []
    assert isinstance(machine.handle(DiffReceived(make_diff(30, 40, 29)), 7 * S)[0], FetchSnapshot)


def test_late_data_make_a_book_stale_until_they_are_young_again() -> None:
    machine = make_ready()  # event times equal local times: the offset is 0
    assert lost(machine.handle(DiffReceived(make_diff(21, 30, 20, ts_ns=2 * S)), 8 * S)) is LostReason.STALE
    assert machine.bids() == ()
    assert machine.handle(DiffReceived(make_diff(31, 40, 30, 7.0, ts_ns=9 * S)), 9 * S) == [BookReady(40)]
    assert machine.bids() == ((10.0, 7.0),)


def test_a_measured_clock_shows_a_stream_late_from_its_first_message() -> None:
    machine = BookSyncMachine(Continuity.FUTURES)
    machine.handle(StreamOpened(), 100 * S)
    machine.handle(ClockMeasured(-S), 100 * S)
    [fetch] = machine.handle(DiffReceived(make_diff(11, 20, 10, ts_ns=90 * S)), 100 * S)
    assert isinstance(fetch, FetchSnapshot)
    assert machine.handle(SnapshotReceived(fetch.request_id, make_snapshot(15)), 100 * S) == []
    assert machine.compute_age_ns(100 * S) == 11 * S


def test_a_ticker_that_runs_ahead_shows_a_frozen_stream() -> None:
    machine = make_ready()
    assert machine.handle(TickerReceived(25, (10.0, 2.0), (11.0, 5.0)), 2 * S) == []
    assert machine.next_due_ns() == 5 * S
    done = machine.handle(TickerReceived(26, (10.0, 3.0), (11.0, 5.0)), 5 * S)
    assert lost(done) is LostReason.FROZEN
    assert isinstance(done[1], Resubscribe)


def test_a_ticker_that_disagrees_ends_the_book() -> None:
    machine = make_ready()
    assert machine.handle(TickerReceived(20, (10.0, 1.0), (11.0, 5.0)), S) == []
    assert machine.handle(TickerReceived(30, (10.0, 4.0), (11.0, 5.0)), S) == []
    done = machine.handle(DiffReceived(make_diff(21, 30, 20, 4.0)), S)
    assert done == []
    assert lost(machine.handle(TickerReceived(30, (10.0, 4.5), (11.0, 5.0)), S)) is LostReason.DISAGREES
    again = make_ready()
    again.handle(TickerReceived(30, (10.0, 9.0), (11.0, 5.0)), S)
    assert lost(again.handle(DiffReceived(make_diff(21, 30, 20, 4.0)), S)) is LostReason.DISAGREES


def test_views_are_conflated() -> None:
    machine = make_ready()
    view = machine.take_view(1)
    assert view is not None
    assert (view.last_id, view.bids, view.asks) == (20, ((10.0, 1.0),), ((11.0, 5.0),))
    assert machine.take_view() is None
    machine.handle(DiffReceived(make_diff(21, 30, 20, 2.0)), 2 * S)
    machine.handle(DiffReceived(make_diff(31, 40, 30, 3.0)), 2 * S)
    view = machine.take_view()
    assert view is not None
    assert (view.last_id, view.bids[0], view.conflated, view.ts_recv_ns) == (40, (10.0, 3.0), 2, 2 * S)


def test_a_lost_connection_ends_the_book() -> None:
    machine = make_ready()
    assert lost(machine.handle(Disconnected(), 2 * S)) is LostReason.DISCONNECTED
    assert machine.handle(DiffReceived(make_diff(21, 30, 20)), 2 * S) == []
    assert machine.handle(TickerReceived(21, (1.0, 1.0), (2.0, 1.0)), 2 * S) == []
    assert machine.next_due_ns() == -1
    assert machine.handle(StreamOpened(), 3 * S) == []
    assert isinstance(machine.handle(DiffReceived(make_diff(31, 40, 30)), 3 * S)[0], FetchSnapshot)


def test_a_book_grows_too_old_between_messages() -> None:
    machine = make_ready()
    machine.handle(DiffReceived(make_diff(21, 30, 20, ts_ns=2 * S)), 6 * S)  # four seconds late
    assert machine.next_due_ns() == 7 * S
    assert lost(machine.handle(TimePassed(), 7 * S)) is LostReason.STALE


SOUP = st.lists(
    st.one_of(
        st.tuples(st.just("diff"), st.integers(0, 8), st.integers(0, 3)),
        st.tuples(st.just("next"), st.integers(1, 4), st.integers(0, 3)),
        st.tuples(st.just("snapshot"), st.integers(0, 60), st.integers(0, 2)),
        st.tuples(st.just("ticker"), st.integers(0, 60), st.integers(0, 3)),
        st.tuples(st.sampled_from(["open", "close", "fail", "clock"]), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("due"), st.integers(0, 20), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(soup=SOUP, spot=st.booleans(), repeats_max=st.integers(0, 2))
def test_any_order_of_events_keeps_the_machine_sane(
    soup: list[tuple[str, int, int]], spot: bool, repeats_max: int
) -> None:
    machine = BookSyncMachine(Continuity.SPOT if spot else Continuity.FUTURES, SyncSettings(repeats_max=repeats_max))
    now_ns, at_id, request_id, was_ready = S, 10, 0, False
    machine.handle(StreamOpened(), now_ns)
    for kind, number, qty in soup:
        now_ns += S // 10
        if kind == "due":
            due_ns = machine.next_due_ns()
            now_ns = max(now_ns + number * S // 10, due_ns)
        event = {
            "diff": DiffReceived(make_diff(number * 7, number * 7 + 6, number * 7 - 1, qty, now_ns)),
            "next": DiffReceived(make_diff(at_id + 1, at_id + number, at_id, qty, now_ns - qty * S)),
            "snapshot": SnapshotReceived(max(0, request_id - (qty == 2)), make_snapshot(number)),
            "ticker": TickerReceived(number, (10.0, float(qty)), (11.0, 5.0)),
            "open": StreamOpened(),
            "close": Disconnected(),
            "fail": SnapshotFailed(request_id, number * S),
            "clock": ClockMeasured(number * S),
            "due": TimePassed(),
        }[kind]
        at_id += number if kind == "next" else 0
        done = machine.handle(event, now_ns)
        assert sum(isinstance(instruction, FetchSnapshot) for instruction in done) <= 1
        for instruction in done:
            if isinstance(instruction, FetchSnapshot):
                assert instruction.request_id == request_id + 1
                request_id += 1
            elif isinstance(instruction, BookLost):
                assert was_ready
                was_ready = False
            elif isinstance(instruction, BookReady):
                assert not was_ready
                was_ready = True
        assert machine.is_ready is was_ready
        assert (machine.last_id >= 0) is was_ready
        if was_ready:
            assert machine.asks() == ((11.0, 5.0),)
        else:
            assert (machine.bids(), machine.asks(), machine.take_view()) == ((), (), None)
        if kind == "due":  # whoever waits for what is due does not spin
            due_ns = machine.next_due_ns()
            assert due_ns == -1 or due_ns > now_ns
