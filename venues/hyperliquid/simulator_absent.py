"""What the Hyperliquid simulator says of parts of the venue it does not have: vaults, staking, lending, deployments.

As the venue answers about an account that never used them: empty lists, zeros, null; never an error, so that a client
that asks at its start goes on. Shapes as other clients report them (nktkas/hyperliquid, the venue's manual); plain
values, no records.
"""

from typing import Any

from venues.hyperliquid import info_requests as ask

_ZERO = "0.0"
_HOUR_S = 3600
_AUCTION_S = 31 * _HOUR_S  # a gas auction lasts 31 hours
_TIERS = (
    ("5000000.0", "0.0004", "0.00012"),
    ("25000000.0", "0.00035", "0.00008"),
    ("100000000.0", "0.0003", "0.00004"),
)

PLAIN_REPLIES: dict[type[ask.InfoRequest], Any] = {
    ask.GetPerpDexs: [None],
    ask.GetPerpsAtOpenInterestCap: [],
    ask.GetUserAbstraction: "disabled",
    ask.GetUserDexAbstraction: False,
    ask.GetUserTwapSliceFills: [],
    ask.GetUserTwapSliceFillsByTime: [],
    ask.GetTwapHistory: [],
    ask.GetDelegations: [],
    ask.GetDelegatorRewards: [],
    ask.GetDelegatorHistory: [],
    ask.GetDelegatorSummary: {
        "delegated": _ZERO,
        "undelegated": _ZERO,
        "totalPendingWithdrawal": _ZERO,
        "nPendingWithdrawals": 0,
    },
    ask.GetUserVaultEquities: [],
    ask.GetLeadingVaults: [],
    ask.GetVaultSummaries: [],
    ask.GetVaultDetails: None,
    ask.GetLedgerUpdates: [],
    ask.GetIsVip: False,
    ask.GetLegalCheck: {"ipAllowed": True, "acceptedTerms": True, "userAllowed": True},
    ask.GetMultiSigSigners: None,
    ask.GetBorrowLendUserState: {"tokenToState": [], "health": "healthy", "healthFactor": None},
    ask.GetUserBorrowLendInterest: [],
    ask.GetBorrowLendReserves: [],
    ask.GetValidatorSummaries: [],
    ask.GetValidatorVotes: [],
    ask.GetLiquidatable: [],
    ask.GetMaxMarketOrders: [],
    ask.GetGossipRootIps: [],
    ask.GetPerpDexStatus: {"totalNetDeposit": _ZERO},
    ask.GetPerpDexLimits: None,
    ask.GetPerpCategories: [],
    ask.GetPerpAnnotation: None,
    ask.GetPerpAnnotations: [],
    ask.GetOutcomeMeta: {"outcomes": [], "questions": []},
    ask.GetAlignedQuoteTokenInfo: None,
}


def describe_auction(now_ms: int) -> dict[str, Any]:
    """Return a gas auction that nobody has bid in."""
    start_s = now_ms // 1000 // _AUCTION_S * _AUCTION_S
    return {
        "startTimeSeconds": start_s,
        "durationSeconds": _AUCTION_S,
        "startGas": "500.0",
        "currentGas": "500.0",
        "endGas": None,
    }


def describe_referral(volume: str) -> dict[str, Any]:
    """Return the referral state of a user nobody referred."""
    return {
        "referredBy": None,
        "cumVlm": volume,
        "unclaimedRewards": _ZERO,
        "claimedRewards": _ZERO,
        "builderRewards": _ZERO,
        "referrerState": {"stage": "needToTrade", "data": {"required": "10000.0"}},
        "rewardHistory": [],
        "tokenToState": [],
    }


def describe_token(name: str) -> dict[str, Any]:
    """Return the details of the one token there is."""
    return {
        "name": name,
        "maxSupply": _ZERO,
        "totalSupply": _ZERO,
        "circulatingSupply": _ZERO,
        "szDecimals": 8,
        "weiDecimals": 8,
        "midPx": "1.0",
        "markPx": "1.0",
        "prevDayPx": "1.0",
        "genesis": None,
        "deployer": None,
        "deployGas": None,
        "deployTime": None,
        "seededUsdc": _ZERO,
        "nonCirculatingUserBalances": [],
        "futureEmissions": _ZERO,
    }


def describe_fee_schedule() -> dict[str, Any]:
    """Return the venue's fees by volume; tiers as of its manual, discounts left out."""
    spot = {"spotCross": "0.0007", "spotAdd": "0.0004"}
    vip = [{"ntlCutoff": cutoff, "cross": cross, "add": add, **spot} for cutoff, cross, add in _TIERS]
    return {
        "cross": "0.00045",
        "add": "0.00015",
        **spot,
        "tiers": {"vip": vip, "mm": [{"makerFractionCutoff": "0.005", "add": "-0.00001"}]},
        "referralDiscount": "0.04",
        "stakingDiscountTiers": [{"bpsOfMaxSupply": _ZERO, "discount": _ZERO}],
    }
