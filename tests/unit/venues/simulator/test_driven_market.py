"""The driven market: prices follow the path, the house is sound, money balances, the same calls give the same world."""

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.book import BookDiff, BookSnapshot, BookStatus, Continuity, LocalBook
from market.events import Fill, FundingPaid, OrderTriggered, TimeInForce
from market.fills import Costs
from market.generator import generate_market
from market.instruments import Instrument
from market.records import NS_PER_S
from tests.unit.venues.order_requests import BTC, BUY, ETH, SELL, limit, market, stop
from venues.simulator.driven_market import Block, DrivenMarket, MarketSettings
from venues.simulator.funding import FundingRule, MarkRule
from venues.simulator.house import HOUSE_MAKER_ID, HOUSE_TAKER_ID
from venues.simulator.price_path import PathEnd, PricePath, make_bars

COSTS = Costs(5.0, 2.0, 0.0)
MINUTE_NS = 60 * NS_PER_S
TS_NS = 1_704_067_200 * NS_PER_S
ID = BTC.instrument_id


def make_market(
    pxs: Any = (100.0, 101.0, 99.0, 100.0, 102.0), seed: int = 3, instruments: Any = (BTC,), **fields: Any
) -> DrivenMarket:
    bars = make_bars(pxs, TS_NS, MINUTE_NS, 500.0)
    path = {instrument.instrument_id: bars for instrument in instruments}
    driven = DrivenMarket(instruments, COSTS, path, MarketSettings(**({"block_ns": NS_PER_S} | fields)), seed)
    for account_id in ("a", "b", "c"):
        driven.open_account(account_id, 100_000.0)
    return driven


def digest(blocks: list[Block]) -> str:
    return hashlib.sha256(repr(blocks).encode()).hexdigest()


def play(seed: int) -> str:
    """Let two accounts trade on a generated market and return a digest of everything that came out."""
    bars = generate_market(5, ["BTC-PERP.HYPERLIQUID"], 8)
    driven = DrivenMarket(bars.instruments, COSTS, {bars.instrument_ids[0]: bars.bars[0]}, MarketSettings(), seed)
    driven.open_account("a", 1e5)
    blocks = driven.advance(driven.ts_start_ns + 30 * NS_PER_S)
    order = market("1", BUY, 100, instrument_id=bars.instrument_ids[0])
    blocks.append(driven.submit("a", [order], driven.ts_now_ns))
    return digest([*blocks, *driven.advance(driven.ts_start_ns + 60 * NS_PER_S)])


def test_path_touches_each_bars_extremes_and_trades_its_volume() -> None:
    made = generate_market(1, ["BTC-PERP.HYPERLIQUID"], 20)
    bars = made.bars[0]
    path = PricePath(made.instruments[0], bars, int(bars["ts_open_ns"][4]), 70_000_000, 9)
    for index, bar in enumerate(bars):
        stretch = path.make_stretch(index)
        assert (stretch.pxs[0], stretch.pxs[-1]) == (bar["open_px"], bar["close_px"])
        assert (max(stretch.pxs), min(stretch.pxs)) == (bar["high_px"], bar["low_px"])
        lots = sum(abs(lots) for lots in stretch.taker_lots)
        assert lots == round(bar["volume_base"] / made.instruments[0].lot_base)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 40), st.integers(0, 10_000), st.floats(0.0, 0.2), st.floats(0.0, 1.0))
def test_short_bars_touch_their_extremes_too(blocks: int, seed: int, width: float, place: float) -> None:
    close_px = 100.0 + 10.0 * width * place
    bars = make_bars((100.0, close_px, close_px), TS_NS, blocks * NS_PER_S, 10.0)
    bars["high_px"], bars["low_px"] = 103.0, 99.0
    pxs = PricePath(BTC, bars, TS_NS, NS_PER_S, seed).make_stretch(0).pxs
    assert (len(pxs), max(pxs), min(pxs), pxs[0]) == (blocks, 103.0, 99.0, 100.0)


def test_tape_resembles_the_bars() -> None:
    made = generate_market(2, ["BTC-PERP.HYPERLIQUID"], 4)
    driven = DrivenMarket(made.instruments, COSTS, {made.instrument_ids[0]: made.bars[0]}, MarketSettings(), 1)
    driven.advance(driven.ts_start_ns + 2 * 900 * NS_PER_S - 1)
    candles = driven.list_candles(made.instrument_ids[0], 900 * NS_PER_S, 0, driven.ts_now_ns)
    for candle, bar in zip(candles, made.bars[0][:2], strict=True):
        assert candle.high_px == pytest.approx(bar["high_px"], rel=1e-4)
        assert candle.low_px == pytest.approx(bar["low_px"], rel=1e-4)
        assert candle.close_px == pytest.approx(bar["close_px"], rel=1e-4)
        assert candle.volume_lots * made.instruments[0].lot_base == pytest.approx(bar["volume_base"], rel=0.02)


@pytest.mark.parametrize("end", PathEnd)
def test_after_the_last_bar_the_market_goes_on_as_told(end: PathEnd) -> None:
    driven = make_market((100.0, 104.0), path_end=end)
    driven.advance(TS_NS + 59 * NS_PER_S)
    assert driven.get_path_px(ID) == 104.0
    blocks = driven.advance(TS_NS + 119 * NS_PER_S)
    trades = [trade for block in blocks for trade in block.trades]
    assert bool(trades) == (end is not PathEnd.STOP)
    assert driven.get_path_px(ID) == pytest.approx(104.0 * 1.04 if end is PathEnd.LOOP else 104.0)
    assert driven.height == 120


def test_one_long_advance_or_many_short_ones_make_the_same_world() -> None:
    long, short = make_market(), make_market()
    blocks = long.advance(TS_NS + 200 * NS_PER_S)
    pieces = [block for step in range(0, 2001, 7) for block in short.advance(TS_NS + step * NS_PER_S // 10)]
    pieces += short.advance(TS_NS + 200 * NS_PER_S)
    assert pieces == blocks
    assert long.get_book(ID) == short.get_book(ID)


def test_not_watched_it_is_the_same_world_but_for_update_ids() -> None:
    watched, unwatched = make_market(), make_market()
    watched.advance(TS_NS + 100 * NS_PER_S)
    told = unwatched.advance(TS_NS + 100 * NS_PER_S, is_watched=False)
    one, other = watched.get_book(ID), unwatched.get_book(ID)
    assert (one.bids, one.asks) == (other.bids, other.asks)
    assert watched.list_trades(ID, 999) == unwatched.list_trades(ID, 999)
    assert [len(block.books) for block in told][-1] == 1


def test_same_seed_same_events_in_a_fresh_process() -> None:
    code = "from tests.unit.venues.simulator.test_driven_market import play; print(play(7))"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert fresh.stdout.strip() == play(7) != play(8)


@pytest.mark.parametrize("continuity", Continuity)
def test_diffs_and_a_snapshot_make_the_same_book(continuity: Continuity) -> None:
    driven, local = make_market(), LocalBook(continuity)
    size = BTC.lot_base

    def scale(levels: Any) -> Any:
        return tuple((px, lots * size) for px, lots in levels)

    for second in range(1, 150):
        if second == 40:
            view = driven.get_book(ID)
            bids, asks = ([(level.px, level.qty_lots) for level in side] for side in (view.bids, view.asks))
            local.apply_snapshot(BookSnapshot(view.last_id, scale(bids), scale(asks)))
        for block in driven.advance(TS_NS + second * NS_PER_S):
            for change in block.books:
                assert change.last_id - change.first_id + 1 == len(change.bids) + len(change.asks)
                diff = BookDiff(
                    change.first_id, change.last_id, change.previous_id, scale(change.bids), scale(change.asks)
                )
                local.apply_diff(diff)
    view = driven.get_book(ID)
    assert local.status is BookStatus.SYNCED
    assert local.last_id == view.last_id
    assert local.gaps == 0
    assert local.bids(999) == scale((level.px, level.qty_lots) for level in view.bids)
    assert local.asks(999) == scale((level.px, level.qty_lots) for level in view.asks)


def test_most_blocks_change_few_levels() -> None:
    made = generate_market(2, ["BTC-PERP.HYPERLIQUID"], 4)
    driven = DrivenMarket(made.instruments, COSTS, {made.instrument_ids[0]: made.bars[0]}, MarketSettings(), 1)
    first, *blocks = driven.advance(driven.ts_start_ns + 120 * NS_PER_S)
    assert len(first.books[0].bids) >= 20
    changes = [len(change.bids) + len(change.asks) for block in blocks for change in block.books]
    assert np.mean(changes) < 8
    assert driven.height > 1700


def test_eaten_liquidity_comes_back_over_some_blocks() -> None:
    driven = make_market((100.0, 100.0))
    driven.advance(TS_NS)
    px, lots = driven.exchange.list_levels(ID, SELL, 1)[0]
    block = driven.submit("a", [limit("1", BUY, lots, px, time_in_force=TimeInForce.IOC)], TS_NS)
    assert [event.fill_qty_lots for event in block.events_of("a") if isinstance(event, Fill)]
    assert sum(trade.qty_lots for trade in block.trades) == lots
    assert block.trades[0].buyer_id == "a"
    assert (px, 0) in block.books[0].asks
    seen = []
    for second in range(1, 8):
        driven.advance(TS_NS + second * NS_PER_S)
        seen.append(dict(driven.exchange.list_levels(ID, SELL, 99)).get(px, 0))
    assert 0 < seen[0] < lots
    assert max(seen) > seen[0]


def test_an_order_the_path_goes_through_fills_whole_and_is_a_maker() -> None:
    driven = make_market((100.0, 100.0, 110.0))
    driven.advance(TS_NS)
    block = driven.submit("a", [limit("1", SELL, 5_000, 104.0)], TS_NS)
    assert not block.trades
    assert len(block.books[0].asks) == 1
    blocks = driven.advance(TS_NS + 119 * NS_PER_S)
    fills = [event for block in blocks for event in block.events_of("a") if isinstance(event, Fill)]
    assert sum(fill.fill_qty_lots for fill in fills) == 5_000
    assert all(fill.is_maker and fill.fill_px == 104.0 for fill in fills)
    trades = [trade for block in blocks for trade in block.trades if trade.maker_id == "a"]
    assert {trade.taker_id for trade in trades} == {HOUSE_TAKER_ID}
    assert trades[0].taker_side == BUY
    assert {int(fill.trade_id) for fill in fills} == {trade.trade_id for trade in trades}


def test_accounts_trade_with_each_other_inside_the_spread() -> None:
    driven = make_market((100.0, 100.0))
    driven.advance(TS_NS)
    driven.submit("a", [limit("1", BUY, 10, 100.0)], TS_NS)
    block = driven.submit("b", [limit("1", SELL, 10, 100.0)], TS_NS)
    (trade,) = block.trades
    assert (trade.maker_id, trade.taker_id, trade.taker_side, trade.px) == ("a", "b", SELL, 100.0)
    assert [account_id for account_id, event in block.events if isinstance(event, Fill)] == ["b", "a"]
    assert driven.get_open_interest_lots(ID) == 10


def test_a_fill_cap_leaves_the_rest_unfilled() -> None:
    driven = make_market((100.0, 100.0))
    driven.advance(TS_NS)
    block = driven.submit("a", [market("1", BUY, 50)], TS_NS, fill_cap_lots=7)
    fills = [event for event in block.events_of("a") if isinstance(event, Fill)]
    assert sum(fill.fill_qty_lots for fill in fills) == 7
    assert block.events_of("a")[-1].message == "no liquidity"


def test_a_stop_triggers_on_the_mark_and_a_far_account_is_liquidated() -> None:
    driven = make_market((100.0, 100.0, 90.0), mark_every_ns=NS_PER_S, basis_ema_ns=NS_PER_S)
    driven.open_account("poor", 200.0)
    driven.advance(TS_NS)
    driven.submit("a", [market("1", BUY, 50)], TS_NS)
    driven.submit("a", [stop("2", SELL, 50, 97.0)], TS_NS)
    driven.submit("poor", [market("1", BUY, 3_000)], TS_NS)
    blocks = driven.advance(TS_NS + 119 * NS_PER_S)
    assert [event for block in blocks for event in block.events_of("a") if isinstance(event, OrderTriggered)]
    assert driven.exchange.position("a", ID).qty_lots == 0
    assert driven.exchange.position("poor", ID).qty_lots == 0
    driven.exchange.check_invariants()


def test_funding_of_an_hour_is_what_a_hand_computes() -> None:
    bars = make_bars([100.0] * 5, TS_NS, 900 * NS_PER_S, 500.0)
    driven = DrivenMarket([BTC], COSTS, {ID: bars}, MarketSettings(block_ns=NS_PER_S, path_end=PathEnd.HOLD), 3)
    driven.open_account("a", 100_000.0)
    driven.advance(TS_NS)
    driven.submit("a", [market("1", SELL, 40)], TS_NS)
    samples = []
    for second in range(1, 3600):
        driven.advance(TS_NS + second * NS_PER_S)
        if second % 5 == 0:
            bid_px, ask_px = driven.get_impact_pxs(ID)
            oracle_px = driven.get_mark(ID).oracle_px
            samples.append((max(bid_px - oracle_px, 0.0) - max(oracle_px - ask_px, 0.0)) / oracle_px)
    (block,) = [block for block in driven.advance(TS_NS + 3600 * NS_PER_S) if block.fundings]
    bid_px, ask_px = driven.get_impact_pxs(ID)
    (settled,) = block.fundings
    samples.append((max(bid_px - settled.index_px, 0.0) - max(settled.index_px - ask_px, 0.0)) / settled.index_px)
    premium = sum(samples) / len(samples)
    rate = (premium + max(-5e-4, min(5e-4, 1e-4 - premium))) / 8.0
    assert settled.funding_rate == pytest.approx(rate, abs=2e-10)
    assert settled.ts_event_ns == TS_NS + 3600 * NS_PER_S
    (paid,) = [event for event in block.events_of("a") if isinstance(event, FundingPaid)]
    assert paid.amount_quote == pytest.approx(40 * 0.01 * settled.index_px * settled.funding_rate)
    assert driven.list_fundings(ID)[-1] == settled
    assert driven.get_funding(ID)[2] == TS_NS + 7200 * NS_PER_S


@pytest.mark.parametrize(("rule", "rate"), [(FundingRule.HYPERLIQUID, 5e-5), (FundingRule.DYDX, -3e-5)])
def test_the_oracle_is_led_so_that_the_bars_own_rate_comes_out(rule: FundingRule, rate: float) -> None:
    bars = make_bars([100.0] * 3, TS_NS, 3600 * NS_PER_S, 1e7)  # so deep that the impact px is the touch
    bars["funding_rate"] = rate
    fine = Instrument("BTC-PERP.TEST", "BTC", "USDC", 0.01, 0.001, 0, 1, 2.0, 20.0, 0.025, 1)
    chosen = MarketSettings(block_ns=NS_PER_S, funding_rule=rule)
    driven = DrivenMarket([fine], COSTS, {ID: bars}, chosen, 3)
    driven.advance(TS_NS + 2 * 3600 * NS_PER_S, is_watched=False)
    assert driven.list_fundings(ID)[-1].funding_rate == pytest.approx(rate, abs=8e-6)


@pytest.mark.parametrize("rule", MarkRule)
def test_marks_follow_their_rule(rule: MarkRule) -> None:
    driven = make_market(mark_rule=rule)
    driven.advance(TS_NS + 60 * NS_PER_S)
    mark = driven.get_mark(ID)
    assert mark.mark_px == driven.exchange.get_mark_px(ID)
    if rule is MarkRule.ORACLE:
        assert mark.mark_px == mark.oracle_px
    assert mark.mark_px == pytest.approx(driven.get_path_px(ID), rel=2e-3)


def test_a_frozen_oracle_stays_and_resumes() -> None:
    driven = make_market((100.0, 100.0, 120.0), mark_rule=MarkRule.ORACLE)
    driven.advance(TS_NS + 10 * NS_PER_S)
    driven.freeze_oracle(ID, True)
    oracle_px = driven.get_mark(ID).oracle_px
    driven.advance(TS_NS + 119 * NS_PER_S)
    assert driven.get_mark(ID).oracle_px == oracle_px
    driven.freeze_oracle(ID, False)
    driven.advance(TS_NS + 122 * NS_PER_S)
    assert driven.get_mark(ID).oracle_px > 110.0


def test_a_gap_keeps_the_house_away_and_ends() -> None:
    driven = make_market((100.0, 100.0, 100.0))
    driven.advance(TS_NS + NS_PER_S)
    driven.gap_book(ID, 500.0)
    blocks = driven.advance(TS_NS + 10 * NS_PER_S)
    assert not [trade for block in blocks for trade in block.trades]
    assert driven.exchange.get_best_px(ID, SELL) >= 105.0
    assert driven.exchange.get_best_px(ID, BUY) <= 95.0
    gapped = driven.submit("a", [limit("1", BUY, 10, 101.0, time_in_force=TimeInForce.IOC)], driven.ts_now_ns)
    assert gapped.events_of("a")[-1].message == "ioc"
    driven.gap_book(ID, 0.0)
    driven.advance(TS_NS + 11 * NS_PER_S)
    assert driven.exchange.get_best_px(ID, SELL) < 100.3
    with pytest.raises(ValueError, match="gap of"):
        driven.gap_book(ID, -1.0)


def test_the_house_fills_a_named_resting_order_before_its_cancel() -> None:
    driven = make_market((100.0, 100.0))
    driven.advance(TS_NS)
    driven.submit("a", [limit("1", BUY, 10, 99.0)], TS_NS)
    block = driven.fill_resting("a", "1", 4, TS_NS)
    (fill,) = block.events_of("a")
    assert (fill.fill_qty_lots, fill.fill_px, fill.is_maker) == (4, 99.0, True)
    assert [(trade.taker_id, trade.maker_id, trade.qty_lots) for trade in block.trades] == [(HOUSE_TAKER_ID, "a", 4)]
    driven.cancel("a", "1", TS_NS)
    assert not driven.fill_resting("a", "1", 4, TS_NS).events
    assert driven.exchange.position("a", ID).qty_lots == 4
    driven.exchange.check_invariants()


def test_commands_outside_their_time_and_unknown_names_are_refused_in_words() -> None:
    driven = make_market()
    with pytest.raises(ValueError, match="advance to the command's time first"):
        driven.cancel("a", "1", TS_NS)
    driven.advance(TS_NS)
    with pytest.raises(ValueError, match="next block is due"):
        driven.submit("a", [market("1", BUY, 5)], TS_NS + NS_PER_S)
    with pytest.raises(ValueError, match="is the house's"):
        driven.cancel_all(HOUSE_MAKER_ID, TS_NS)
    with pytest.raises(ValueError, match="no instrument"):
        driven.get_book("ETH-PERP.TEST")
    with pytest.raises(ValueError, match="path has no bars of ETH"):
        DrivenMarket([BTC, ETH], COSTS, {ID: make_bars((1.0, 2.0), TS_NS, MINUTE_NS)})
    with pytest.raises(ValueError, match="shorten block_ns"):
        make_market(block_ns=MINUTE_NS)
    with pytest.raises(ValueError, match="lies outside the bars"):
        make_market(ts_start_ns=TS_NS - NS_PER_S)


ACTIONS = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([BTC, ETH]),
    st.sampled_from(["market", "limit", "alo", "stop", "cancel", "modify", "cancel_all", "capped"]),
    st.sampled_from([BUY, SELL]),
    st.integers(3, 4000),
    st.integers(-30, 30),
    st.integers(0, 20),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(ACTIONS, min_size=10, max_size=50), st.integers(0, 999))
def test_money_balances_and_books_stay_uncrossed_whatever_accounts_do(flow: list[Any], seed: int) -> None:
    driven = make_market((100.0, 106.0, 95.0, 100.0, 102.0), seed, (BTC, ETH), mark_every_ns=2 * NS_PER_S)
    driven.advance(TS_NS)
    traded_lots = booked_lots = 0
    for count, (account_id, instrument, kind, side, lots, offset, wait) in enumerate(flow):
        ts_ns, instrument_id = driven.ts_now_ns, instrument.instrument_id
        px = round(driven.get_path_px(instrument_id) + 0.1 * offset, 1)
        fields = {"instrument_id": instrument_id}
        name, before = str(count), str(max(0, count - offset % 5))
        if kind == "cancel":
            blocks = [driven.cancel(account_id, before, ts_ns)]
        elif kind == "modify":
            blocks = [driven.modify(account_id, before, ts_ns, qty_lots=lots, limit_px=px)]
        elif kind == "cancel_all":
            blocks = [driven.cancel_all(account_id, ts_ns, instrument_id)]
        else:
            request = {
                "market": market(name, side, lots, **fields),
                "capped": market(name, side, lots, **fields),
                "limit": limit(name, side, lots, px, **fields),
                "alo": limit(name, side, lots, px, time_in_force=TimeInForce.POST_ONLY, **fields),
                "stop": stop(name, side, lots, px, **fields),
            }[kind]
            cap_lots = 5 if kind == "capped" else None
            blocks = [driven.submit(account_id, [request], ts_ns, fill_cap_lots=cap_lots)]
        blocks += driven.advance(ts_ns + wait * NS_PER_S)
        driven.exchange.check_invariants()
        for block in blocks:
            traded_lots += sum(
                trade.qty_lots * ((trade.taker_id in "abc") + (trade.maker_id in "abc")) for trade in block.trades
            )
            booked_lots += sum(event.fill_qty_lots for _, event in block.events if isinstance(event, Fill))
    assert traded_lots == booked_lots
    assert all(driven.get_mid_px(i.instrument_id) > 0.0 for i in (BTC, ETH))
