"""/exchange of both sides: actions as the unmodified SDK and ccxt send them, replies, outcomes."""

import json
from decimal import Decimal
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.types import Cloid

from tests.unit.venues.hyperliquid.captures import ADDRESS, KEY
from venues.hyperliquid import exchange_actions as actions
from venues.hyperliquid import exchange_replies as replies
from venues.hyperliquid import info_requests, signing, wire
from venues.hyperliquid.exchange_actions import SignedAction
from venues.hyperliquid.wire import HttpReply, MalformedMessageError
from venues.orders import Message

META = {"universe": [{"name": "BTC", "szDecimals": 5, "maxLeverage": 40}]}
SPOT = {"tokens": [], "universe": []}
CLOID = Cloid.from_int(7)
ONE = "0x" + "1" * 40


class Wire:
    """What the SDK would have sent, body by body."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Any = None) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.answer = answer

        def post(_api: Any, path: str, payload: Any = None) -> Any:
            self.bodies.append((path, json.dumps(payload).encode()))
            return self.answer

        monkeypatch.setattr("hyperliquid.api.API.post", post)

    def read(self) -> SignedAction:
        """Return the last body as the simulator reads it."""
        path, body = self.bodies[-1]
        assert path == "/exchange"
        signed = actions.decode_exchange_request(body)
        assert isinstance(signed, SignedAction), body
        return signed


def make_exchange(**options: Any) -> Exchange:
    return Exchange(Account.from_key(KEY), "http://localhost:1", meta=META, spot_meta=SPOT, **options)


IOC = {"limit": {"tif": "Ioc"}}
LIMIT = {"limit": {"tif": "Alo"}}
STOP = {"trigger": {"triggerPx": 95000.0, "isMarket": True, "tpsl": "sl"}}
ORDERS = [
    {"coin": "BTC", "is_buy": True, "sz": 0.001, "limit_px": 99999.0, "order_type": LIMIT, "reduce_only": False},
    {"coin": "BTC", "is_buy": False, "sz": 0.001, "limit_px": 90000, "order_type": STOP, "reduce_only": True},
]
CALLS: list[tuple[str, Any]] = [
    ("order", lambda e: e.order("BTC", True, 0.00123, 99999.5, {"limit": {"tif": "Gtc"}}, cloid=CLOID)),
    (
        "order",
        lambda e: e.order("BTC", True, 1, 9e4, {"limit": {"tif": "Ioc"}}, builder={"b": "0x" + "Ab" * 20, "f": 10}),
    ),
    ("order", lambda e: e.bulk_orders(ORDERS, grouping="normalTpsl")),
    ("order", lambda e: e.bulk_orders(ORDERS[1:], grouping="positionTpsl")),
    ("order", lambda e: e.bulk_orders(ORDERS[:1], grouping={"p": 5})),
    ("order", lambda e: e.market_open("BTC", True, 0.01, px=60000.0)),
    ("cancel", lambda e: e.cancel("BTC", 123)),
    ("cancelByCloid", lambda e: e.cancel_by_cloid("BTC", CLOID)),
    ("batchModify", lambda e: e.modify_order(12, "BTC", True, 1.0, 9e4, {"limit": {"tif": "Gtc"}})),
    ("batchModify", lambda e: e.modify_order(CLOID, "BTC", True, 1.0, 9e4, STOP, cloid=CLOID)),
    ("updateLeverage", lambda e: e.update_leverage(3, "BTC", False)),
    ("updateIsolatedMargin", lambda e: e.update_isolated_margin(-1.5, "BTC")),
    ("scheduleCancel", lambda e: e.schedule_cancel(1_700_000_000_000)),
    ("scheduleCancel", lambda e: e.schedule_cancel(None)),
    ("noop", lambda e: e.noop(1_700_000_000_000)),
    ("setReferrer", lambda e: e.set_referrer("CCXT1")),
    ("createSubAccount", lambda e: e.create_sub_account("desk")),
    ("subAccountTransfer", lambda e: e.sub_account_transfer(ONE, True, 5)),
    ("vaultTransfer", lambda e: e.vault_usd_transfer(ONE, True, 5)),
    ("agentSetAbstraction", lambda e: e.agent_set_abstraction("u")),
    ("approveAgent", lambda e: e.approve_agent()),
    ("approveAgent", lambda e: e.approve_agent("desk")),
    ("approveBuilderFee", lambda e: e.approve_builder_fee(ONE, "0.01%")),
    ("usdSend", lambda e: e.usd_transfer(1.5, ONE)),
    ("spotSend", lambda e: e.spot_transfer(1.5, ONE, "PURR:0xc4bf3f870c0e9465323c0b6ed28096c2")),
    ("withdraw3", lambda e: e.withdraw_from_bridge(1.5, ONE)),
    ("usdClassTransfer", lambda e: e.usd_class_transfer(1.5, True)),
    ("sendAsset", lambda e: e.send_asset(ONE, "", "spot", "USDC", 1.0)),
    ("userSetAbstraction", lambda e: e.user_set_abstraction(ONE, "disabled")),
    ("userDexAbstraction", lambda e: e.user_dex_abstraction(ONE, True)),
    ("tokenDelegate", lambda e: e.token_delegate(ONE, 5, False)),
]


@pytest.mark.parametrize(("tag", "call"), CALLS)
def test_what_the_sdk_sends_is_read_its_signer_told_and_sent_the_same_by_us(
    tag: str, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk_wire = Wire(monkeypatch)
    exchange = make_exchange()
    call(exchange)
    signed = sdk_wire.read()
    assert isinstance(signed.action, actions.ACTIONS[tag])
    assert signing.recover_signer(signed, "testnet") == signing.Signer(ADDRESS, "testnet")
    ours = signing.sign_action(exchange.wallet, signed.action, signed.nonce, "testnet")
    assert ours.plain == signed.plain
    assert ours.signature == signing.pad_signature(signed.signature)
    if not isinstance(signed.action, actions.UserSigned):
        assert [*ours.plain] == [*signed.plain]
    without = json.loads(sdk_wire.bodies[-1][1])
    without = {key: value for key, value in without.items() if value is not None}  # as ccxt sends it
    assert actions.decode_exchange_request(json.dumps(without).encode()) == signed


def test_all_that_the_sdk_can_send_is_named() -> None:
    covered = {tag for tag, _ in CALLS} | {"modify"}  # of other clients
    assert covered == set(actions.ACTIONS)


def test_vault_expiry_and_an_action_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    sdk_wire = Wire(monkeypatch)
    exchange = make_exchange(vault_address=ONE)
    exchange.set_expires_after(1_700_000_000_000)
    exchange.cancel("BTC", 1)
    signed = sdk_wire.read()
    assert (signed.vault_address, signed.expires_after) == (ONE, 1_700_000_000_000)
    assert signing.recover_signer(signed, "testnet") == signing.Signer(ADDRESS, "testnet")
    make_exchange().use_big_blocks(True)
    strange = sdk_wire.read()
    assert strange.action == actions.UnknownAction("evmUserModify")
    assert signing.recover_signer(strange, "testnet") == signing.Signer(ADDRESS, "testnet")


INFO_CALLS: list[Any] = [
    lambda i: i.meta(),
    lambda i: i.meta_and_asset_ctxs(),
    lambda i: i.spot_meta(),
    lambda i: i.spot_meta_and_asset_ctxs(),
    lambda i: i.perp_dexs(),
    lambda i: i.all_mids(),
    lambda i: i.l2_snapshot("BTC"),
    lambda i: i.candles_snapshot("BTC", "15m", 1, 2),
    lambda i: i.user_state(ONE),
    lambda i: i.spot_user_state(ONE),
    lambda i: i.open_orders(ONE),
    lambda i: i.frontend_open_orders(ONE),
    lambda i: i.user_fills(ONE),
    lambda i: i.user_fills_by_time(ONE, 1),
    lambda i: i.user_fills_by_time(ONE, 1, 2, True),
    lambda i: i.query_order_by_oid(ONE, 7),
    lambda i: i.query_order_by_cloid(ONE, CLOID),
    lambda i: i.funding_history("BTC", 1),
    lambda i: i.funding_history("BTC", 1, 2),
    lambda i: i.user_funding_history(ONE, 1),
    lambda i: i.user_funding_history(ONE, 1, 2),
    lambda i: i.historical_orders(ONE),
    lambda i: i.user_rate_limit(ONE),
    lambda i: i.user_role(ONE),
    lambda i: i.user_fees(ONE),
    lambda i: i.portfolio(ONE),
    lambda i: i.extra_agents(ONE),
    lambda i: i.query_sub_accounts(ONE),
    lambda i: i.user_non_funding_ledger_updates(ONE, 1),
    lambda i: i.user_vault_equities(ONE),
    lambda i: i.user_twap_slice_fills(ONE),
    lambda i: i.query_referral_state(ONE),
    lambda i: i.user_staking_summary(ONE),
]


@pytest.mark.parametrize("index", range(len(INFO_CALLS)))
def test_what_the_sdk_asks_is_read_and_asked_the_same_by_us(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk_wire = Wire(monkeypatch)
    INFO_CALLS[index](Info("http://localhost:1", True, META, SPOT))
    path, body = sdk_wire.bodies[-1]
    request = info_requests.decode_info_request(body)
    assert path == "/info"
    assert isinstance(request, info_requests.InfoRequest), body
    assert json.loads(info_requests.encode_info_request(request)) == json.loads(body)


OUTCOMES = (
    replies.Resting(7),
    replies.Resting(7, "0x" + "0" * 32),
    replies.Filled(Decimal("0.02"), Decimal("1891.4"), 7),
    replies.Refused("Order has zero size. asset=0"),
    replies.WAITING_FOR_FILL,
    replies.WAITING_FOR_TRIGGER,
    replies.Success(),
    replies.UnknownOutcome({"levitating": {"oid": 1}}),
)
REPLIES = (
    replies.StatusesReply("order", OUTCOMES),
    replies.StatusesReply("cancel", ()),
    replies.DefaultReply(),
    replies.ActionRefused("Invalid nonce: duplicate nonce 5"),
    replies.UnknownReply({"status": "ok", "response": {"type": "twap", "data": {"status": {"running": 1}}}}),
)


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
def test_replies_go_there_and_back(reply: replies.ExchangeReply) -> None:
    assert replies.decode_exchange_reply(replies.encode_exchange_reply(reply)) == reply


def test_the_fact_sheets_replies_to_the_letter() -> None:
    text = (
        b'{"status":"ok","response":{"type":"order","data":{"statuses":[{"filled":{"totalSz":"0.02","avgPx":"1891.4",'
        b'"oid":77747314}},"waitingForTrigger","waitingForTrigger"]}}}'
    )
    reply = replies.decode_exchange_reply(text)
    assert isinstance(reply, replies.StatusesReply)
    assert replies.encode_exchange_reply(reply) == text
    spread = replies.spread_statuses(reply, 4)
    assert spread[:3] == reply.statuses
    assert spread[3] == replies.UnknownOutcome()
    broken = replies.decode_exchange_reply(
        b'{"status":"ok","response":{"type":"order","data":{"statuses":[{"resting":{}},{"filled":3},4]}}}'
    )
    assert isinstance(broken, replies.StatusesReply)
    assert all(isinstance(outcome, replies.UnknownOutcome) for outcome in broken.statuses)


def test_what_is_no_reply() -> None:
    for body in (b"", b"null", b"[]", b'{"status":"ok"}', b"\xff", b'"Could not parse"'):
        with pytest.raises(MalformedMessageError):
            replies.decode_exchange_reply(body)


GOOD = {"a": 0, "b": True, "p": "1", "s": "1", "r": False, "t": {"limit": {"tif": "Gtc"}}}
SIGNATURE = {"r": "0x1", "s": "0x2", "v": 27}


@pytest.mark.parametrize(
    "change",
    [
        {"a": -1},
        {"a": "0"},
        {"p": 1},
        {"p": "1e5"},
        {"p": "NaN"},
        {"s": "1" * 29},
        {"t": {}},
        {"t": {"limit": {"tif": "Fok"}}},
        {"t": {"trigger": {"isMarket": True, "triggerPx": "1", "tpsl": "xx"}}},
        {"t": {"limit": {"tif": "Gtc"}, "trigger": {"isMarket": True, "triggerPx": "1", "tpsl": "sl"}}},
        {"c": "0x12"},
    ],
)
def test_orders_the_venue_cannot_read_are_refused_with_422(change: dict[str, Any]) -> None:
    def answer(order: dict[str, Any]) -> SignedAction | HttpReply:
        action = {"type": "order", "orders": [order], "grouping": "na"}
        return actions.decode_exchange_request(
            json.dumps({"action": action, "nonce": 1, "signature": SIGNATURE}).encode()
        )

    assert isinstance(answer(GOOD), SignedAction)
    assert answer({**GOOD, **change}) == info_requests.WRONG_FIELDS


def test_an_unknown_grouping_is_refused() -> None:
    action = {"type": "order", "orders": [GOOD], "grouping": "heap"}
    assert actions.read_action(action) is None
    assert actions.read_action({**action, "grouping": {"p": 3}}) is not None


def test_envelopes_the_venue_cannot_read() -> None:
    good = {"action": {"type": "noop"}, "nonce": 1, "signature": SIGNATURE}
    for change in ({"nonce": -1}, {"nonce": "1"}, {"signature": {}}, {"action": {}}, {"vaultAddress": "x"}):
        assert actions.read_exchange_request({**good, **change}) is None
    assert actions.decode_exchange_request(b"{") == info_requests.NOT_JSON
    assert actions.decode_exchange_request(b"{}", "text/plain") == info_requests.WRONG_CONTENT_TYPE


def test_requests_are_counted_per_order() -> None:
    orders = actions.PlaceOrders(tuple(actions.limit_order(0, True, "1", "1", "Gtc") for _ in range(80)))
    assert (actions.count_requests(orders), actions.compute_weight(orders)) == (80, 3)
    assert (actions.count_requests(actions.Noop()), actions.compute_weight(actions.Noop())) == (1, 1)
    modify = actions.ModifyOrder(1, orders.orders[0])
    assert actions.list_orders(modify) == orders.orders[:1]
    assert wire.to_plain(modify)["order"]["s"] == "1"


def test_words_go_there_and_back() -> None:
    for message in replies.WORDS:
        said = replies.translate_message(message, 3, "1.0", "1.1")
        assert said.endswith(" asset=3")
        assert "{" not in said
        if message in (Message.BELOW_MINIMUM, Message.REDUCE_ONLY, Message.POST_ONLY, Message.IOC, Message.NOT_OPEN):
            assert replies.read_message(said) is message
    assert replies.read_message("The moon is full.") is None
