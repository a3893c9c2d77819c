"""The simulated node's HTTP: CometBFT's RPC, by URI and by JSON-RPC, and the LCD, the gateway of its gRPC methods.

RPC methods: health, status, abci_info, abci_query, block, header, tx, tx_search, broadcast_tx_sync, broadcast_tx_async.
The board is asked with gRPC's kinds. Does not model: broadcast_tx_commit, /websocket, proofs, events, validators,
hashes of blocks (functions of chain and height), the short-term orders of a block.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from market.records import NS_PER_S
from venues.dydx.chain_errors import MalformedMessageError
from venues.dydx.node_methods import MethodTable, RpcStatusError
from venues.dydx.node_replies import (
    explain_no_account,
    read_rpc_tx,
    show_abci_info,
    show_account_info,
    show_block,
    show_broadcast,
    show_rpc_error,
    show_rpc_result,
    show_status,
    show_tx,
)
from venues.dydx.simulator_chain import Chain, Included
from venues.dydx.simulator_node import add_services, name_kind

COMET_VERSION = "0.38.17"
_SEARCH = re.compile(r"tx\.(hash|height) ?= ?'?(\w+)'?")


class _RpcError(Exception):
    """An answer with "error"."""

    def __init__(self, code: int, message: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.message, self.detail = code, message, detail


class NodeHttp:
    """RPC and LCD of one node."""

    def __init__(self, chain: Chain) -> None:
        """Answer for a chain."""
        self.chain = chain
        self.methods = MethodTable()
        add_services(self.methods, chain)
        self._is_ended = asyncio.Event()
        self._calls: dict[str, Any] = {
            "health": self._health,
            "status": self._status,
            "abci_info": self._abci_info,
            "abci_query": self._abci_query,
            "block": self._block,
            "header": self._header,
            "tx": self._tx,
            "tx_search": self._tx_search,
            "broadcast_tx_sync": self._broadcast,
            "broadcast_tx_async": self._broadcast_async,
        }

    def add_routes(self, app: web.Application) -> None:
        """Add every path."""
        app.router.add_post("/", self.post_rpc)
        for name in self._calls:
            app.router.add_get(f"/{name}", self.get_rpc)
        app.router.add_get("/cosmos/auth/v1beta1/account_info/{address}", self.show_account)
        app.router.add_route("*", "/{module:cosmos|dydxprotocol}/{tail:.*}", self.answer_lcd)

    def stop(self) -> None:
        """Let go of the requests that a switch holds back."""
        self._is_ended.set()

    # RPC.

    async def get_rpc(self, request: web.Request) -> web.StreamResponse:
        """Answer RPC by URI: /status, /block?height=7, /broadcast_tx_sync?tx=0x... An error is an HTTP 500 here."""
        parameters = {name: text.strip('"') for name, text in request.query.items()}
        reply = await self._call(request, request.path.strip("/"), parameters, -1, is_uri=True)
        if isinstance(reply, web.Response):
            return reply
        return web.json_response(reply, status=500 if "error" in reply else 200)

    async def post_rpc(self, request: web.Request) -> web.StreamResponse:
        """Answer RPC by JSON-RPC 2.0, one call or several; errors are answers like others."""
        try:
            said = json.loads(await request.read())
        except (ValueError, RecursionError):
            return web.json_response(show_rpc_error("", -32700, "Parse error. Invalid JSON"), status=500)
        replies = []
        for call in said if isinstance(said, list) else [said]:
            reply = await self._answer_call(request, call)
            if isinstance(reply, web.Response):
                return reply
            replies.append(reply)
        return web.json_response(replies if isinstance(said, list) else replies[0])

    async def _answer_call(self, request: web.Request, call: Any) -> dict[str, Any] | web.Response:
        if not isinstance(call, dict):
            return show_rpc_error("a call is an object", -32600, "Invalid Request")
        name, parameters, identity = call.get("method"), call.get("params") or {}, call.get("id", -1)
        if not isinstance(name, str) or name not in self._calls:
            return show_rpc_error("", -32601, "Method not found", identity)
        if not isinstance(parameters, dict):
            return show_rpc_error("give params by name", identity=identity)
        return await self._call(request, name, parameters, identity, is_uri=False)

    async def _call(
        self, request: web.Request, name: str, parameters: Mapping[str, Any], identity: Any, *, is_uri: bool
    ) -> dict[str, Any] | web.Response:
        if self.chain.view().is_upgrading:
            return web.Response(status=503, text="the node restarts for an upgrade")
        self.chain.advance()
        try:
            result = await self._calls[name](parameters, is_uri=is_uri, request=request)
        except _RpcError as error:
            return show_rpc_error(error.detail, error.code, error.message, identity)
        except MalformedMessageError as error:
            return show_rpc_error(str(error), identity=identity)
        if isinstance(result, web.Response):
            return result
        return show_rpc_result(result, identity)

    async def _health(self, parameters: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        return {}

    async def _status(self, parameters: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        chain = self.chain
        return show_status(chain.admitter.chain_id, COMET_VERSION, chain.height, chain.block_time_ns)

    async def _abci_info(self, parameters: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        return show_abci_info(self.chain.height)

    async def _abci_query(self, parameters: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        response: dict[str, Any] = {"code": 0, "log": "", "info": "", "index": "0", "key": None, "value": None}
        response |= {"proofOps": None, "height": str(self.chain.height), "codespace": ""}
        data = str(parameters.get("data") or "")
        try:
            value = await self.methods.call(str(parameters.get("path", "")), read_rpc_tx(data) if data else b"")
        except RpcStatusError as error:
            response |= {"code": 22 if error.number == 5 else 6, "log": error.show(), "codespace": "sdk"}
        else:
            response["value"] = base64.b64encode(value).decode()
        return {"response": response}

    def _read_block(self, parameters: Mapping[str, Any]) -> tuple[int, int, list[bytes]]:
        text = str(parameters.get("height") or self.chain.height)
        height = int(text) if text.isdecimal() and len(text) < 19 else 0
        times = dict(self.chain.block_times)
        if height < 1:
            raise _RpcError(-32603, "Internal error", "height must be greater than 0")
        if height > self.chain.height:
            raise _RpcError(
                -32603,
                "Internal error",
                f"height {height} must be less than or equal to the current blockchain height {self.chain.height}",
            )
        if height not in times:
            detail = f"height {height} is not available, lowest height is {min(times, default=self.chain.height)}"
            raise _RpcError(-32603, "Internal error", detail)
        txs = [one.tx_bytes for one in self.chain.included.values() if one.height == height]
        return height, times[height], txs

    async def _block(self, parameters: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        height, ts_ns, txs = self._read_block(parameters)
        return show_block(self.chain.admitter.chain_id, height, ts_ns, txs)

    async def _header(self, parameters: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        return {"header": (await self._block(parameters))["block"]["header"]}

    async def _tx(self, parameters: Mapping[str, Any], *, is_uri: bool, **_: Any) -> dict[str, Any]:
        tx_hash = _read_bytes(parameters.get("hash"), is_uri=is_uri).hex().upper()
        found = self.chain.included.get(tx_hash)
        if found is None:
            raise _RpcError(-32603, "Internal error", f"tx ({tx_hash}) not found, err: %!w(<nil>)")
        return self._show(tx_hash, found)

    def _show(self, tx_hash: str, found: Included) -> dict[str, Any]:
        return show_tx(tx_hash, found.height, found.refusal, found.tx_bytes)

    async def _tx_search(self, parameters: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        asked = _SEARCH.fullmatch(str(parameters.get("query", "")).strip())
        if asked is None:
            raise _RpcError(
                -32603, "Internal error", "query must be tx.hash='...' or tx.height=...: no other is indexed"
            )
        name, text = asked.groups()
        rows = [
            self._show(tx_hash, one)
            for tx_hash, one in self.chain.included.items()
            if (tx_hash == text.upper() if name == "hash" else str(one.height) == text)
        ]
        return {"txs": rows[:100], "total_count": str(len(rows))}

    async def _broadcast(self, parameters: Mapping[str, Any], *, is_uri: bool, request: web.Request) -> Any:
        tx_bytes = _read_bytes(parameters.get("tx"), is_uri=is_uri)
        fate = self.chain.board.decide_request("dydx", name_kind(tx_bytes), self.chain.world.now_ns())
        if fate.is_blackholed:
            await self._hold(None)
        if fate.status_before:
            return web.Response(status=fate.status_before, text="upstream error")
        admission = self.chain.broadcast(tx_bytes, fate)
        if fate.status_after:
            return web.Response(status=fate.status_after, text="upstream error")
        if fate.reply_delay_ns:
            await self._hold(fate.reply_delay_ns / NS_PER_S)
        if fate.is_reply_lost and request.transport is not None:
            request.transport.abort()
        return show_broadcast(admission.tx_hash, admission.refusal)

    async def _broadcast_async(self, parameters: Mapping[str, Any], **how: Any) -> Any:
        # Answered before it is checked.
        result = await self._broadcast(parameters, **how)
        return result if isinstance(result, web.Response) else show_broadcast(result["hash"], None)

    async def _hold(self, seconds: float | None) -> None:
        # For some time, or for ever; in no case longer than the simulator runs.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_ended.wait()

    # LCD.

    async def show_account(self, request: web.Request) -> web.Response:
        """Answer account_info, whose key is null while it is not known."""
        self.chain.advance()
        account = self.chain.find_account(request.match_info["address"])
        if account is None:
            return web.json_response(explain_no_account(request.match_info["address"]), status=404)
        return web.json_response(show_account_info(account))

    async def answer_lcd(self, request: web.Request) -> web.Response:
        """Answer whatever a gRPC method of the node has a path for."""
        body: Any = None
        if request.method == "POST":
            try:
                body = json.loads(await request.read() or b"{}")
            except (ValueError, RecursionError):
                return web.json_response({"code": 3, "message": "invalid JSON", "details": []}, status=400)
        try:
            reply = await self.methods.call_http(request.method, request.path, request.query, body)
        except RpcStatusError as error:
            explained = {"code": error.number, "message": error.details, "details": []}
            return web.json_response(explained, status=error.http_status)
        return web.json_response(reply)


def _read_bytes(value: Any, *, is_uri: bool) -> bytes:
    # By URI in hex, in JSON-RPC in base64.
    text = value if isinstance(value, str) else ""
    if is_uri:
        return read_rpc_tx(text)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedMessageError("error converting json params to arguments: illegal base64 data") from None
