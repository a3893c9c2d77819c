"""Calls through the official SDK, which is synchronous: on threads of their own, each with a deadline.

Two threads: actions leave in the order of their nonces on one, questions go over the other, so that an action that
hangs never hides the account. What became of an action: the venue's reply, `NotSent` (certainly), or `Unanswered`.
Importing this module imports the SDK.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec
import requests
from eth_account.signers.local import LocalAccount
from hyperliquid.api import API
from hyperliquid.exchange import Exchange
from hyperliquid.utils.error import ClientError, ServerError

from market.records import NS_PER_MS
from venues.hyperliquid import exchange_actions as act
from venues.hyperliquid import exchange_replies as replies
from venues.hyperliquid import info_replies, signing, wire
from venues.hyperliquid.exchange_actions import Action
from venues.hyperliquid.info_requests import InfoRequest
from venues.hyperliquid.nonces import NonceOwner
from venues.port import VenueUnavailableError

_REFUSING = frozenset({400, 401, 403, 404, 405, 415, 422, 429})  # before the venue looked at the action
_RETRY_S, _RETRY_S_MAX = 0.1, 1.0


class NotSent(msgspec.Struct, frozen=True):
    """The action never reached the venue, or was refused before it was looked at."""

    reason: str


class Unanswered(msgspec.Struct, frozen=True):
    """Nobody knows what became of the action."""

    reason: str


ActionResult = replies.ExchangeReply | NotSent | Unanswered


class _Deadline:
    """When a call must have ended."""

    def __init__(self, seconds: float) -> None:
        self._end_s = time.monotonic() + seconds

    def left_s(self) -> float:
        """Return what is left [s], <= 0 once it has passed."""
        return self._end_s - time.monotonic()


class Questions:
    """Asks /info, again and again until the deadline."""

    def __init__(self, http: str, call_s: float) -> None:
        self._call_s = call_s
        self._api = API(http.rstrip("/"), timeout=call_s)
        self._thread = ThreadPoolExecutor(1, "hyperliquid-info")

    async def ask(self, request: InfoRequest, seconds: float | None = None) -> Any:
        """Return the reply as `info_replies.REPLIES` says; VenueUnavailableError if none comes in time."""
        kind = str(type(request).__struct_config__.tag)
        deadline = _Deadline(self._call_s if seconds is None else seconds)
        reason, wait_s = "no time left", _RETRY_S
        while deadline.left_s() > 0.0:
            outcome = await _run(self._thread, lambda: self._post(request, deadline), deadline)
            if outcome is None:
                reason = "no answer"
                break
            if not isinstance(outcome, NotSent):
                return outcome[0]
            reason = outcome.reason
            await asyncio.sleep(min(wait_s, max(0.0, deadline.left_s())))
            wait_s = min(2.0 * wait_s, _RETRY_S_MAX)
        raise VenueUnavailableError(f"hyperliquid: {kind} was not answered in time: {reason}")

    def _post(self, request: InfoRequest, deadline: _Deadline) -> tuple[Any] | NotSent:
        # Half of what is left: an attempt that hangs leaves time for another.
        self._api.timeout = max(0.5 * deadline.left_s(), 0.05)
        try:
            plain = self._api.post("/info", wire.to_plain(request))
            return (wire.convert(plain, info_replies.REPLIES.get(type(request), Any), "reply"),)
        except (ClientError, ServerError) as error:
            return NotSent(f"HTTP {error.status_code}")
        except Exception as error:  # noqa: BLE001 - requests, urllib3 and the SDK raise dozens of kinds
            return NotSent(type(error).__name__)

    async def close(self) -> None:
        """End the thread once its last call has ended, which its time-out bounds."""
        await _end(self._thread)
        self._api.session.close()


class Actions:
    """Signs and sends actions; the only owner of its key's nonces."""

    def __init__(
        self,
        http: str,
        wallet: LocalAccount,
        account_address: str,
        *,
        is_mainnet: bool,
        meta: info_replies.Meta,
        clock_ns: Callable[[], int],
    ) -> None:
        self._network: signing.Network = "mainnet" if is_mainnet else "testnet"
        self._nonces, self._clock_ns = NonceOwner(), clock_ns
        spot_meta: dict[str, Any] = {"tokens": [], "universe": []}
        self._exchange = Exchange(
            wallet, http.rstrip("/"), wire.to_plain(meta), None, account_address, spot_meta, timeout=1.0
        )
        self._thread = ThreadPoolExecutor(1, "hyperliquid-exchange")

    async def act(self, action: Action, expires_ms: int, seconds: float) -> ActionResult:
        """Send an action that is refused by the venue after `expires_ms` of its clock. Raises nothing."""
        deadline = _Deadline(seconds)
        result = await _run(self._thread, lambda: self._post(action, expires_ms, deadline), deadline)
        if result is None:
            return Unanswered("no answer by the deadline")
        return result

    def _post(self, action: Action, expires_ms: int, deadline: _Deadline) -> ActionResult:
        if deadline.left_s() <= 0.0:
            return NotSent("no time left before it was sent")
        nonce = self._nonces.next(self._clock_ns() // NS_PER_MS)
        try:
            signed = signing.sign_action(self._exchange.wallet, action, nonce, self._network, expires_after=expires_ms)
        except Exception as error:  # noqa: BLE001 - whatever it says may hold what was signed with
            return NotSent(f"not signed: {type(error).__name__}")
        self._exchange.timeout = max(deadline.left_s(), 0.05)
        try:
            plain = self._exchange.post("/exchange", act.envelope_to_plain(signed))
            return replies.read_exchange_reply(plain)
        except ClientError as error:
            reason = f"HTTP {error.status_code}"
            return NotSent(reason) if error.status_code in _REFUSING else Unanswered(reason)
        except requests.exceptions.ConnectTimeout as error:
            return NotSent(type(error).__name__)
        except requests.exceptions.ConnectionError as error:
            is_unconnected = "NewConnectionError" in repr(error)
            return NotSent("not connected") if is_unconnected else Unanswered("connection lost")
        except Exception as error:  # noqa: BLE001 - 5xx, unreadable replies, and what the SDK raises beside
            return Unanswered(f"HTTP {error.status_code}" if isinstance(error, ServerError) else type(error).__name__)

    async def close(self) -> None:
        """End the thread once its last call has ended, which its time-out bounds."""
        await _end(self._thread)
        self._exchange.session.close()
        self._exchange.info.session.close()


async def _run(thread: ThreadPoolExecutor, function: Callable[[], Any], deadline: _Deadline) -> Any:
    # None: it did not end in time. One that had not begun then never does: its deadline has passed.
    try:
        future: Future[Any] = thread.submit(function)
    except RuntimeError:
        return NotSent("the client is closed")
    try:
        async with asyncio.timeout(max(deadline.left_s(), 0.0)):
            return await asyncio.wrap_future(future)
    except TimeoutError:
        return NotSent("no time left before it was sent") if future.cancelled() else None


async def _end(thread: ThreadPoolExecutor) -> None:
    await asyncio.to_thread(thread.shutdown, wait=True, cancel_futures=True)
