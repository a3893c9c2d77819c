"""`trireme venues serve` as others start it: the official SDKs read and trade, faults turn on, and it ends in order."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import httpx
import pytest
from dydx_v4_client import OrderFlags
from dydx_v4_client.indexer.rest.constants import OrderType
from dydx_v4_client.indexer.rest.indexer_client import IndexerClient
from dydx_v4_client.key_pair import KeyPair
from dydx_v4_client.network import local_node, make_insecure
from dydx_v4_client.node.client import NodeClient
from dydx_v4_client.node.market import Market
from dydx_v4_client.wallet import Wallet
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from v4_proto.dydxprotocol.clob.order_pb2 import Order as ProtoOrder

from trireme.venue_host import HostedVenues
from venues.dydx.signing import SigningKey

DEADLINE_S = 90.0
SEED = 11


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of a condition, or fail."""
    until_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < until_s:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {DEADLINE_S} s for {what}")


def start(*options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "trireme", "venues", "serve", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_open(url: str) -> bool:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@pytest.fixture(scope="module")
def served() -> Iterator[Mapping[str, Any]]:
    """The command, all venues, and at the end: asked to end it does, and leaves nothing."""
    process = start("--json", "--seed", str(SEED), "--accounts", "2")
    try:
        assert process.stdout is not None
        described = json.loads(process.stdout.readline())
        yield described
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, out) == (0, ""), err
        assert "Traceback" not in err
        assert not any(is_open(venue["http"]) for venue in described.values())
        assert not is_open(described["dydx"]["grpc"])
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_one_line_says_where_everything_is(served: Mapping[str, Any]) -> None:
    assert list(served) == ["binance", "hyperliquid", "dydx"]
    for name, venue in served.items():
        assert venue["http"].startswith("http://127.0.0.1:")
        assert venue["ws"].startswith("ws://127.0.0.1:")
        assert bool(venue["grpc"]) == (name == "dydx")
        assert len(venue["accounts"]) == (0 if name == "binance" else 2)
        assert venue["not_modelled"]
        assert len(venue["instruments"]) == 3
    account = served["hyperliquid"]["accounts"][0]
    assert Account.from_key(account["private_key"]).address == account["address"]
    account = served["dydx"]["accounts"][0]
    assert len(account["mnemonic"].split()) == 24
    assert bytes(KeyPair.from_mnemonic(account["mnemonic"]).key.secret).hex() == account["private_key"]
    assert SigningKey.from_mnemonic(account["mnemonic"]).address == account["address"]


def test_binance_has_history_and_a_book(served: Mapping[str, Any]) -> None:
    http = served["binance"]["http"]
    query = {"symbol": "BTCUSDT", "interval": "15m", "limit": 500}
    klines = httpx.get(f"{http}/fapi/v1/klines", params=query, timeout=DEADLINE_S).json()
    assert len(klines) == 500
    assert all(after[0] - before[0] == 900_000 for before, after in pairwise(klines))
    depth = httpx.get(f"{http}/fapi/v1/depth", params={"symbol": "SOLUSDT"}, timeout=DEADLINE_S).json()
    assert float(depth["bids"][0][0]) < float(depth["asks"][0][0])


def read_mids(served: Mapping[str, Any]) -> list[float]:
    depth = httpx.get(f"{served['binance']['http']}/fapi/v1/depth", params={"symbol": "BTCUSDT"}, timeout=30).json()
    mids = httpx.post(f"{served['hyperliquid']['http']}/info", json={"type": "allMids"}, timeout=30).json()
    book = httpx.get(f"{served['dydx']['http']}/v4/orderbooks/perpetualMarket/BTC-USD", timeout=30).json()
    pairs = [[float(depth[side][0][0]) for side in ("bids", "asks")], [float(mids["BTC"])]]
    pairs.append([float(book[side][0]["price"]) for side in ("bids", "asks")])
    return [sum(pair) / len(pair) for pair in pairs]


def test_prices_of_all_venues_agree(served: Mapping[str, Any]) -> None:
    # Asked one after the other: on a busy machine some time passes in between, so the closest of some rounds counts.
    spreads = []
    for _ in range(5):
        mids = read_mids(served)
        spreads.append((max(mids) - min(mids)) / min(mids))
    assert min(spreads) < 10e-4


def test_hyperliquids_sdk_reads_and_trades(served: Mapping[str, Any]) -> None:
    venue = served["hyperliquid"]
    wallet = Account.from_key(venue["accounts"][0]["private_key"])
    info = Info(venue["http"], skip_ws=True, timeout=30)
    assert float(info.user_state(wallet.address)["marginSummary"]["accountValue"]) == 100_000.0
    exchange = Exchange(wallet, venue["http"], timeout=30)
    px = float(f"{float(info.all_mids()['BTC']) * 1.02:.5g}")
    reply = exchange.order("BTC", True, 0.01, px, {"limit": {"tif": "Ioc"}})
    (status,) = reply["response"]["data"]["statuses"]
    assert status["filled"]["totalSz"] == "0.01", reply
    (position,) = info.user_state(wallet.address)["assetPositions"]
    assert position["position"]["szi"] == "0.01"


def test_dydxs_sdk_reads_and_trades(served: Mapping[str, Any]) -> None:
    venue, account = served["dydx"], served["dydx"]["accounts"][0]
    network = make_insecure(
        local_node, rest_indexer=venue["http"], websocket_indexer=venue["ws"], node_url=venue["grpc"]
    )
    node = asyncio.run(NodeClient.connect(network.node))
    indexer = IndexerClient(network.rest_indexer, api_timeout=30.0)
    try:
        row = asyncio.run(indexer.markets.get_perpetual_markets("BTC-USD"))["markets"]["BTC-USD"]
        market = Market(row)
        on_chain = asyncio.run(node.get_account(account["address"]))
        wallet = Wallet(KeyPair.from_mnemonic(account["mnemonic"]), on_chain.account_number, on_chain.sequence)
        order = market.order(
            order_id=market.order_id(account["address"], 0, 5, OrderFlags.SHORT_TERM),
            order_type=OrderType.LIMIT,
            side=ProtoOrder.Side.SIDE_BUY,
            size=0.01,
            price=round(float(row["oraclePrice"]) * 1.02),
            time_in_force=ProtoOrder.TimeInForce.TIME_IN_FORCE_IOC,
            reduce_only=False,
            good_til_block=asyncio.run(node.latest_block_height()) + 18,
        )
        response = asyncio.run(node.place_order(wallet, order)).tx_response
        assert response.code == 0, response.raw_log
        positions = wait_for(
            lambda: asyncio.run(indexer.account.get_subaccount_perpetual_positions(account["address"], 0))["positions"],
            "a position",
        )
        assert (positions[0]["market"], float(positions[0]["size"])) == ("BTC-USD", 0.01)
    finally:
        network.node.channel.close()


def test_a_fault_turned_on_over_the_control_address_acts(served: Mapping[str, Any]) -> None:
    venue = served["hyperliquid"]
    switch = {"fault": "http_status_before", "venue": "hyperliquid", "on": "allMids", "status": 502}
    made = httpx.post(venue["control"], json={"on": [switch]}, timeout=30).json()
    assert httpx.post(f"{venue['http']}/info", json={"type": "allMids"}, timeout=30).status_code == 502
    assert httpx.get(venue["control"], timeout=30).json()["on"][0]["fault"] == "http_status_before"
    httpx.post(venue["control"], json={"off": made["ids"]}, timeout=30)
    assert httpx.post(f"{venue['http']}/info", json={"type": "allMids"}, timeout=30).status_code == 200
    assert httpx.post(venue["control"], json={"on": [{"fault": "nothing"}]}, timeout=30).status_code == 400


def test_the_same_seed_gives_the_same_accounts_and_prices_also_as_a_child(served: Mapping[str, Any]) -> None:
    with HostedVenues(seed=SEED, accounts=2) as hosted:
        for name, venue in hosted.venues.items():
            told = [(one.address, one.private_key, one.mnemonic) for one in venue.accounts]
            assert told == [tuple(one.values()) for one in served[name]["accounts"]]
            assert venue.endpoints.http != served[name]["http"]
        closes = []
        for http, ts_ms in (
            (hosted["binance"].http, hosted.ts_start_ns // 10**6),
            (served["binance"]["http"], served["binance"]["ts_start_ms"]),
        ):
            open_ms = ts_ms // 900_000 * 900_000  # of the bar in which it began
            query = {"symbol": "ETHUSDT", "interval": "15m", "limit": 100, "endTime": open_ms - 1}
            rows = httpx.get(f"{http}/fapi/v1/klines", params=query, timeout=DEADLINE_S).json()
            closes.append([float(row[4]) for row in rows])
        assert closes[0] == closes[1]
        pid = hosted.pid
        assert hosted.is_running()
    assert not hosted.is_running()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_ends_with_its_parent() -> None:
    code = (
        "from trireme.venue_host import HostedVenues\nimport os\n"
        "venues = HostedVenues(('binance',))\nvenues.start()\n"
        "print(venues.pid, venues['binance'].http, flush=True)\nos._exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1, done.stderr
    pid, http = done.stdout.split()
    wait_for(lambda: not is_open(http), "the venue to go with its parent")
    wait_for(lambda: not os.path.exists(f"/proc/{pid}/fd") or _is_zombie(int(pid)), "its process to end")


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(("venue", "offset"), [("binance", 1), ("hyperliquid", 2), ("dydx", 4)])
def test_a_port_in_use_is_one_line_and_code_1(venue: str, offset: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1] - offset
        process = start("--venue", venue, "--port-base", str(first))
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: cannot listen")
    assert "--port-base" in err
