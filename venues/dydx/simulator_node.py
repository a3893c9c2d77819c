"""The simulated node's gRPC services: accounts, blocks, transactions, books, perpetuals, prices, subaccounts, fees.

Each call asks the board first (kinds: "order", "cancel", "account", "block", "query"), then the chain, then answers.
Does not model: streaming; gas (always the same); `Simulate` checks nothing; what `simulator_queries` names.
"""

# ruff: noqa: N802 - the methods are named as the services name them
import asyncio
import re
from typing import Any

import grpc
from v4_proto.cosmos.auth.v1beta1 import auth_pb2
from v4_proto.cosmos.auth.v1beta1 import query_pb2 as auth_query
from v4_proto.cosmos.auth.v1beta1 import query_pb2_grpc as auth_grpc
from v4_proto.cosmos.bank.v1beta1 import query_pb2 as bank_query
from v4_proto.cosmos.bank.v1beta1 import query_pb2_grpc as bank_grpc
from v4_proto.cosmos.base.abci.v1beta1 import abci_pb2
from v4_proto.cosmos.base.tendermint.v1beta1 import query_pb2 as block_query
from v4_proto.cosmos.base.tendermint.v1beta1 import query_pb2_grpc as block_grpc
from v4_proto.cosmos.base.v1beta1 import coin_pb2
from v4_proto.cosmos.tx.v1beta1 import service_pb2, service_pb2_grpc, tx_pb2
from v4_proto.dydxprotocol.accountplus import query_pb2 as accountplus_query
from v4_proto.dydxprotocol.accountplus import query_pb2_grpc as accountplus_grpc
from v4_proto.dydxprotocol.clob import block_rate_limit_config_pb2 as rate_pb2
from v4_proto.dydxprotocol.clob import equity_tier_limit_config_pb2 as tiers_pb2
from v4_proto.dydxprotocol.clob import query_pb2 as clob_query
from v4_proto.dydxprotocol.clob import query_pb2_grpc as clob_grpc
from v4_proto.dydxprotocol.feetiers import params_pb2 as fee_params
from v4_proto.dydxprotocol.feetiers import query_pb2 as fee_query
from v4_proto.dydxprotocol.feetiers import query_pb2_grpc as fee_grpc
from v4_proto.dydxprotocol.perpetuals import perpetual_pb2
from v4_proto.dydxprotocol.perpetuals import query_pb2 as perpetuals_query
from v4_proto.dydxprotocol.perpetuals import query_pb2_grpc as perpetuals_grpc
from v4_proto.dydxprotocol.prices import market_param_pb2, market_price_pb2
from v4_proto.dydxprotocol.prices import query_pb2 as prices_query
from v4_proto.dydxprotocol.prices import query_pb2_grpc as prices_grpc
from v4_proto.dydxprotocol.subaccounts import asset_position_pb2, perpetual_position_pb2, subaccount_pb2
from v4_proto.dydxprotocol.subaccounts import query_pb2 as subaccounts_query
from v4_proto.dydxprotocol.subaccounts import query_pb2_grpc as subaccounts_grpc

from market.records import NS_PER_S
from venues.dydx.chain_errors import MalformedMessageError
from venues.dydx.lifecycle import UNTRIGGERED
from venues.dydx.node_replies import (
    make_account_response,
    make_broadcast_response,
    make_clob_pair,
    make_latest_block,
    show_clob_pairs,
)
from venues.dydx.order_terms import BatchCancel, CancelOrder, write_order
from venues.dydx.simulator_chain import Chain, Included
from venues.dydx.simulator_orders import Contract, compute_holding
from venues.dydx.simulator_queries import add_queries
from venues.dydx.transactions import decode_tx
from venues.simulator.faults import RequestFate

GAS_USED = 100_000
_PRICE_EXPONENT = -5
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def name_kind(tx_bytes: bytes) -> str:
    """Return the kind the board is asked about: "cancel" or "order"."""
    try:
        messages = decode_tx(tx_bytes).messages
    except MalformedMessageError:
        return "order"
    return "cancel" if messages and isinstance(messages[0], CancelOrder | BatchCancel) else "order"


class _Service:
    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    async def _ask(self, kind: str, context: Any) -> RequestFate:
        """Let the board strike before the request is looked at."""
        fate = self.chain.board.decide_request("dydx", kind, self.chain.world.now_ns())
        if fate.is_blackholed:
            await asyncio.Event().wait()
        if self.chain.view().is_upgrading:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the node restarts for an upgrade")
        if fate.grpc_status:
            code = _STATUS_CODES.get(fate.grpc_status, grpc.StatusCode.UNKNOWN)
            await context.abort(code, code.name)
        return fate

    async def _wait(self, fate: RequestFate, context: Any) -> None:
        """Let the board strike before the reply."""
        if fate.reply_delay_ns:
            await asyncio.sleep(fate.reply_delay_ns / NS_PER_S)
        if fate.is_reply_lost:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    async def _find(self, clob_pair_id: int, context: Any) -> Contract:
        contract = self.chain.by_clob_pair.get(clob_pair_id)
        if contract is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not found")
        assert contract is not None, "abort raises"
        return contract


class AuthService(_Service, auth_grpc.QueryServicer):  # type: ignore[misc]
    """Accounts."""

    async def Account(self, request: Any, context: Any) -> Any:
        """Return an account; NOT_FOUND if it was never funded."""
        fate = await self._ask("account", context)
        if fate.sequence_bump:
            self.chain.bump_sequence(request.address, fate.sequence_bump)
        self.chain.advance()
        account = self.chain.find_account(request.address, self.chain.view().account_view_lag_blocks)
        if account is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"account {request.address} not found")
        await self._wait(fate, context)
        assert account is not None, "abort raises"
        return make_account_response(account)

    async def AccountInfo(self, request: Any, context: Any) -> Any:
        """Return an account without its kind."""
        reply = await self.Account(request, context)
        return auth_query.QueryAccountInfoResponse(info=auth_pb2.BaseAccount.FromString(reply.account.value))


class BlockService(_Service, block_grpc.ServiceServicer):  # type: ignore[misc]
    """Blocks."""

    async def GetLatestBlock(self, request: Any, context: Any) -> Any:
        """Return the last block's header."""
        fate = await self._ask("block", context)
        chain = self.chain
        chain.advance()
        await self._wait(fate, context)
        return make_latest_block(chain.height, chain.block_time_ns // 10**6, chain.admitter.chain_id)

    async def GetBlockByHeight(self, request: Any, context: Any) -> Any:
        """Return a block's header, of the last ones only."""
        await self._ask("block", context)
        chain = self.chain
        chain.advance()
        ts_ns = dict(chain.block_times).get(request.height)
        if ts_ns is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "requested block height is not available")
        assert ts_ns is not None, "abort raises"
        latest = make_latest_block(request.height, ts_ns // 10**6, chain.admitter.chain_id)
        return block_query.GetBlockByHeightResponse(block=latest.block, sdk_block=latest.sdk_block)

    async def GetSyncing(self, request: Any, context: Any) -> Any:
        """Return that the node has caught up."""
        await self._ask("query", context)
        return block_query.GetSyncingResponse(syncing=False)

    async def GetNodeInfo(self, request: Any, context: Any) -> Any:
        """Return which chain this is."""
        await self._ask("query", context)
        response = block_query.GetNodeInfoResponse()
        response.default_node_info.network = self.chain.admitter.chain_id
        response.application_version.name = "dydxprotocol"
        return response


class TxService(_Service, service_pb2_grpc.ServiceServicer):  # type: ignore[misc]
    """Transactions."""

    async def BroadcastTx(self, request: Any, context: Any) -> Any:
        """Check a transaction and let it act."""
        fate = await self._ask(name_kind(request.tx_bytes), context)
        admission = self.chain.broadcast(request.tx_bytes, fate)
        await self._wait(fate, context)
        return make_broadcast_response(admission.tx_hash, admission.refusal)

    async def Simulate(self, request: Any, context: Any) -> Any:
        """Return a gas estimate."""
        await self._ask("query", context)
        gas = abci_pb2.GasInfo(gas_wanted=GAS_USED, gas_used=GAS_USED)
        return service_pb2.SimulateResponse(gas_info=gas, result=abci_pb2.Result())

    async def GetTx(self, request: Any, context: Any) -> Any:
        """Return a transaction that a block included; short-term ones never are."""
        await self._ask("query", context)
        self.chain.advance()
        found = self.chain.included.get(request.hash.upper())
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"tx not found: {request.hash}")
        assert found is not None, "abort raises"
        return self._show(request.hash.upper(), found)

    async def GetTxsEvent(self, request: Any, context: Any) -> Any:
        """Return the transactions of a hash or a height; nothing else is indexed."""
        await self._ask("query", context)
        self.chain.advance()
        asked = re.fullmatch(r"tx\.(hash|height) ?= ?'?(\w+)'?", request.query or " ".join(request.events))
        if asked is None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "must declare at least one event to search")
        assert asked is not None, "abort raises"
        wanted = asked[2].upper()
        found = [
            self._show(tx_hash, one)
            for tx_hash, one in self.chain.included.items()
            if wanted == (tx_hash if asked[1] == "hash" else str(one.height))
        ]
        return service_pb2.GetTxsEventResponse(
            txs=[one.tx for one in found], tx_responses=[one.tx_response for one in found], total=len(found)
        )

    def _show(self, tx_hash: str, found: Included) -> Any:
        raw = tx_pb2.TxRaw.FromString(found.tx_bytes)
        tx = tx_pb2.Tx(
            body=tx_pb2.TxBody.FromString(raw.body_bytes),
            auth_info=tx_pb2.AuthInfo.FromString(raw.auth_info_bytes),
            signatures=raw.signatures,
        )
        response = service_pb2.GetTxResponse(
            tx=tx, tx_response=make_broadcast_response(tx_hash, found.refusal).tx_response
        )
        response.tx_response.height = found.height
        response.tx_response.tx.Pack(tx, type_url_prefix="/")
        return response

    async def TxEncode(self, request: Any, context: Any) -> Any:
        """Return the bytes of a transaction."""
        await self._ask("query", context)
        raw = tx_pb2.TxRaw(
            body_bytes=request.tx.body.SerializeToString(),
            auth_info_bytes=request.tx.auth_info.SerializeToString(),
            signatures=request.tx.signatures,
        )
        return service_pb2.TxEncodeResponse(tx_bytes=raw.SerializeToString())


class ClobService(_Service, clob_grpc.QueryServicer):  # type: ignore[misc]
    """Books and limits."""

    async def ClobPair(self, request: Any, context: Any) -> Any:
        """Return one book."""
        await self._ask("query", context)
        contract = await self._find(request.id, context)
        return clob_query.QueryClobPairResponse(clob_pair=make_clob_pair(contract.units))

    async def ClobPairAll(self, request: Any, context: Any) -> Any:
        """Return all books."""
        await self._ask("query", context)
        return clob_query.QueryClobPairAllResponse(clob_pair=show_clob_pairs(self.chain.books.values()))

    async def EquityTierLimitConfiguration(self, request: Any, context: Any) -> Any:
        """Return how many stateful orders each net collateral allows."""
        await self._ask("query", context)
        limits = [
            tiers_pb2.EquityTierLimit(usd_tnc_required=_write_int(int(at_least * 10**6)), limit=limit)
            for at_least, limit in self.chain.admitter.rules.equity_tiers
        ]
        configuration = tiers_pb2.EquityTierLimitConfiguration(stateful_order_equity_tiers=limits)
        return clob_query.QueryEquityTierLimitConfigurationResponse(equity_tier_limit_config=configuration)

    async def BlockRateLimitConfiguration(self, request: Any, context: Any) -> Any:
        """Return how many orders and cancels an account may send within some blocks."""
        await self._ask("query", context)
        rules = self.chain.admitter.rules
        short, stateful = (
            [rate_pb2.MaxPerNBlocksRateLimit(num_blocks=blocks, limit=limit) for blocks, limit in limits]
            for limits in (rules.short_term_limits, rules.stateful_limits)
        )
        configuration = rate_pb2.BlockRateLimitConfiguration(
            max_stateful_orders_per_n_blocks=stateful, max_short_term_orders_and_cancels_per_n_blocks=short
        )
        return clob_query.QueryBlockRateLimitConfigurationResponse(block_rate_limit_config=configuration)

    async def StatefulOrder(self, request: Any, context: Any) -> Any:
        """Return a long-term or conditional order as the chain holds it."""
        await self._ask("query", context)
        self.chain.advance()
        live = self.chain.find_stateful(request.order_id)
        if live is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "Stateful order does not exist")
        assert live is not None, "abort raises"
        response = clob_query.QueryStatefulOrderResponse(
            fill_amount=live.filled_quantums, triggered=live.status != UNTRIGGERED and bool(live.order.trigger_subticks)
        )
        response.order_placement.order.CopyFrom(write_order(live.order))
        response.order_placement.placement_index.block_height = live.height_created
        return response

    async def NextClobPairId(self, request: Any, context: Any) -> Any:
        """Return the id the next book would get."""
        await self._ask("query", context)
        return clob_query.QueryNextClobPairIdResponse(next_clob_pair_id=max(self.chain.by_clob_pair) + 1)


class PerpetualsService(_Service, perpetuals_grpc.QueryServicer):  # type: ignore[misc]
    """Perpetuals."""

    async def Perpetual(self, request: Any, context: Any) -> Any:
        """Return one perpetual."""
        await self._ask("query", context)
        contract = await self._find(request.id, context)
        return perpetuals_query.QueryPerpetualResponse(perpetual=self._show(contract))

    async def AllLiquidityTiers(self, request: Any, context: Any) -> Any:
        """Return a tier for each perpetual, with its id: margins as `/v4/perpetualMarkets` tells them."""
        await self._ask("query", context)
        tiers = []
        for contract in self.chain.contracts:
            initial_frac = 1.0 / contract.instrument.leverage_max
            maintenance_frac = contract.instrument.maintenance_margin_frac / initial_frac
            tiers.append(
                perpetual_pb2.LiquidityTier(
                    id=contract.units.clob_pair_id,
                    name=contract.units.ticker,
                    initial_margin_ppm=round(initial_frac * 1e6),
                    maintenance_fraction_ppm=round(maintenance_frac * 1e6),
                )
            )
        return perpetuals_query.QueryAllLiquidityTiersResponse(liquidity_tiers=tiers)

    async def AllPerpetuals(self, request: Any, context: Any) -> Any:
        """Return all perpetuals."""
        await self._ask("query", context)
        rows = [self._show(contract) for contract in self.chain.contracts]
        return perpetuals_query.QueryAllPerpetualsResponse(perpetual=rows)

    def _show(self, contract: Contract) -> Any:
        units = contract.units
        lots = self.chain.market.get_open_interest_lots(contract.instrument.instrument_id)
        parameters = perpetual_pb2.PerpetualParams(
            id=units.clob_pair_id,
            ticker=units.ticker,
            market_id=units.clob_pair_id,
            atomic_resolution=units.atomic_resolution,
            liquidity_tier=units.clob_pair_id,
            market_type=perpetual_pb2.PERPETUAL_MARKET_TYPE_CROSS,
        )
        return perpetual_pb2.Perpetual(
            params=parameters, funding_index=_write_int(0), open_interest=_write_int(lots * units.step_base_quantums)
        )


class PricesService(_Service, prices_grpc.QueryServicer):  # type: ignore[misc]
    """Oracle prices."""

    async def MarketPrice(self, request: Any, context: Any) -> Any:
        """Return one oracle price."""
        await self._ask("query", context)
        contract = await self._find(request.id, context)
        return prices_query.QueryMarketPriceResponse(market_price=self._show(contract))

    async def AllMarketPrices(self, request: Any, context: Any) -> Any:
        """Return all oracle prices."""
        await self._ask("query", context)
        rows = [self._show(contract) for contract in self.chain.contracts]
        return prices_query.QueryAllMarketPricesResponse(market_prices=rows)

    def _show(self, contract: Contract) -> Any:
        self.chain.advance()
        oracle_px = self.chain.market.get_mark(contract.instrument.instrument_id).oracle_px
        price = round(oracle_px * 10**-_PRICE_EXPONENT)
        return market_price_pb2.MarketPrice(id=contract.units.clob_pair_id, exponent=_PRICE_EXPONENT, price=price)

    async def MarketParam(self, request: Any, context: Any) -> Any:
        """Return how one price is written."""
        await self._ask("query", context)
        contract = await self._find(request.id, context)
        return prices_query.QueryMarketParamResponse(market_param=self._show_param(contract))

    async def AllMarketParams(self, request: Any, context: Any) -> Any:
        """Return how all prices are written."""
        await self._ask("query", context)
        rows = [self._show_param(contract) for contract in self.chain.contracts]
        return prices_query.QueryAllMarketParamsResponse(market_params=rows)

    def _show_param(self, contract: Contract) -> Any:
        units = contract.units
        return market_param_pb2.MarketParam(id=units.clob_pair_id, pair=units.ticker, exponent=_PRICE_EXPONENT)


class SubaccountsService(_Service, subaccounts_grpc.QueryServicer):  # type: ignore[misc]
    """Subaccounts as the chain holds them."""

    async def Subaccount(self, request: Any, context: Any) -> Any:
        """Return one subaccount; one never funded is empty."""
        await self._ask("query", context)
        self.chain.advance()
        row = self._show(f"{request.owner}/{request.number}")
        return subaccounts_query.QuerySubaccountResponse(subaccount=row)

    async def SubaccountAll(self, request: Any, context: Any) -> Any:
        """Return all subaccounts."""
        await self._ask("query", context)
        self.chain.advance()
        rows = [self._show(account_id) for account_id in self.chain.accounts]
        return subaccounts_query.QuerySubaccountAllResponse(subaccount=rows)

    async def GetWithdrawalAndTransfersBlockedInfo(self, request: Any, context: Any) -> Any:
        """Return that nothing is blocked."""
        await self._ask("query", context)
        return subaccounts_query.QueryGetWithdrawalAndTransfersBlockedInfoResponse()

    def _show(self, account_id: str) -> Any:
        owner, _, number = account_id.partition("/")
        row = subaccount_pb2.Subaccount(
            id=subaccount_pb2.SubaccountId(owner=owner, number=int(number)), margin_enabled=True
        )
        if account_id not in self.chain.accounts:
            return row
        holding = compute_holding(self.chain.market.exchange, account_id, self.chain.contracts)
        usdc = int(holding.usdc.scaleb(6))
        row.asset_positions.append(asset_position_pb2.AssetPosition(asset_id=0, quantums=_write_int(usdc)))
        for contract, size, _, _ in holding.positions:
            quantums = int(size.scaleb(-contract.units.atomic_resolution))
            row.perpetual_positions.append(
                perpetual_position_pb2.PerpetualPosition(
                    perpetual_id=contract.units.clob_pair_id, quantums=_write_int(quantums)
                )
            )
        return row


class FeesService(_Service, fee_grpc.QueryServicer):  # type: ignore[misc]
    """Fee tiers: the one everybody has here."""

    async def PerpetualFeeParams(self, request: Any, context: Any) -> Any:
        """Return the tiers."""
        await self._ask("query", context)
        params = fee_params.PerpetualFeeParams(tiers=[self._show()])
        return fee_query.QueryPerpetualFeeParamsResponse(params=params)

    async def UserFeeTier(self, request: Any, context: Any) -> Any:
        """Return a trader's tier."""
        await self._ask("query", context)
        return fee_query.QueryUserFeeTierResponse(index=0, tier=self._show())

    def _show(self) -> Any:
        costs = self.chain.costs
        return fee_params.PerpetualFeeTier(
            name="1", maker_fee_ppm=round(costs.fee_maker_bps * 100), taker_fee_ppm=round(costs.fee_taker_bps * 100)
        )


class BankService(_Service, bank_grpc.QueryServicer):  # type: ignore[misc]
    """Wallets: empty here, all money is in subaccounts."""

    async def Balance(self, request: Any, context: Any) -> Any:
        """Return no coins of a denomination."""
        await self._ask("query", context)
        return bank_query.QueryBalanceResponse(balance=coin_pb2.Coin(denom=request.denom, amount="0"))

    async def SpendableBalances(self, request: Any, context: Any) -> Any:
        """Return no coins."""
        await self._ask("query", context)
        return bank_query.QuerySpendableBalancesResponse()

    async def AllBalances(self, request: Any, context: Any) -> Any:
        """Return no coins."""
        await self._ask("query", context)
        return bank_query.QueryAllBalancesResponse()


class AccountplusService(_Service, accountplus_grpc.QueryServicer):  # type: ignore[misc]
    """Permissioned keys: nobody has any."""

    async def GetAuthenticators(self, request: Any, context: Any) -> Any:
        """Return none."""
        await self._ask("query", context)
        return accountplus_query.GetAuthenticatorsResponse()


def _write_int(value: int) -> bytes:
    # The chain's SerializableInt: a sign byte (2 or 3), then the magnitude, big-endian.
    magnitude = abs(value).to_bytes((abs(value).bit_length() + 7) // 8, "big")
    return bytes([3 if value < 0 else 2]) + magnitude


def add_services(server: Any, chain: Chain) -> None:
    """Register every service of the node."""
    auth_grpc.add_QueryServicer_to_server(AuthService(chain), server)
    block_grpc.add_ServiceServicer_to_server(BlockService(chain), server)
    service_pb2_grpc.add_ServiceServicer_to_server(TxService(chain), server)
    clob_grpc.add_QueryServicer_to_server(ClobService(chain), server)
    perpetuals_grpc.add_QueryServicer_to_server(PerpetualsService(chain), server)
    prices_grpc.add_QueryServicer_to_server(PricesService(chain), server)
    subaccounts_grpc.add_QueryServicer_to_server(SubaccountsService(chain), server)
    fee_grpc.add_QueryServicer_to_server(FeesService(chain), server)
    bank_grpc.add_QueryServicer_to_server(BankService(chain), server)
    accountplus_grpc.add_QueryServicer_to_server(AccountplusService(chain), server)
    add_queries(server, chain, _Service(chain)._ask)
