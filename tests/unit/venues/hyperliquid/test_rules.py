"""Prices, sizes, names: the venue's grid, exact strings, its words."""

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from market.instruments import LISTED
from tests.unit.venues.hyperliquid.captures import ASSETS, BTC, ETH, SOL
from venues.hyperliquid import exchange_actions as actions
from venues.hyperliquid import exchange_replies as words
from venues.hyperliquid import info_replies, rules, wire
from venues.hyperliquid.wire import MalformedMessageError

SPOT = rules.make_asset(10_107, "@107", 2, 1, is_spot=True)
SMALL = rules.make_asset(7, "kPEPE", 0, 10)
ALL = (BTC, ETH, SOL, SPOT, SMALL)
assets = st.sampled_from(ALL)
pxs = st.floats(1e-4, 1e7, allow_nan=False)


def test_listed_instruments_are_what_the_metadata_makes() -> None:
    for asset in (BTC, ETH, SOL):
        assert asset.instrument == LISTED[asset.instrument.instrument_id]
        assert rules.count_sz_decimals(asset.instrument) == asset.sz_decimals
    assert SMALL.instrument.instrument_id == "KPEPE-PERP.HYPERLIQUID"
    assert SMALL.coin == "kPEPE"
    assert (SPOT.px_decimals_max, BTC.px_decimals_max) == (6, 1)
    with pytest.raises(ValueError, match="powers of ten"):
        rules.count_sz_decimals(LISTED["ETH-PERP.DYDX"].__class__(**{**_fields(BTC), "lot_base": 0.5}))


def _fields(asset: rules.Asset) -> dict[str, object]:
    return {name: getattr(asset.instrument, name) for name in asset.instrument.__slots__}


@pytest.mark.parametrize(
    ("asset", "px", "is_valid"),
    [
        (BTC, "61800", True),
        (BTC, "61800.0", True),
        (BTC, "123456", True),
        (BTC, "6180.5", True),
        (BTC, "61800.5", False),
        (BTC, "618.05", False),
        (ETH, "1891.4", True),
        (ETH, "1891.45", False),
        (SOL, "0.1234", True),
        (SOL, "0.12345", False),
        (SPOT, "0.012345", True),
        (SPOT, "0.0123456", False),
        (SMALL, "0.001565", True),
        (SMALL, "0.0015655", False),
        (BTC, "0", False),
        (BTC, "-1", False),
        (BTC, "NaN", False),
        (BTC, "1E+99", False),
    ],
)
def test_price_grid(asset: rules.Asset, px: str, is_valid: bool) -> None:
    assert rules.is_valid_px(asset, Decimal(px)) is is_valid


@given(asset=assets, px=pxs, side=st.sampled_from([1, -1]), is_passive=st.booleans())
@example(asset=BTC, px=99999.5, side=-1, is_passive=True)
@example(asset=SOL, px=9.99999, side=1, is_passive=False)
def test_rounding_lands_on_the_grid_on_the_promised_side(
    asset: rules.Asset, px: float, side: int, is_passive: bool
) -> None:
    try:
        rounded = rules.round_px(asset, px, side, is_passive=is_passive)
    except ValueError:
        assert px < asset.instrument.tick_px
        return
    text = rules.write_px(asset, rounded)
    assert rules.read_px(text) == rounded
    assert side * (px - rounded) >= 0 if is_passive else side * (rounded - px) >= 0
    assert abs(rounded - px) <= max(asset.instrument.tick_px, px * 1e-4) * (1 + 1e-9)
    if rules.is_valid_px(asset, Decimal(repr(px))):
        assert rounded == px


@given(asset=assets, qty_lots=st.integers(1, 10**12))
def test_lots_go_there_and_back(asset: rules.Asset, qty_lots: int) -> None:
    text = rules.write_lots(asset, qty_lots)
    assert not text.endswith("0") or "." not in text
    assert rules.read_lots(asset, wire.parse_number(text, "s")) == qty_lots
    reply = rules.lots_to_number(asset, -qty_lots)
    assert rules.read_lots(asset, Decimal(str(reply))) == -qty_lots
    assert wire.encode(reply).decode().strip('"') == wire.format_reply(reply)


def test_nothing_is_rounded_in_silence() -> None:
    with pytest.raises(ValueError, match="round it with round_px"):
        rules.write_px(BTC, 61800.5)
    for px in (float("nan"), float("inf"), 0.0, -1.0):
        with pytest.raises(ValueError, match="not on the grid"):
            rules.write_px(BTC, px)
    with pytest.raises(ValueError, match="must be above 0"):
        rules.write_lots(BTC, 0)
    with pytest.raises(ValueError, match="rounds to 0"):
        rules.round_px(BTC, 0.01, 1, is_passive=True)
    for size in ("0.000001", "1." + "0" * 40 + "1", "1E+30", "NaN"):
        with pytest.raises(MalformedMessageError):
            rules.read_lots(BTC, Decimal(size))
    assert rules.read_lots(BTC, Decimal("0.0")) == rules.read_lots(BTC, Decimal("0E-9")) == 0
    for text in ("0", "-1", "1e5", "", "1."):
        with pytest.raises(MalformedMessageError):
            rules.read_px(text)
    assert rules.px_to_number(105055.0) == Decimal("105055.0")
    assert str(rules.px_to_number(105055.0)) == "105055.0"


def test_a_market_stop_carries_its_bound() -> None:
    assert rules.bound_trigger_px(BTC, 60000.0, -1) == 54000.0
    assert rules.bound_trigger_px(BTC, 60001.0, 1) == 66002.0


@pytest.mark.parametrize(
    ("px", "sz", "said"),
    [
        ("60000", "0.001", None),
        ("60000", "0", words.ZERO_SIZE),
        ("60000", "-1", words.INVALID_SIZE),
        ("60000", "0.000001", words.INVALID_SIZE),
        ("60000", "9" * 27, words.INVALID_SIZE),
        ("0", "1", words.INVALID_PX),
        ("60000.5", "1", words.TICK),
        ("60000", "0.00016", words.BELOW_MINIMUM),
        ("60000", "0.00017", None),
    ],
)
def test_orders_are_refused_in_the_venues_words(px: str, sz: str, said: str | None) -> None:
    order = actions.limit_order(0, True, px, sz, "Gtc")
    expected = None if said is None else f"{said} asset=0"
    assert rules.find_order_refusal(BTC, order) == expected
    if said is not None:
        with pytest.raises(ValueError, match="would be refused"):
            rules.check_order(BTC, order)
    else:
        rules.check_order(BTC, order)


def test_triggers_and_exempt_closes() -> None:
    def refusal(trigger_px: str) -> str | None:
        return rules.find_order_refusal(BTC, actions.trigger_order(0, False, "54000", "1", trigger_px, "sl"))

    assert refusal("60000") is None
    assert refusal("0") == "Invalid TP/SL price. asset=0"
    assert refusal("60000.5") == "Price must be divisible by tick size. asset=0"
    small = actions.limit_order(0, False, "60000", "0.00001", "Ioc", is_reduce_only=True)
    assert rules.find_order_refusal(BTC, small) == "Order must have minimum value of $10. asset=0"
    assert rules.find_order_refusal(BTC, small, is_exempt=True) is None
    rules.check_order(BTC, small)


def test_names_and_ids_from_the_metadata() -> None:
    meta = rules.make_meta([BTC.instrument, ETH.instrument])
    assert rules.list_assets(meta) == (BTC, ETH)
    old = info_replies.PerpInfo("OLD", 1, 3, is_delisted=True)
    spot = info_replies.SpotMeta(
        (info_replies.SpotToken("USDC", 8, 8, 0, "0x", True), info_replies.SpotToken("HYPE", 2, 8, 150, "0x", False)),
        (info_replies.SpotPair((150, 0), "@107", 107, False), info_replies.SpotPair((9, 0), "@9", 9, False)),
    )
    found = rules.list_assets(info_replies.Meta((old, *meta.universe)), spot)
    assert [(asset.asset_id, asset.coin) for asset in found] == [(1, "BTC"), (2, "ETH"), (10_107, "@107")]
    dex = rules.list_assets(info_replies.Meta((info_replies.PerpInfo("xyz:GOLD", 2, 10),)), dex_index=2)
    assert (dex[0].asset_id, dex[0].instrument.instrument_id) == (120_000, "XYZ-GOLD-PERP.HYPERLIQUID")
    assert ASSETS.get("ETH-PERP.HYPERLIQUID") is ETH
    with pytest.raises(ValueError, match="not listed at this venue; did you mean ETH-PERP"):
        ASSETS.get("ETC-PERP.HYPERLIQUID")
    with pytest.raises(ValueError, match="must be distinct"):
        rules.AssetTable([BTC, rules.make_asset(9, "BTC", 5, 40)])
    with pytest.raises(ValueError, match="must be >= 0"):
        rules.make_asset(0, "BTC", -1, 40)
