"""The Indexer's REST: replies to records and back, paths, errors. `indexer_records` says what the records mean.

Does not cover: what affiliates, vaults, rewards and traders' search would say (any object), compliance beyond screens.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from msgspec import UNSET

from venues.dydx.chain_errors import MalformedMessageError
from venues.dydx.indexer_records import (
    AssetPositionRow,
    BookSnapshot,
    CandleRow,
    ErrorRow,
    FillRow,
    FundingPaymentRow,
    FundingRow,
    MaybeInt,
    OrderRow,
    ParentSubaccountRow,
    PerpetualMarket,
    PnlRow,
    PositionRow,
    Row,
    SubaccountRow,
    TradeRow,
    TransferRow,
)

CANDLE_RESOLUTIONS_S = {
    "1MIN": 60,
    "5MINS": 300,
    "15MINS": 900,
    "30MINS": 1800,
    "1HOUR": 3600,
    "4HOURS": 14400,
    "1DAY": 86400,
}
ROWS_MAX = 1000

T = TypeVar("T")


class MarketsReply(Row, frozen=True):
    """`/v4/perpetualMarkets`; also the first message of v4_markets."""

    markets: dict[str, PerpetualMarket]


class TradesReply(Row, frozen=True):
    """`/v4/trades/perpetualMarket/{ticker}`, newest first; also v4_trades."""

    trades: tuple[TradeRow, ...]


class CandlesReply(Row, frozen=True):
    """`/v4/candles/perpetualMarkets/{ticker}`, newest first; also the first message of v4_candles."""

    candles: tuple[CandleRow, ...]


class FundingReply(Row, frozen=True):
    """`/v4/historicalFunding/{ticker}`, newest first."""

    historical_funding: tuple[FundingRow, ...]


class FillsReply(Row, frozen=True):
    """`/v4/fills`, newest first."""

    fills: tuple[FillRow, ...]
    page_size: MaybeInt = UNSET
    total_results: MaybeInt = UNSET
    offset: MaybeInt = UNSET


class PositionsReply(Row, frozen=True):
    """`/v4/perpetualPositions`."""

    positions: tuple[PositionRow, ...]


class AssetPositionsReply(Row, frozen=True):
    """`/v4/assetPositions`."""

    positions: tuple[AssetPositionRow, ...]


class SubaccountReply(Row, frozen=True):
    """`/v4/addresses/{address}/subaccountNumber/{n}`."""

    subaccount: SubaccountRow


class ParentSubaccountReply(Row, frozen=True):
    """`/v4/addresses/{address}/parentSubaccountNumber/{n}`."""

    subaccount: ParentSubaccountRow


class AddressReply(Row, frozen=True):
    """`/v4/addresses/{address}`."""

    subaccounts: tuple[SubaccountRow, ...]
    total_trading_rewards: Decimal = Decimal(0)


class TransfersReply(Row, frozen=True):
    """`/v4/transfers`."""

    transfers: tuple[TransferRow, ...]


class FundingPaymentsReply(Row, frozen=True):
    """`/v4/fundingPayments`."""

    funding_payments: tuple[FundingPaymentRow, ...]


class PnlReply(Row, frozen=True):
    """`/v4/historical-pnl`."""

    historical_pnl: tuple[PnlRow, ...]


class TimeReply(Row, frozen=True):
    """`/v4/time`; `epoch` is in seconds, with decimals."""

    iso: str
    epoch: float


class HeightReply(Row, frozen=True):
    """`/v4/height`; also the first message of v4_block_height."""

    height: str
    time: str


class Screening(Row, frozen=True):
    """`/v4/compliance/screen/{address}`."""

    status: str
    reason: str | None = None
    updated_at: str | None = None


class Restriction(Row, frozen=True):
    """`/v4/screen`."""

    restricted: bool = False
    reason: str | None = None


class TransfersBetweenReply(Row, frozen=True):
    """`/v4/transfers/between`."""

    transfers_subset: tuple[TransferRow, ...] = ()
    total_results: int = 0
    total_net_transfers: Decimal = Decimal(0)


class ErrorReply(Row, frozen=True):
    """The body of every 4xx."""

    errors: tuple[ErrorRow, ...]


OrdersReply = tuple[OrderRow, ...]  # `/v4/orders` is a bare list
Sparklines = dict[str, tuple[Decimal, ...]]

# Path template -> type of the reply. The parent variants return the same rows.
REST_REPLIES: dict[str, Any] = {
    "/v4/perpetualMarkets": MarketsReply,
    "/v4/orderbooks/perpetualMarket/{ticker}": BookSnapshot,
    "/v4/trades/perpetualMarket/{ticker}": TradesReply,
    "/v4/candles/perpetualMarkets/{ticker}": CandlesReply,
    "/v4/historicalFunding/{ticker}": FundingReply,
    "/v4/sparklines": Sparklines,
    "/v4/time": TimeReply,
    "/v4/height": HeightReply,
    "/v4/addresses/{address}": AddressReply,
    "/v4/addresses/{address}/subaccountNumber/{number}": SubaccountReply,
    "/v4/addresses/{address}/parentSubaccountNumber/{number}": ParentSubaccountReply,
    "/v4/perpetualPositions": PositionsReply,
    "/v4/perpetualPositions/parentSubaccountNumber": PositionsReply,
    "/v4/assetPositions": AssetPositionsReply,
    "/v4/assetPositions/parentSubaccountNumber": AssetPositionsReply,
    "/v4/orders": OrdersReply,
    "/v4/orders/parentSubaccountNumber": OrdersReply,
    "/v4/orders/{order_id}": OrderRow,
    "/v4/fills": FillsReply,
    "/v4/fills/parentSubaccountNumber": FillsReply,
    "/v4/transfers": TransfersReply,
    "/v4/transfers/parentSubaccountNumber": TransfersReply,
    "/v4/fundingPayments": FundingPaymentsReply,
    "/v4/fundingPayments/parentSubaccount": FundingPaymentsReply,
    "/v4/historical-pnl": PnlReply,
    "/v4/historical-pnl/parentSubaccountNumber": PnlReply,
    "/v4/compliance/screen/{address}": Screening,
    "/v4/screen": Restriction,
    "/v4/transfers/between": TransfersBetweenReply,
    "/v4/pnl": dict[str, Any],
    "/v4/pnl/parentSubaccountNumber": dict[str, Any],
    "/v4/historicalBlockTradingRewards/{address}": dict[str, Any],
    "/v4/historicalTradingRewardAggregations/{address}": dict[str, Any],
    "/v4/trader/search": dict[str, Any],
    "/v4/affiliates/metadata": dict[str, Any],
    "/v4/affiliates/snapshot": dict[str, Any],
    "/v4/affiliates/total_volume": dict[str, Any],
    "/v4/vault/v1/megavault/historicalPnl": dict[str, Any],
    "/v4/vault/v1/megavault/positions": dict[str, Any],
    "/v4/vault/v1/vaults/historicalPnl": dict[str, Any],
}

# Strings that Decimal would take and no venue means. (Absurd exponents are left to `units`: an event id in hex may look
# like one.) What Decimal writes with an exponent always carries its sign, so hex is never taken for it.
_NO_NUMBER = re.compile(rb'"\s*[+-]?(?:s?nan\d*|inf(?:inity)?)\s*"', re.IGNORECASE)
_SCIENTIFIC = re.compile(rb'"(-?\d+(?:\.\d+)?E[+-]\d{1,2})"')
_TRAILING = re.compile(rb'"(-?\d+)(?:\.(\d*?)0+)"')  # not a version: that has two points


@cache
def _decoder(kind: Any) -> Any:
    return msgspec.json.Decoder(kind, strict=False)


_ENCODER = msgspec.json.Encoder(decimal_format="string")


def decode_json(kind: type[T], text: bytes | str) -> T:
    """Return the record of that kind in JSON text. Fields it does not have are skipped.

    Raises: MalformedMessageError naming what is wrong and where.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if _NO_NUMBER.search(data):
        raise MalformedMessageError(f"{_name(kind)}: a number is not finite")
    try:
        decoder: Any = _decoder(cast(Any, kind))
        record: T = decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MalformedMessageError(f"{_name(kind)}: {error}") from None
    return record


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


def _write_plain(match: re.Match[bytes]) -> bytes:
    return b'"' + format(Decimal(match[1].decode()), "f").encode() + b'"'


def _write_trimmed(match: re.Match[bytes]) -> bytes:
    whole, rest = match.groups()
    return b'"' + (whole + b"." + rest if rest else b"0" if whole == b"-0" else whole) + b'"'


def encode_json(record: Any) -> bytes:
    """Return the JSON of a record; numbers are strings without exponents and without zeros at their end ("0.005",
    "59971"), as the venue's `toFixed()` leaves them. UNSET fields are left out."""
    data = _ENCODER.encode(record)
    data = _SCIENTIFIC.sub(_write_plain, data) if b"E" in data else data
    return _TRAILING.sub(_write_trimmed, data) if b'0"' in data else data


def read_error(text: bytes) -> str:
    """Return the reasons in a 4xx body, joined; of a body that is none (a proxy's page) its first 200 characters."""
    try:
        return "; ".join(row.msg for row in decode_json(ErrorReply, text).errors)
    except MalformedMessageError:
        return text[:200].decode("utf-8", "replace")


def make_error(message: str, *, param: str = "", location: str = "") -> ErrorReply:
    """Return the body of a 4xx."""
    return ErrorReply((ErrorRow(message, param or UNSET, location or UNSET),))


def explain_no_subaccount(address: str, subaccount_number: int) -> str:
    """Return the text of the 404 for a subaccount that was never funded."""
    return f"No subaccount found with address {address} and subaccountNumber {subaccount_number}"


def match_path(path: str) -> tuple[str, dict[str, str]] | None:
    """Return the template of `REST_REPLIES` a path is of, and its parts; None: not one of them.

    >>> match_path("/v4/trades/perpetualMarket/BTC-USD")
    ('/v4/trades/perpetualMarket/{ticker}', {'ticker': 'BTC-USD'})
    """
    if path in REST_REPLIES:
        return path, {}
    parts = path.split("/")
    for template in REST_REPLIES:
        names = template.split("/")
        if len(names) == len(parts) and "{" in template:
            found = {name[1:-1]: part for name, part in zip(names, parts, strict=True) if name.startswith("{")}
            if all(found.values()) and template.format(**found) == path:
                return template, found
    return None


def read_flag(parameters: Mapping[str, str], name: str) -> bool | None:
    """Return a boolean query parameter, None if left out. Only true and false are booleans here: the SDK's True is not.

    Raises: ValueError with the text of the 400.
    """
    text = parameters.get(name)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise ValueError(f"{name} must be a boolean")
    return text == "true"


def show_time(ts_ns: int) -> str:
    """Return the ISO text of a UTC time, milliseconds and Z.

    >>> show_time(1_767_225_600_123_000_000)
    '2026-01-01T00:00:00.123Z'
    """
    seconds, rest = divmod(ts_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def read_time(text: str) -> int:
    """Return UTC ns of an ISO text; exact to the microsecond.

    Raises: MalformedMessageError if it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedMessageError(f"time is {text!r}, must be ISO 8601") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1000
