"""Queries of the simulated node that other modules of the chain answer: statistics, assets, and what is empty here.

Nobody stakes, votes, bridges, refers or keeps a vault on this chain, so those modules answer with empty messages.
Does not model: those modules; methods that are not named here are UNIMPLEMENTED, as on a chain without the module.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from v4_proto.cosmos.distribution.v1beta1 import query_pb2 as distribution_query
from v4_proto.cosmos.gov.v1 import query_pb2 as gov_query
from v4_proto.cosmos.staking.v1beta1 import query_pb2 as staking_query
from v4_proto.dydxprotocol.affiliates import query_pb2 as affiliates_query
from v4_proto.dydxprotocol.assets import asset_pb2
from v4_proto.dydxprotocol.assets import query_pb2 as assets_query
from v4_proto.dydxprotocol.blocktime import query_pb2 as blocktime_query
from v4_proto.dydxprotocol.bridge import query_pb2 as bridge_query
from v4_proto.dydxprotocol.ratelimit import query_pb2 as ratelimit_query
from v4_proto.dydxprotocol.rewards import query_pb2 as rewards_query
from v4_proto.dydxprotocol.stats import query_pb2 as stats_query
from v4_proto.dydxprotocol.stats import stats_pb2
from v4_proto.dydxprotocol.vault import query_pb2 as vault_query

from venues.dydx.simulator_chain import Chain

USDC_DENOM = "ibc/8E27BA2D5493AF5636760E354E46004562C46AB7EC0CC4C1CA14E9E20E2545B5"
Answer = Callable[[Chain, Any], Any]
Ask = Callable[[str, Any], Any]  # lets the board strike


def compute_user_stats(chain: Chain, address: str) -> tuple[int, int]:
    """Return what an address has traded as taker and as maker [1e-6 USDC]."""
    taker = maker = 0.0
    for account_id in chain.accounts:
        if not account_id.startswith(f"{address}/"):
            continue
        for fill in chain.market.exchange.fills_since(account_id, 0):
            contract = chain.by_instrument[fill.instrument_id]
            notional = fill.fill_px * fill.fill_qty_lots * contract.instrument.lot_base
            taker, maker = (taker, maker + notional) if fill.is_maker else (taker + notional, maker)
    return round(taker * 1e6), round(maker * 1e6)


def _show_user_stats(chain: Chain, request: Any) -> Any:
    taker, maker = compute_user_stats(chain, request.user)
    return stats_query.QueryUserStatsResponse(stats=stats_pb2.UserStats(taker_notional=taker, maker_notional=maker))


def _make_usdc() -> Any:
    return asset_pb2.Asset(id=0, symbol="USDC", denom=USDC_DENOM, denom_exponent=-6, atomic_resolution=-6)


def _show_previous_block(chain: Chain, request: Any) -> Any:
    reply = blocktime_query.QueryPreviousBlockInfoResponse()
    reply.info.height = chain.height
    reply.info.timestamp.FromMilliseconds(chain.block_time_ns // 10**6)
    return reply


_EMPTY: dict[Any, tuple[str, ...]] = {
    affiliates_query: ("AffiliateInfo", "ReferredBy", "AllAffiliateTiers", "AffiliateWhitelist"),
    bridge_query: ("DelayedCompleteBridgeMessages",),
    distribution_query: ("DelegationTotalRewards", "CommunityPool"),
    gov_query: ("Proposals",),
    ratelimit_query: ("ListLimitParams", "CapacityByDenom"),
    rewards_query: ("Params",),
    staking_query: ("Validators", "DelegatorDelegations", "DelegatorUnbondingDelegations", "DelegatorValidators"),
    stats_query: ("Params", "GlobalStats"),
    vault_query: ("AllVaults", "MegavaultTotalShares", "MegavaultAllOwnerShares"),
}
_ANSWERS: dict[Any, dict[str, Answer]] = {
    assets_query: {
        "Asset": lambda chain, request: assets_query.QueryAssetResponse(asset=_make_usdc()),
        "AllAssets": lambda chain, request: assets_query.QueryAllAssetsResponse(asset=[_make_usdc()]),
    },
    blocktime_query: {"PreviousBlockInfo": _show_previous_block},
    stats_query: {"UserStats": _show_user_stats},
}


def add_queries(server: Any, chain: Chain, ask: Ask) -> None:
    """Register the services of these modules; `ask` is called with the kind and the context of each call."""
    for module in dict.fromkeys([*_EMPTY, *_ANSWERS]):
        (service,) = module.DESCRIPTOR.services_by_name.values()
        methods = descriptor_pool.Default().FindServiceByName(service.full_name).methods_by_name
        handlers = {}
        for name in (*_EMPTY.get(module, ()), *_ANSWERS.get(module, {})):
            request_kind, reply_kind = (
                GetMessageClass(one) for one in (methods[name].input_type, methods[name].output_type)
            )

            async def answer(known: Answer | None, kind: Any, request: Any, context: Any) -> Any:
                await ask("query", context)
                chain.advance()
                return kind() if known is None else known(chain, request)

            handlers[name] = grpc.unary_unary_rpc_method_handler(
                partial(answer, _ANSWERS.get(module, {}).get(name), reply_kind),
                request_deserializer=request_kind.FromString,
                response_serializer=reply_kind.SerializeToString,
            )
        generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
        server.add_generic_rpc_handlers((generic,))
        server.add_registered_method_handlers(service.full_name, handlers)
