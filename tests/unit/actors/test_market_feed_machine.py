"""The feed: bars leave in order, once, flagged for what is wrong with them, and never too far ahead."""

import math
from typing import Any

import pytest

from actors.market_feed.machine import MarketFeedMachine, compute_quality
from actors.market_feed.source import MarketSource, iterate_closes
from actors.messages import Alert, Record, Send, Severity, Tick
from market.events import BarsClosed
from market.records import Bar, Quality
from tests.unit.actors.accounts import INTERVAL_NS, close_ns, make_approvals, make_bar, make_closed, make_update

SUBSCRIBERS = ("executor", "strategist", "governor")


def publish(machine: MarketFeedMachine, closed: BarsClosed) -> tuple[list[BarsClosed], list[Alert]]:
    """Hand one interval over; return what subscribers and what people are told."""
    instructions = machine.handle(closed, closed.ts_close_ns)
    alerts = [m.message for m in instructions if isinstance(m, Record)]
    assert [m.message for m in instructions if isinstance(m, Send) and m.to == ("herald",)] == alerts
    sent = [m.message for m in instructions if isinstance(m, Send) and m.to == SUBSCRIBERS]
    return sent, alerts  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Quality.GOOD),
        ({"quality": Quality.STALE.value}, Quality.STALE),
        ({"open_px": math.nan}, Quality.NOT_FINITE),
        ({"high_px": math.inf}, Quality.NOT_FINITE),
        ({"low_px": -math.inf}, Quality.NOT_FINITE),
        ({"close_px": math.nan, "quality": Quality.CROSSED.value}, Quality.NOT_FINITE | Quality.CROSSED),
        ({"high_px": 99.9}, Quality.IMPOSSIBLE),
        ({"low_px": 100.1}, Quality.IMPOSSIBLE),
        ({"open_px": 101.5}, Quality.IMPOSSIBLE),
        ({"close_px": 98.5}, Quality.IMPOSSIBLE),
        ({"low_px": 0.0}, Quality.IMPOSSIBLE),
        ({"low_px": -1.0}, Quality.IMPOSSIBLE),
        ({"volume_base": -1.0}, Quality.IMPOSSIBLE),
        ({"volume_base": math.nan}, Quality.IMPOSSIBLE),
        ({"volume_base": 0.0}, Quality.GOOD),
        ({"funding_rate": math.nan, "open_interest_base": math.nan, "signal": math.nan}, Quality.GOOD),
    ],
)
def test_a_bar_is_flagged_for_what_its_numbers_show(changes: dict[str, Any], expected: Quality) -> None:
    assert compute_quality(make_bar(1, **changes)) == expected


def test_flags_travel_with_the_bar() -> None:
    machine = MarketFeedMachine(INTERVAL_NS, SUBSCRIBERS)
    bad = make_bar(1, high_px=math.nan)
    [sent], alerts = publish(machine, make_closed(1, make_bar(1), bad))
    assert [bar.quality for bar in sent.bars] == [Quality.GOOD, Quality.NOT_FINITE]
    assert alerts == []
    assert sent.bars[0] == make_bar(1)


def test_what_comes_late_or_twice_is_dropped_and_told() -> None:
    machine = MarketFeedMachine(INTERVAL_NS, SUBSCRIBERS)
    publish(machine, make_closed(5))
    for number in (5, 4):
        sent, [alert] = publish(machine, make_closed(number))
        assert sent == []
        assert (alert.severity, alert.key) == (Severity.WARNING, "feed.disorder")
    assert machine.ts_published_ns == close_ns(5)


def test_a_gap_is_flagged_and_told_and_not_filled() -> None:
    machine = MarketFeedMachine(INTERVAL_NS, SUBSCRIBERS)
    publish(machine, make_closed(1))
    [sent], [alert] = publish(machine, make_closed(3, make_bar(3), make_bar(3, quality=Quality.STALE.value)))
    assert [bar.quality for bar in sent.bars] == [Quality.AFTER_GAP, Quality.AFTER_GAP | Quality.STALE]
    assert (alert.severity, alert.key) == (Severity.WARNING, "feed.gap")
    [next_one], [] = publish(machine, make_closed(4))
    assert [bar.quality for bar in next_one.bars] == [Quality.GOOD]


def test_the_window_closes_until_the_governor_confirms() -> None:
    machine = MarketFeedMachine(INTERVAL_NS, SUBSCRIBERS, window=3)
    for number in (1, 2, 3):
        assert machine.is_open
        publish(machine, make_closed(number))
    assert not machine.is_open
    assert machine.handle(make_update(1), 0) == []
    assert not machine.is_open
    assert machine.handle(make_approvals(1), 0) == []
    assert machine.is_open
    publish(machine, make_closed(4))
    assert not machine.is_open
    machine.handle(make_approvals(4), 0)  # one confirms all before it
    for number in (5, 6, 7):
        assert machine.is_open
        publish(machine, make_closed(number))
    machine.handle(make_approvals(4), 0)
    assert not machine.is_open


def test_what_is_published_again_after_a_restart_waits_for_nobody() -> None:
    machine = MarketFeedMachine(INTERVAL_NS, SUBSCRIBERS, window=2)
    machine.handle(make_approvals(3), 0)
    for number in (1, 2, 3, 4):
        assert machine.is_open
        publish(machine, make_closed(number))
    publish(machine, make_closed(5))
    assert not machine.is_open


def test_a_message_of_somebody_else_is_our_bug() -> None:
    with pytest.raises(TypeError, match="no handler for Tick"):
        MarketFeedMachine(INTERVAL_NS, SUBSCRIBERS).handle(Tick(), 0)


def test_a_source_without_a_catalog_makes_its_market() -> None:
    source = MarketSource(("BTC-PERP.BINANCE", "ETH-PERP.BINANCE"), seed=4, bars=5)
    market = source.load()
    closes = list(iterate_closes(market))
    assert market.bars.tobytes() == source.load().bars.tobytes()
    assert [closed.ts_close_ns - closes[0].ts_close_ns for closed in closes] == [
        number * market.interval_ns for number in range(5)
    ]
    for index, closed in enumerate(closes):
        assert closed.ts_close_ns == closed.bars[0].ts_open_ns + market.interval_ns
        expected = [Bar(*market.bars[row, index].item()) for row in range(2)]
        assert [repr(bar) for bar in closed.bars] == [repr(bar) for bar in expected]
