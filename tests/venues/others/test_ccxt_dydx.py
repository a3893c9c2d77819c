"""ccxt trades on the dYdX simulator through the node's HTTP, and what it reports is what the exchange holds."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from market.records import NS_PER_MS
from tests.venues.others.other_client import Ccxt, CcxtError, needs_others
from tests.venues.others.serving import DEPOSIT_QUOTE, Served, make_market, serve, wait_for
from venues.dydx.simulator import DydxSimulator
from venues.dydx.simulator_wallets import make_accounts
from venues.dydx.transactions import LOCALNET
from venues.simulator.faults import FaultBoard
from venues.simulator.funding import FundingRule, MarkRule

pytestmark = [needs_others, pytest.mark.timeout(240)]

BTC_ID, BTC = "BTC-PERP.DYDX", "BTC/USDC:USDC"
(ACCOUNT,) = make_accounts(7, 1, DEPOSIT_QUOTE)  # as `trireme venues serve` prints them: nothing was signed yet
ADDRESS = ACCOUNT.address
ACCOUNT_ID = f"{ADDRESS}/0"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    market = make_market(
        "DYDX",
        block_ns=50 * NS_PER_MS,
        mark_every_ns=100 * NS_PER_MS,
        mark_rule=MarkRule.ORACLE,
        funding_rule=FundingRule.DYDX,
    )
    with serve(DydxSimulator(market, FaultBoard(), [ACCOUNT], block_ns=600 * NS_PER_MS)) as running:
        yield running


@pytest.fixture(scope="module")
def ccxt(served: Served) -> Iterator[Ccxt]:
    http = served.addresses["http"]
    urls = {"indexer": http + "/v4", "nodeRpc": http, "nodeRest": http, "ws": served.addresses["ws"]}
    options = {"privateKey": "0x" + ACCOUNT.private_key, "chainName": LOCALNET}
    with Ccxt("dydx", {"walletAddress": ADDRESS, "urls": {"api": urls}, "options": options}) as one:
        yield one


def find_order(ccxt: Ccxt, client_id: int, status: str) -> Any:
    """Return an order of the Indexer with this status, or None."""
    rows = ccxt.call("fetch_orders", BTC)
    return next((row for row in rows if (row["clientOrderId"], row["status"]) == (str(client_id), status)), None)


def test_it_lists_the_markets_and_keeps_the_book(served: Served, ccxt: Ccxt) -> None:
    markets = ccxt.call("load_markets")
    assert set(markets) == {BTC, "ETH/USDC:USDC"}
    assert (markets[BTC]["precision"]["amount"], markets[BTC]["precision"]["price"]) == (0.0001, 1.0)
    ccxt.call("watch_order_book", BTC)
    seen: set[int] = set()

    def is_followed() -> bool:
        book = ccxt.call("kept_book", BTC)
        assert served.has_had_book(BTC_ID, book), book
        seen.add(book["nonce"])
        return len(seen) >= 4

    wait_for(is_followed, "four books")
    trades = ccxt.call("watch_trades", BTC)
    known = {(one.px, float(one.qty_lots * Decimal("0.0001"))) for one in served.call(
        served.market.list_trades, BTC_ID, 1000
    )}  # fmt: skip
    assert {(trade["price"], trade["amount"]) for trade in trades} <= known
    assert ccxt.call("fetch_ohlcv", BTC, "1m")[-1][4] > 0.0


def test_it_trades(served: Served, ccxt: Ccxt) -> None:
    exchange = served.market.exchange
    ccxt.call("create_order", BTC, "limit", "buy", 0.01, 61_000, {"timeInForce": "IOC", "clientOrderId": 1})
    ccxt.call("create_order", BTC, "limit", "buy", 0.0029, 50_000, {"clientOrderId": 2})  # the SDK's floats say 0.0028
    ccxt.call("create_order", BTC, "market", "buy", 0.005, 65_000, {"clientOrderId": 3})
    stop = {"stopLossPrice": 55_000, "reduceOnly": True, "clientOrderId": 4}
    ccxt.call("create_order", BTC, "market", "sell", 0.01, 50_000, stop)
    for client_id, status in ((1, "closed"), (3, "closed"), (2, "open"), (4, "open")):
        wait_for(lambda row=(client_id, status): find_order(ccxt, *row), f"order {client_id} {status}")

    (position,) = ccxt.call("fetch_positions", [BTC])
    held = served.call(exchange.position, ACCOUNT_ID, BTC_ID)
    assert Decimal(str(position["contracts"])) == held.qty_lots * Decimal("0.0001") == Decimal("0.015")
    assert (position["side"], position["entryPrice"]) == ("long", pytest.approx(held.avg_px, rel=1e-9))
    fills = served.call(exchange.fills_since, ACCOUNT_ID, 0)
    told = ccxt.call("indexerGetFills", {"address": ADDRESS, "subaccountNumber": 0})["fills"]
    assert [(Decimal(row["price"]), Decimal(row["size"])) for row in reversed(told)] == [
        (Decimal(repr(fill.fill_px)), fill.fill_qty_lots * Decimal("0.0001")) for fill in fills
    ]
    assert [Decimal(row["fee"]) for row in reversed(told)] == [Decimal(repr(fill.fee_quote)) for fill in fills]

    def list_resting() -> set[tuple[int, int]]:
        return {(report.qty_lots, report.side) for report in served.call(exchange.open_orders, ACCOUNT_ID)}

    # A long-term order meets the book a block after it was told of; the stop waits on the chain.
    wait_for(lambda: list_resting() == {(29, 1)}, "the resting order")
    for client_id, flags in ((2, 64), (4, 32)):
        ccxt.call("cancel_order", "", BTC, {"clientOrderId": client_id, "orderFlags": flags})
        wait_for(lambda one=client_id: find_order(ccxt, one, "canceled"), f"the end of order {client_id}")
    assert ccxt.call("fetch_open_orders", BTC) == []
    assert served.call(exchange.open_orders, ACCOUNT_ID) == []
    close = {"reduceOnly": True, "clientOrderId": 5}
    ccxt.call("create_order", BTC, "market", "sell", 0.015, 50_000, close)
    wait_for(lambda: find_order(ccxt, 5, "closed"), "the position's end")
    assert ccxt.call("fetch_positions", [BTC]) == []
    assert served.call(exchange.position, ACCOUNT_ID, BTC_ID).qty_lots == 0
    balance = ccxt.call("fetch_balance")["free"]["USDC"]
    assert balance == pytest.approx(served.call(exchange.account_state, ACCOUNT_ID).cash_quote, abs=1e-5)
    served.call(exchange.check_invariants)


def test_its_questions_are_answered(served: Served, ccxt: Ccxt) -> None:
    ccxt.call("create_order", BTC, "limit", "buy", 0.01, 50_000, {"clientOrderId": 20})
    order = wait_for(lambda: find_order(ccxt, 20, "open"), "the order")
    assert ccxt.call("fetch_order", order["id"])["clientOrderId"] == "20"
    assert [one["clientOrderId"] for one in ccxt.call("fetch_open_orders", BTC)] == ["20"]
    ccxt.call("cancel_order", "", BTC, {"clientOrderId": 20, "orderFlags": 64})
    wait_for(lambda: find_order(ccxt, 20, "canceled"), "its end")
    assert ccxt.call("fetch_time") > 0
    assert ccxt.call("fetch_trades", BTC)
    assert ccxt.call("fetch_order_book", BTC)["bids"]
    assert isinstance(ccxt.call("fetch_funding_rate_history", BTC), list)
    assert [one["id"] for one in ccxt.call("fetch_accounts")] == ["0"]
    for name in ("fetch_ledger", "fetch_transfers", "fetch_deposits", "fetch_withdrawals"):
        assert ccxt.call(name) == [], name
    account = {"address": ADDRESS, "subaccountNumber": "0"}
    parent = {"address": ADDRESS, "parentSubaccountNumber": "0"}
    for name, asked in (
        ("indexerGetAddressesAddressParentSubaccountNumberNumber", {"address": ADDRESS, "number": "0"}),
        ("indexerGetAssetPositions", account), ("indexerGetAssetPositionsParentSubaccountNumber", parent),
        ("indexerGetComplianceScreenAddress", {"address": ADDRESS}), ("indexerGetFillsParentSubaccountNumber", parent),
        ("indexerGetFundingPayments", account), ("indexerGetFundingPaymentsParentSubaccount", parent),
        ("indexerGetHeight", {}), ("indexerGetHistoricalPnl", account), ("indexerGetScreen", {"address": ADDRESS}),
        ("indexerGetHistoricalPnlParentSubaccountNumber", parent), ("indexerGetOrdersParentSubaccountNumber", parent),
        ("indexerGetHistoricalBlockTradingRewardsAddress", {"address": ADDRESS}), ("indexerGetTransfersBetween", {}),
        ("indexerGetPerpetualPositionsParentSubaccountNumber", parent), ("nodeRpcGetBlock", {}),
        ("indexerGetSparklines", {"timePeriod": "ONE_DAY"}), ("indexerGetVaultV1MegavaultPositions", {}),
    ):  # fmt: skip
        ccxt.call(name, asked)
    with pytest.raises(CcxtError, match="MsgWithdrawFromSubaccount"):
        ccxt.call("withdraw", "USDC", 5, ADDRESS, {"subaccountId": 0})


def test_refusals_are_the_chains(served: Served, ccxt: Ccxt) -> None:
    with pytest.raises(CcxtError, match="3006") as refused:
        ccxt.call("cancel_order", "", BTC, {"clientOrderId": 999, "orderFlags": 64})
    assert refused.value.kind == "InvalidOrder"
    with pytest.raises(CcxtError, match="9003"):
        ccxt.call("create_order", BTC, "limit", "sell", 0.01, 70_000, {"reduceOnly": True, "clientOrderId": 6})
    served.call(served.market.exchange.check_invariants)
