"""Times as people type them."""

import re
from datetime import UTC, datetime


def parse_ts_ms(text: str, option: str) -> int:
    """Return UTC ms of "2024-01-31", "2024-01-31T12:00" (with or without an offset) or whole ms since 1970.

    Raises ValueError naming the option.

    >>> parse_ts_ms("2024-01-01", "--from"), parse_ts_ms("1704067200000", "--from")
    (1704067200000, 1704067200000)
    """
    if re.fullmatch(r"\d{10,}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{option} {text!r} is no time: write 2024-01-31, 2024-01-31T12:00 or UTC ms") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def format_ts_ms(ts_ms: int) -> str:
    """Return "2024-01-31 12:00" in UTC.

    >>> format_ts_ms(1704067200000)
    '2024-01-01 00:00'
    """
    return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
