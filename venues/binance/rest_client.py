"""Binance's REST market data for a feed: bounded, patient with the venue's limits, never a storm.

Every question ends by `ClientSettings.call_s`, waiting and repetitions included. A cut connection, a 5xx or nonsense is
asked again, three times at most, after growing waits. Limits (429, 418): nothing at all is sent until Retry-After has
passed, and below half of the venue's weight the client keeps by itself (`rate_limits.ClientBudget`); a question that
would have to wait past its deadline fails at once, saying how long.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from market.records import NS_PER_S
from venues.binance.numbers import MalformedMessageError
from venues.binance.rate_limits import RETRY_AFTER_HEADER, ClientBudget
from venues.binance.rest import RestRefusal, RestRequest, decode_reply, make_request
from venues.binance.streams import Market
from venues.port import ClientSettings, VenueUnavailableError

ATTEMPTS_MAX = 3
CONNECTIONS_MAX = 4
_HOW_TO_MEND = "check venues.binance.http and the network"


class RestUnavailableError(VenueUnavailableError):
    """No usable answer; `retry_after_ns` is when to ask again at the earliest, 0 if the venue did not say."""

    def __init__(self, text: str, retry_after_ns: int = 0) -> None:
        super().__init__(text)
        self.retry_after_ns = retry_after_ns


class RestClient:
    """One market's REST. `counts`: how often what happened; `failures`: endpoints whose last answer was none."""

    def __init__(
        self, market: Market, address: str, settings: ClientSettings, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._market, self._address, self._settings, self._clock_ns = market, address.rstrip("/"), settings, clock_ns
        self._budget = ClientBudget(market)
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self.counts: dict[str, int] = {}
        self.failures: dict[str, str] = {}

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, name: str, **values: str | int) -> Any:
        """Return the venue's answer, a record of `rest_replies`.

        Raises RestUnavailableError; ValueError with the venue's words where it refuses the question itself.
        """
        request = make_request(self._market, name, **values)
        try:
            async with asyncio.timeout(self._settings.call_s), self._slots:
                answer = await self._ask(request)
        except TimeoutError:
            self._count("timeout")
            what = f"no answer to {request.endpoint.path} in {self._settings.call_s:g} s"
            self.failures[name] = f"binance: {self._address} gives {what}: {_HOW_TO_MEND}"
            raise RestUnavailableError(self.failures[name]) from None
        except (RestUnavailableError, ValueError) as error:
            self.failures[name] = str(error)
            raise
        self.failures.pop(name, None)
        return answer

    async def _ask(self, request: RestRequest) -> Any:
        loop = asyncio.get_running_loop()
        ts_end_s = loop.time() + self._settings.call_s
        attempt = 0
        while True:
            wait_ns = self._budget.reserve_ns(request, self._clock_ns())
            if wait_ns:
                if loop.time() + wait_ns / NS_PER_S >= ts_end_s:
                    text = f"binance: {request.endpoint.path}: request limit, free in {wait_ns / NS_PER_S:.0f} s"
                    raise RestUnavailableError(text, wait_ns)
                await asyncio.sleep(wait_ns / NS_PER_S)
                continue
            attempt += 1
            answer = await self._send(request)
            if not isinstance(answer, RestRefusal):
                return answer
            self._count(str(answer.status))
            if answer.is_rate_limit:
                self._budget.note_refusal(answer, self._clock_ns())
            elif 0 < answer.status < 500 and answer.status not in (403, 408):
                raise ValueError(self._describe(request, answer))
            if attempt >= ATTEMPTS_MAX:
                raise RestUnavailableError(self._describe(request, answer))
            if not answer.is_rate_limit:
                await asyncio.sleep(self._settings.backoff_s * 2 ** (attempt - 1))

    async def _send(self, request: RestRequest) -> Any:
        # One attempt: the record, or a refusal (status 0: nothing that could be read came back).
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                timeout=aiohttp.ClientTimeout(total=self._settings.call_s, sock_connect=self._settings.connect_s),
            )
        self._count("sent")
        try:
            async with self._session.get(self._address + request.target) as reply:
                body = await reply.read()
                self._budget.note_headers(reply.headers, self._clock_ns())
                return decode_reply(request.endpoint, reply.status, body, reply.headers.get(RETRY_AFTER_HEADER))
        except aiohttp.ClientConnectorError as error:
            return RestRefusal(0, 0, f"does not answer ({_explain(error.os_error)})")
        except aiohttp.ServerTimeoutError:
            return RestRefusal(0, 0, f"does not answer (no connection in {self._settings.connect_s:g} s)")
        except aiohttp.ClientError as error:
            return RestRefusal(0, 0, f"cuts {request.endpoint.path} off ({type(error).__name__})")
        except MalformedMessageError as error:
            return RestRefusal(0, 0, f"does not talk like binance ({error})")

    def _describe(self, request: RestRequest, answer: RestRefusal) -> str:
        # One line: what, where, how to mend.
        if not answer.status:
            return f"binance: {self._address} {answer.msg}: {_HOW_TO_MEND}"
        said = " ".join(answer.msg.split())[:80]
        code = f" {answer.code}" if answer.code else ""
        line = f"binance: {self._address} answers {answer.status}{code} to {request.endpoint.path} ({said})"
        match answer.status:
            case 429 | 418:
                return f"{line}: too many requests from this address; wait, or ask for less"
            case 403 | 451:
                return f"{line}: this address is not let in; check venues.binance.http, or ask from elsewhere"
            case status if status >= 500 or status == 408:
                return f"{line}: the venue is in trouble; wait, or check venues.binance.http"
        return f"{line}: check venues.binance.http and the instruments"

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def _explain(error: OSError) -> str:
    # "connection refused" rather than "[Errno 111] Connect call failed ('127.0.0.1', 9)"
    number = error.errno or 0
    words = os.strerror(number) if number > 0 else error.strerror or type(error).__name__
    return words.lower()
