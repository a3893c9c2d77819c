"""What other clients (ccxt, cosmjs, hummingbot, the SDK's rarer calls) ask of the simulated dYdX, on the wire."""

import base64
import json
import re
from typing import Any

import httpx
import pytest
from dydx_v4_client.indexer.rest.constants import TradingRewardAggregationPeriod
from v4_proto.cosmos.auth.v1beta1 import auth_pb2
from v4_proto.cosmos.auth.v1beta1 import query_pb2 as auth_query
from v4_proto.cosmos.tx.v1beta1 import service_pb2
from v4_proto.cosmos.tx.v1beta1.service_pb2_grpc import ServiceStub
from v4_proto.dydxprotocol.clob import query_pb2 as clob_query
from v4_proto.dydxprotocol.clob import query_pb2_grpc as clob_grpc
from v4_proto.dydxprotocol.perpetuals import query_pb2 as perpetuals_query
from v4_proto.dydxprotocol.perpetuals import query_pb2_grpc as perpetuals_grpc
from v4_proto.dydxprotocol.subaccounts.subaccount_pb2 import SubaccountId as ProtoSubaccountId
from websockets.sync.client import connect

from tests.venues.dydx.running_venue import Venue, wait_for
from venues.dydx.order_terms import CONDITIONAL, ConditionType, Order, OrderId, PlaceOrder, SubaccountId, TimeInForce
from venues.dydx.transactions import LOCALNET, Account, hash_tx, sign_tx

BTC = "BTC-USD"
DEADLINE_S = 30.0
_PADDED = re.compile(r'"-?\d+\.\d*0"')


def get(venue: Venue, path: str, **query: str) -> httpx.Response:
    return httpx.get(f"{venue.addresses['http']}{path}", params=query, timeout=DEADLINE_S)


def read(venue: Venue, path: str, **query: str) -> Any:
    reply = get(venue, path, **query)
    assert reply.status_code == 200, (path, reply.text)
    return reply.json()


def rpc(venue: Venue, method: str, **params: Any) -> Any:
    call = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    answer = httpx.post(f"{venue.addresses['http']}/", json=call, timeout=DEADLINE_S)
    reply = answer.json()
    assert answer.status_code == 200, "an error is an answer like others"
    assert (reply["jsonrpc"], reply["id"]) == ("2.0", 7)
    return reply


def sign(venue: Venue, client_id: int, flags: int = 0) -> bytes:
    """Return a signed order that rests: short-term, or a stop."""
    block = venue.ask(venue.node.latest_block()).block.header
    order_id = OrderId(SubaccountId(venue.address), client_id, flags)
    if flags == CONDITIONAL:
        order = Order(
            order_id, 1, 100_000_000, 8_000_000_000, 0, block.time.seconds + 600, TimeInForce.IOC,
            condition_type=ConditionType.STOP_LOSS, trigger_subticks=7_000_000_000,
        )  # fmt: skip
    else:
        order = Order(order_id, 1, 100_000_000, 5_000_000_000, block.height + 30)
    account = venue.ask(venue.node.get_account(venue.address))
    return sign_tx(PlaceOrder(order), venue.key, Account(LOCALNET, account.account_number, account.sequence))


def buy(venue: Venue, client_id: int) -> None:
    """Buy 0.01 BTC and wait until the Indexer knows."""
    height = venue.ask(venue.node.latest_block_height())
    order = Order(
        OrderId(SubaccountId(venue.address), client_id), 1, 100_000_000, 6_600_000_000, height + 18,
        time_in_force=TimeInForce.IOC,
    )  # fmt: skip
    tx = sign_tx(PlaceOrder(order), venue.key, Account(LOCALNET, venue.index, 0))
    assert rpc(venue, "broadcast_tx_sync", tx=base64.b64encode(tx).decode())["result"]["code"] == 0
    wait_for(lambda: read(venue, "/v4/fills", address=venue.address, subaccountNumber="0")["fills"])


def test_rpc_tells_of_blocks_by_uri_and_by_json(venue: Venue) -> None:
    status = rpc(venue, "status")["result"]
    assert (status["node_info"]["network"], status["sync_info"]["catching_up"]) == (LOCALNET, False)
    assert status["node_info"]["version"].startswith("0.38.")
    assert read(venue, "/status")["result"]["node_info"] == status["node_info"]
    height = int(status["sync_info"]["latest_block_height"])
    block = read(venue, "/block", height=str(height))["result"]["block"]
    assert block == rpc(venue, "block", height=str(height))["result"]["block"]
    assert (block["header"]["height"], block["header"]["chain_id"]) == (str(height), LOCALNET)
    assert block["header"]["time"].endswith("Z")
    assert read(venue, "/header", height=str(height))["result"]["header"] == block["header"]
    assert int(rpc(venue, "abci_info")["result"]["response"]["last_block_height"]) >= height
    assert read(venue, "/health")["result"] == {}
    assert "must be less than or equal" in rpc(venue, "block", height="999999999")["error"]["data"]
    assert rpc(venue, "nonsense")["error"]["code"] == -32601
    calls = [{"jsonrpc": "2.0", "id": one, "method": "health"} for one in (1, 2)]
    replies = httpx.post(venue.addresses["http"], json=[*calls, 5], timeout=DEADLINE_S).json()
    assert [(one["id"], "result" in one) for one in replies] == [(1, True), (2, True), (-1, False)]
    assert get(venue, "/block", height="999999999").status_code == 500
    assert httpx.post(venue.addresses["http"], content=b"{", timeout=DEADLINE_S).json()["error"]["code"] == -32700


def test_rpc_queries_reach_the_modules_as_cosmjs_sends_them(venue: Venue) -> None:
    def query(path: str, request: Any) -> Any:
        data = request.SerializeToString().hex()
        return rpc(venue, "abci_query", path=path, data=data, prove=False)["result"]["response"]

    found = query("/cosmos.auth.v1beta1.Query/Account", auth_query.QueryAccountRequest(address=venue.address))
    reply = auth_query.QueryAccountResponse.FromString(base64.b64decode(found["value"]))
    assert auth_pb2.BaseAccount.FromString(reply.account.value).address == venue.address
    found = query("/dydxprotocol.clob.Query/ClobPair", clob_query.QueryGetClobPairRequest(id=1))
    assert clob_query.QueryClobPairResponse.FromString(base64.b64decode(found["value"])).clob_pair.id == 1
    nobody = query("/cosmos.auth.v1beta1.Query/Account", auth_query.QueryAccountRequest(address="dydx1nobody"))
    assert nobody["code"] == 22
    assert "code = NotFound" in nobody["log"]
    assert query("/nothing.Query/Here", auth_query.QueryAccountRequest())["code"] == 6
    assert query("/cosmos.auth.v1beta1.Query/Accounts", auth_query.QueryAccountRequest())["code"] == 6


def test_transactions_come_in_every_way_and_are_found_by_hash(venue: Venue) -> None:
    tx = sign(venue, 1, CONDITIONAL)
    reply = rpc(venue, "broadcast_tx_sync", tx=base64.b64encode(tx).decode())["result"]
    assert (reply["code"], reply["hash"]) == (0, hash_tx(tx))
    found = wait_for(lambda: get(venue, "/tx", hash="0x" + hash_tx(tx)).json().get("result"))
    assert (found["tx_result"]["code"], base64.b64decode(found["tx"])) == (0, tx)
    encoded = base64.b64encode(bytes.fromhex(hash_tx(tx))).decode()
    assert rpc(venue, "tx", hash=encoded)["result"] == found
    assert rpc(venue, "tx_search", query=f"tx.hash='{hash_tx(tx)}'")["result"] == {"txs": [found], "total_count": "1"}
    assert (
        base64.b64encode(tx).decode() in read(venue, "/block", height=found["height"])["result"]["block"]["data"]["txs"]
    )
    lcd = read(venue, f"/cosmos/tx/v1beta1/txs/{hash_tx(tx)}")
    assert lcd["tx_response"]["height"] == found["height"]
    assert lcd["tx"]["body"]["messages"][0]["@type"] == "/dydxprotocol.clob.MsgPlaceOrder"
    node = ServiceStub(venue.network.node.channel).GetTx(service_pb2.GetTxRequest(hash=hash_tx(tx)), timeout=DEADLINE_S)
    assert node.tx.SerializeToString() == venue.ask(venue.node.query_transaction(hash_tx(tx))).SerializeToString()
    assert rpc(venue, "tx", hash=base64.b64encode(bytes(32)).decode())["error"]["code"] == -32603
    assert get(venue, f"/cosmos/tx/v1beta1/txs/{'0' * 64}").status_code == 404

    body = {"tx_bytes": base64.b64encode(sign(venue, 2)).decode(), "mode": "BROADCAST_MODE_SYNC"}
    posted = httpx.post(f"{venue.addresses['http']}/cosmos/tx/v1beta1/txs", json=body, timeout=DEADLINE_S).json()
    assert posted["tx_response"]["code"] == 0, posted
    again = httpx.post(f"{venue.addresses['http']}/cosmos/tx/v1beta1/txs", json=body, timeout=DEADLINE_S).json()
    assert (again["tx_response"]["code"], again["tx_response"]["codespace"]) == (19, "sdk")
    late = get(venue, "/broadcast_tx_async", tx=f'"0x{sign(venue, 3).hex()}"').json()["result"]
    assert (late["code"], len(late["hash"])) == (0, 64)
    assert get(venue, "/broadcast_tx_sync", tx="zz").json()["error"]["code"] == -32602
    assert rpc(venue, "broadcast_tx_sync", tx="%%")["error"]["code"] == -32602
    gas = httpx.post(f"{venue.addresses['http']}/cosmos/tx/v1beta1/simulate", json=body, timeout=DEADLINE_S).json()
    assert int(gas["gas_info"]["gas_used"]) > 0


def test_the_lcd_answers_for_the_nodes_queries(venue: Venue) -> None:
    buy(venue, 1)
    account = read(venue, f"/cosmos/auth/v1beta1/accounts/{venue.address}")["account"]
    assert (account["@type"], account["account_number"]) == ("/cosmos.auth.v1beta1.BaseAccount", str(venue.index))
    assert account["pub_key"]["@type"] == "/cosmos.crypto.secp256k1.PubKey"
    info = read(venue, f"/cosmos/auth/v1beta1/account_info/{venue.address}")["info"]
    assert base64.b64decode(info["pub_key"]["key"]) == venue.key.public_key
    block = read(venue, "/cosmos/base/tendermint/v1beta1/blocks/latest")["block"]
    known = read(venue, f"/cosmos/base/tendermint/v1beta1/blocks/{block['header']['height']}")["block"]
    assert known["header"]["height"] == block["header"]["height"]
    assert read(venue, "/cosmos/base/tendermint/v1beta1/node_info")["default_node_info"]["network"] == LOCALNET
    assert read(venue, "/cosmos/base/tendermint/v1beta1/syncing") == {"syncing": False}
    assert read(venue, f"/cosmos/bank/v1beta1/balances/{venue.address}")["balances"] == []
    assert read(venue, "/dydxprotocol/clob/clob_pair/1")["clob_pair"]["id"] == 1
    assert [one["id"] for one in read(venue, "/dydxprotocol/clob/clob_pair")["clob_pair"]] == [0, 1]
    tiers = read(venue, "/dydxprotocol/clob/equity_tier")["equity_tier_limit_config"]["stateful_order_equity_tiers"]
    assert (tiers[1]["usd_tnc_required"], tiers[1]["limit"]) == ("20000000", 10)
    held = read(venue, f"/dydxprotocol/subaccounts/subaccount/{venue.address}/0")["subaccount"]
    assert held["perpetual_positions"][0]["quantums"] == "100000000"
    assert len(read(venue, "/dydxprotocol/perpetuals/perpetual")["perpetual"]) == 2
    assert read(venue, "/dydxprotocol/perpetuals/liquidity_tiers")["liquidity_tiers"][0]["initial_margin_ppm"] == 20_000
    assert int(read(venue, "/dydxprotocol/prices/market/0")["market_price"]["price"]) > 0
    assert read(venue, "/dydxprotocol/v4/feetiers/user_fee_tier", user=venue.address)["tier"]["taker_fee_ppm"] == 500
    stats = read(venue, "/dydxprotocol/v4/stats/user_stats", user=venue.address)["stats"]
    assert 500 < int(stats["taker_notional"]) / 1e6 < 700
    missing = get(venue, "/cosmos/auth/v1beta1/accounts/dydx1nobody")
    assert (missing.status_code, missing.json()["code"]) == (404, 5)
    for path, status in (("/cosmos/nothing/v1/here", 501), ("/cosmos/auth/v1beta1/params", 501)):
        unknown = get(venue, path)
        assert (unknown.status_code, unknown.json()["code"]) == (status, 12)
    assert get(venue, "/dydxprotocol/clob/clob_pair/x").status_code == 400


def test_the_nodes_rarer_methods_answer(venue: Venue) -> None:
    node, address = venue.node, venue.address
    assert venue.ask(node.get_user_stats(address)).stats.taker_notional == 0
    assert venue.ask(node.get_account_balance(address, "adv4tnt")).balance.amount == "0"
    for call in (
        node.get_account_balances(address), node.get_all_validators(), node.get_delegator_delegations(address),
        node.get_delegator_unbonding_delegations(address), node.get_delayed_complete_bridge_messages(address),
        node.get_fee_tiers(), node.get_rewards_params(), node.get_authenticators(address),
        node.get_delegation_total_rewards(address), node.get_all_gov_proposals(),
        node.get_withdrawal_and_transfer_gating_status(0), node.get_withdrawal_capacity_by_denom("adv4tnt"),
        node.get_affiliate_info(address), node.get_referred_by(address), node.get_all_affiliate_tiers(),
        node.get_affiliate_whitelist(),
    ):  # fmt: skip
        venue.ask(call)
    clob = clob_grpc.QueryStub(venue.network.node.channel)
    limits = clob.BlockRateLimitConfiguration(clob_query.QueryBlockRateLimitConfigurationRequest(), timeout=DEADLINE_S)
    assert [one.limit for one in limits.block_rate_limit_config.max_stateful_orders_per_n_blocks] == [2, 20]
    perpetuals = perpetuals_grpc.QueryStub(venue.network.node.channel)
    tiers = perpetuals.AllLiquidityTiers(perpetuals_query.QueryAllLiquidityTiersRequest(), timeout=DEADLINE_S)
    assert len(tiers.liquidity_tiers) == 2
    tx = sign(venue, 9, CONDITIONAL)
    assert rpc(venue, "broadcast_tx_sync", tx=base64.b64encode(tx).decode())["result"]["code"] == 0
    wait_for(lambda: "result" in rpc(venue, "tx", hash=base64.b64encode(bytes.fromhex(hash_tx(tx))).decode()))
    asked = clob_query.QueryStatefulOrderRequest()
    asked.order_id.subaccount_id.owner, asked.order_id.client_id = address, 9
    asked.order_id.order_flags = CONDITIONAL
    found = clob.StatefulOrder(asked, timeout=DEADLINE_S)
    assert (found.order_placement.order.quantums, found.triggered, found.fill_amount) == (100_000_000, False, 0)


def test_transfers_are_refused_and_named(venue: Venue) -> None:
    wallet, other = venue.wallet(), venue.keys[0].address
    sender, recipient = (ProtoSubaccountId(owner=owner, number=0) for owner in (venue.address, other))
    reply = venue.ask(venue.node.transfer(wallet, sender, recipient, 0, 1_000_000)).tx_response
    assert (reply.codespace, reply.code) == ("sdk", 6)
    assert "no message handler found for /dydxprotocol.sending.MsgCreateTransfer" in reply.raw_log


def test_the_indexers_rarer_paths_answer(venue: Venue) -> None:
    buy(venue, 1)
    account, address = venue.indexer.account, venue.address
    assert venue.ask(venue.indexer.utility.screen(address)) == {"restricted": False, "reason": None}
    assert venue.ask(venue.indexer.utility.compliance_screen(address))["status"] == "COMPLIANT"
    assert venue.ask(account.get_transfer_between(address, 0, address, 1))["transfersSubset"] == []
    period = TradingRewardAggregationPeriod.DAILY
    assert venue.ask(account.get_historical_block_trading_rewards(address, 10)) == {"rewards": []}
    assert venue.ask(account.get_historical_trading_rewards_aggregated(address, period)) == {"rewards": []}
    assert venue.ask(account.search_traders("x")) == {}
    assert len(venue.ask(account.list_parent_orders(address, 0))) == 1
    assert venue.ask(account.get_parent_fills(address, 0))["fills"]
    assert venue.ask(account.get_parent_subaccount_positions(address, 0))["positions"][0]["size"] == "0.01"
    assert venue.ask(account.get_parent_subaccount_asset_positions(address, 0))["positions"][0]["symbol"] == "USDC"
    assert venue.ask(account.get_parent_transfers(address, 0)) == {"transfers": []}
    assert venue.ask(account.get_parent_historical_pnls(address, 0)) == {"historicalPnl": []}
    assert venue.ask(account.get_subaccount_historical_pnls(address, 0)) == {"historicalPnl": []}
    for path, name in (
        ("fundingPayments", "subaccountNumber"),
        ("fundingPayments/parentSubaccount", "parentSubaccountNumber"),
    ):
        assert read(venue, f"/v4/{path}", address=address, **{name: "0"}) == {"fundingPayments": []}
    assert read(venue, "/v4/vault/v1/megavault/positions") == {"positions": []}
    own = {"address": address, "subaccountNumber": "0"}
    page = read(venue, "/v4/fills", **own, limit="1", page="2")
    assert (page["pageSize"], page["offset"]) == (1, 1)
    assert page["totalResults"] == len(read(venue, "/v4/fills", **own)["fills"])
    assert read(venue, "/v4/fills", **own, createdBeforeOrAtHeight="1") == {"fills": []}
    assert read(venue, f"/v4/trades/perpetualMarket/{BTC}", createdBeforeOrAtHeight="1") == {"trades": []}
    assert read(venue, "/v4/orders", **own, goodTilBlockBeforeOrAt="1") == []
    assert read(venue, "/v4/perpetualPositions", **own, status="CLOSED,LIQUIDATED") == {"positions": []}
    for resolution in ("1MIN", "5MINS", "15MINS", "30MINS", "1HOUR", "4HOURS", "1DAY"):
        assert read(venue, f"/v4/candles/perpetualMarkets/{BTC}", resolution=resolution)["candles"], resolution
    refused = get(venue, "/v4/fills", address=address)
    assert (refused.status_code, refused.json()["errors"][0]["param"]) == (400, "subaccountNumber")


@pytest.mark.parametrize("batched", [False, True])
def test_no_number_is_written_with_zeros_at_its_end(venue: Venue, batched: bool) -> None:
    own = f"?address={venue.address}&subaccountNumber=0"
    names = {"v4_orderbook": BTC, "v4_trades": BTC, "v4_candles": f"{BTC}/1MIN", "v4_subaccounts": f"{venue.address}/0"}
    names |= {"v4_parent_subaccounts": f"{venue.address}/0", "v4_markets": "", "v4_block_height": ""}
    heard: dict[tuple[str, str], str] = {}
    with connect(venue.addresses["ws"], open_timeout=DEADLINE_S, close_timeout=5.0) as socket:
        for channel, name in names.items():
            said = {"type": "subscribe", "channel": channel, "batched": batched} | ({"id": name} if name else {})
            socket.send(json.dumps(said))
        while len(heard) < len(names):
            text = str(socket.recv(timeout=DEADLINE_S))
            message = json.loads(text)
            if "channel" in message:
                heard[message["channel"], message["type"]] = text
        buy(venue, 1)
        while len(heard) < 2 * len(names):
            text = str(socket.recv(timeout=DEADLINE_S))
            message = json.loads(text)
            heard[message["channel"], message["type"]] = text
    paths = [
        "perpetualMarkets", f"orderbooks/perpetualMarket/{BTC}", f"trades/perpetualMarket/{BTC}",
        f"candles/perpetualMarkets/{BTC}?resolution=1MIN", f"historicalFunding/{BTC}", "sparklines?timePeriod=ONE_DAY",
        f"addresses/{venue.address}", f"orders{own}", f"fills{own}", f"perpetualPositions{own}", f"assetPositions{own}",
    ]  # fmt: skip
    texts = [*heard.values(), *(get(venue, f"/v4/{path}").text for path in paths)]
    assert [found for text in texts for found in _PADDED.findall(text)] == []
    assert '"size":"0.01"' in texts[-2]
