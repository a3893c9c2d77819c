"""Our requests on this venue's wire: exact, rounded to keep promises, and the checks before."""

import pytest

from market.events import OrderRequest, OrderType, TimeInForce
from market.instruments import LISTED
from venues.hyperliquid import client_wire, rules, wire
from venues.hyperliquid.info_replies import Meta, PerpInfo
from venues.port import ClientSettings, PreflightError

BTC = LISTED["BTC-PERP.HYPERLIQUID"]
ASSET = rules.Asset(3, "BTC", 5, False, BTC)
A = "0x" + "a" * 32
SETTINGS = ClientSettings()


def write(request: OrderRequest, *, is_child: bool = False, mark_px: float = 60_000.0) -> object:
    order = client_wire.write_order(
        ASSET,
        request,
        request.qty_lots,
        client_wire.round_request_px(ASSET, request.limit_px, request.side),
        client_wire.round_trigger_px(ASSET, request.trigger_px),
        is_child=is_child,
        mark_px=mark_px,
        settings=SETTINGS,
    )
    return wire.to_plain(order)


def test_every_type_on_the_wire() -> None:
    market = OrderRequest(A, BTC.instrument_id, 1, 29, OrderType.MARKET)
    assert write(market) == {
        "a": 3, "b": True, "p": "63000", "s": "0.00029", "r": False, "t": {"limit": {"tif": "Ioc"}}, "c": A,
    }  # fmt: skip
    sell = OrderRequest(
        A, BTC.instrument_id, -1, 100, OrderType.LIMIT, 61_000.4, time_in_force=TimeInForce.POST_ONLY
    )  # fmt: skip
    assert write(sell)["p"] == "61001"  # type: ignore[index]
    assert write(sell)["t"] == {"limit": {"tif": "Alo"}}  # type: ignore[index]
    stop = OrderRequest(A, BTC.instrument_id, -1, 100, OrderType.STOP_MARKET, 0.0, 55_000.0, is_reduce_only=True)
    assert write(stop, is_child=True) == {
        "a": 3, "b": False, "p": "49500", "s": "0.001", "r": True,
        "t": {"trigger": {"isMarket": True, "triggerPx": "55000", "tpsl": "sl"}}, "c": A,
    }  # fmt: skip
    target = OrderRequest(A, BTC.instrument_id, -1, 100, OrderType.TAKE_PROFIT_LIMIT, 66_000.0, is_reduce_only=True)
    assert write(target)["t"] == {"limit": {"tif": "Gtc"}}  # type: ignore[index]
    assert write(target, is_child=True)["t"] == {  # type: ignore[index]
        "trigger": {"isMarket": False, "triggerPx": "66000", "tpsl": "tp"}
    }
    with pytest.raises(ValueError, match="no mark px"):
        write(market, mark_px=float("nan"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"client_order_id": "intent-1"}, "32 hex"),
        ({"qty_lots": 0}, "not well formed"),
        ({"qty_lots": 10**16}, "more than"),
        ({"order_type": OrderType.STOP_MARKET, "trigger_px": 5.0}, "reduce-only"),
        ({"order_type": OrderType.STOP_LIMIT, "trigger_px": 5.0}, "this client sends"),
        ({"order_type": OrderType.MARKET_IF_TOUCHED, "trigger_px": 5.0}, "this client sends"),
    ],
)
def test_what_the_venue_cannot_take(fields: dict[str, object], words: str) -> None:
    values = {"client_order_id": A, "instrument_id": BTC.instrument_id, "side": 1, "qty_lots": 5}
    request = OrderRequest(**(values | {"order_type": OrderType.LIMIT, "limit_px": 5.0} | fields))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=words):
        client_wire.check_request(ASSET, request)


def test_the_live_metadata_must_be_ours() -> None:
    live = Meta((PerpInfo("ETH", 4, 25), PerpInfo("BTC", 5, 40)))
    table = client_wire.find_assets([BTC], live)
    assert table.get(BTC.instrument_id).asset_id == 1
    for info, words in ((PerpInfo("BTC", 4, 40), "szDecimals"), (PerpInfo("BTC", 5, 20), "20 at the venue")):
        with pytest.raises(PreflightError, match=words):
            client_wire.find_assets([BTC], Meta((info,)))
    with pytest.raises(PreflightError, match="does not list"):
        client_wire.find_assets([BTC], Meta((PerpInfo("BTC", 5, 40, is_delisted=True),)))
