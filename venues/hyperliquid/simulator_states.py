"""Whole states the Hyperliquid simulator sends over WebSockets again and again, and the same for /info's webData2.

What newer clients (ccxt's watchBalance and watchPositions) and the venue's site use. A state is sent on subscribing,
about once a second, and soon after its account changed; the venue's own rhythm for these nobody has published.
Shapes as other clients report them. Of a dex that there is not, nothing is sent.
"""

from collections.abc import Callable
from typing import Any

from venues.hyperliquid import frames, wire
from venues.hyperliquid import subscriptions as subs
from venues.hyperliquid.simulator_info import InfoDesk

ONCE = (subs.SubUserTwapHistory, subs.SubUserTwapSliceFills)  # a snapshot, as there is nothing more to tell
_NO_MONEY = "0.0"


class States:
    """Makes states of the moment."""

    def __init__(self, info: InfoDesk) -> None:
        self._info = info
        self._makers: dict[type[subs.Subscription], Callable[[Any, str], dict[str, Any] | list[Any]]] = {
            subs.SubClearinghouseState: lambda one, user: {"dex": one.dex, "user": user, **self._account(user)},
            subs.SubOpenOrders: lambda one, user: {"dex": one.dex, "user": user, "orders": self._orders(user)},
            subs.SubSpotState: lambda one, user: {"user": user, "spotState": {"balances": []}},
            subs.SubTwapStates: lambda one, user: {"dex": one.dex, "user": user, "states": []},
            subs.SubAllDexsClearinghouseState: lambda one, user: {
                "user": user,
                "clearinghouseStates": [["", self._account(user)["clearinghouseState"]]],
            },
            subs.SubAllDexsAssetCtxs: lambda one, user: {"ctxs": [["", self._ctxs()]]},
            subs.SubAssetCtxs: lambda one, user: {"dex": one.dex, "ctxs": self._ctxs()},
            subs.SubSpotAssetCtxs: lambda one, user: [],
            subs.SubWebData2: lambda one, user: self._info.web_data(user),
            subs.SubWebData3: lambda one, user: self._describe_site(user),
            subs.SubUserTwapHistory: lambda one, user: {"isSnapshot": True, "user": user, "history": []},
            subs.SubUserTwapSliceFills: lambda one, user: {"isSnapshot": True, "user": user, "twapSliceFills": []},
        }

    def has(self, subscription: subs.Subscription) -> bool:
        """Return whether a subscription is told by states."""
        return type(subscription) in self._makers

    def make(self, subscription: subs.Subscription) -> frames.StateFrame | None:
        """Return the frame of the moment, None for a dex that there is not."""
        if getattr(subscription, "dex", ""):
            return None
        user = str(getattr(subscription, "user", "")).lower()
        data: Any = wire.to_plain(self._makers[type(subscription)](subscription, user))
        return frames.StateFrame(str(type(subscription).__struct_config__.tag), data)

    def make_history(self, user: str, rows: Any, *, is_snapshot: bool) -> frames.StateFrame:
        """Return a frame of orders and what became of them."""
        flag = {"isSnapshot": True} if is_snapshot else {}
        data: Any = wire.to_plain({**flag, "user": user.lower(), "orderHistory": rows})
        return frames.StateFrame("userHistoricalOrders", data)

    def _account(self, user: str) -> dict[str, Any]:
        return {"clearinghouseState": self._info.account_state(user)}

    def _orders(self, user: str) -> list[Any]:
        return [record.to_frontend() for record in self._info.visible_orders(user)]

    def _ctxs(self) -> list[Any]:
        return [self._info.asset_ctx(coin) for coin in self._info.coins_listed]

    def _describe_site(self, user: str) -> dict[str, Any]:
        agent, until_ms = self._info.find_agent(user)
        return {
            "userState": {
                "agentAddress": agent,
                "agentValidUntil": until_ms,
                "cumLedger": self._info.count_deposits(user),
                "serverTime": self._info.now_ms(),
                "isVault": False,
                "user": user,
                "abstraction": "disabled",
            },
            "perpDexStates": [{"totalVaultEquity": _NO_MONEY, "perpsAtOpenInterestCap": [], "leadingVaults": []}],
        }
