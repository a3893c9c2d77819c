"""The simulated node's gRPC services: accounts, blocks, transactions, books, perpetuals, prices, subaccounts, fees.

Each call asks the board first (kinds: "order", "cancel", "account", "block", "query"), then the chain, then answers.
Does not model: streaming, governance, staking, bridges, affiliates, rewards, vaults (UNIMPLEMENTED); gas (always the
same); `Simulate` checks nothing.
"""

# ruff: noqa: N802 - the methods are named as the services name them
import asyncio
from typing import Any

import grpc
from v4_proto.cosmos.auth.v1beta1 import query_pb2_grpc as auth_grpc
from v4_proto.cosmos.bank.v1beta1 import query_pb2 as bank_query
from v4_proto.cosmos.bank.v1beta1 import query_pb2_grpc as bank_grpc
from v4_proto.cosmos.base.abci.v1beta1 import abci_pb2
from v4_proto.cosmos.base.tendermint.v1beta1 import query_pb2 as block_query
from v4_proto.cosmos.base.tendermint.v1beta1 import query_pb2_grpc as block_grpc
from v4_proto.cosmos.base.v1beta1 import coin_pb2
from v4_proto.cosmos.tx.v1beta1 import service_pb2, service_pb2_grpc
from v4_proto.dydxprotocol.accountplus import query_pb2 as accountplus_query
from v4_proto.dydxprotocol.accountplus import query_pb2_grpc as accountplus_grpc
from v4_proto.dydxprotocol.clob import equity_tier_limit_config_pb2 as tiers_pb2
from v4_proto.dydxprotocol.clob import query_pb2 as clob_query
from v4_proto.dydxprotocol.clob import query_pb2_grpc as clob_grpc
from v4_proto.dydxprotocol.feetiers import params_pb2 as fee_params
from v4_proto.dydxprotocol.feetiers import query_pb2 as fee_query
from v4_proto.dydxprotocol.feetiers import query_pb2_grpc as fee_grpc
from v4_proto.dydxprotocol.perpetuals import perpetual_pb2
from v4_proto.dydxprotocol.perpetuals import query_pb2 as perpetuals_query
from v4_proto.dydxprotocol.perpetuals import query_pb2_grpc as perpetuals_grpc
from v4_proto.dydxprotocol.prices import market_price_pb2
from v4_proto.dydxprotocol.prices import query_pb2 as prices_query
from v4_proto.dydxprotocol.prices import query_pb2_grpc as prices_grpc
from v4_proto.dydxprotocol.subaccounts import asset_position_pb2, perpetual_position_pb2, subaccount_pb2
from v4_proto.dydxprotocol.subaccounts import query_pb2 as subaccounts_query
from v4_proto.dydxprotocol.subaccounts import query_pb2_grpc as subaccounts_grpc

from market.records import NS_PER_S
from venues.dydx.chain_errors import MalformedMessageError
from venues.dydx.node_replies import (
    make_account_response,
    make_broadcast_response,
    make_clob_pair,
    make_latest_block,
    show_clob_pairs,
)
from venues.dydx.order_terms import BatchCancel, CancelOrder
from venues.dydx.simulator_chain import Chain
from venues.dydx.simulator_orders import Contract, compute_holding
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


class BlockService(_Service, block_grpc.ServiceServicer):  # type: ignore[misc]
    """Blocks."""

    async def GetLatestBlock(self, request: Any, context: Any) -> Any:
        """Return the last block's header."""
        fate = await self._ask("block", context)
        chain = self.chain
        chain.advance()
        await self._wait(fate, context)
        return make_latest_block(chain.height, chain.block_time_ns // 10**6, chain.admitter.chain_id)

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
        height, refusal = found
        response = service_pb2.GetTxResponse(
            tx_response=make_broadcast_response(request.hash.upper(), refusal).tx_response
        )
        response.tx_response.height = height
        return response


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


class PerpetualsService(_Service, perpetuals_grpc.QueryServicer):  # type: ignore[misc]
    """Perpetuals."""

    async def Perpetual(self, request: Any, context: Any) -> Any:
        """Return one perpetual."""
        await self._ask("query", context)
        contract = await self._find(request.id, context)
        return perpetuals_query.QueryPerpetualResponse(perpetual=self._show(contract))

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
