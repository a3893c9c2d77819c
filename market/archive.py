"""The archive: names of its files, and fetching them with checksums verified and broken downloads resumed.

Layout and names are those of the Binance public archive (its README, "Public data"); where it lives is the caller's.
"""

import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

from market.series import parse_interval

KLINES = ("klines", "markPriceKlines")
TYPES = (*KLINES, "aggTrades", "trades", "fundingRate", "metrics")
MARKETS = {"um": "futures/um", "cm": "futures/cm", "spot": "spot"}
_MONTHLY_ONLY, _DAILY_ONLY = ("fundingRate",), ("metrics",)
_ATTEMPTS_MAX = 3
_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 18


class Fetched(StrEnum):
    """What became of one file."""

    DONE = "done"
    PRESENT = "present"  # was there, and matches its checksum
    MISSING = "missing"  # the archive does not have it (yet)
    FAILED = "failed"  # not reachable, or never matched its checksum; what came is kept and resumed


@dataclass(frozen=True, slots=True)
class FetchReport:
    """One file's outcome."""

    name: str
    outcome: Fetched
    size_bytes: int
    text: str = ""


def plan_files(market: str, data_type: str, symbol: str, interval: str, first: str, last: str) -> list[str]:
    """Return the archive names of a stretch of time, oldest first, both ends included.

    Parameters
    ----------
    market : str
        A key of MARKETS.
    data_type : str
        One of TYPES; klines need `interval` ("15m"), the others ignore it.
    symbol : str
        As the venue writes it: "BTCUSDT".
    first, last : str
        "2024-01" for monthly files, "2024-01-05" for daily ones.

    Raises: ValueError naming the argument that is not so.

    >>> plan_files("um", "klines", "BTCUSDT", "15m", "2023-12", "2024-01")[1]
    'data/futures/um/monthly/klines/BTCUSDT/15m/BTCUSDT-15m-2024-01.zip'
    """
    if market not in MARKETS:
        raise ValueError(f"market is {market!r}, must be one of {', '.join(MARKETS)}")
    if data_type not in TYPES:
        raise ValueError(f"type is {data_type!r}, must be one of {', '.join(TYPES)}")
    if not re.fullmatch(r"[A-Z0-9_]{2,30}", symbol):
        raise ValueError(f"symbol is {symbol!r}, must be capitals and digits such as BTCUSDT")
    stamps = list(_list_stamps(first, last))
    period = "daily" if len(stamps[0]) == 10 else "monthly"
    if data_type in (_DAILY_ONLY if period == "monthly" else _MONTHLY_ONLY):
        other = "2024-01-05" if period == "monthly" else "2024-01"
        raise ValueError(f"the archive has no {period} files of {data_type}; write the period like {other}")
    folder, middle = f"data/{MARKETS[market]}/{period}/{data_type}/{symbol}", data_type
    if data_type in KLINES:
        parse_interval(interval)
        folder, middle = f"{folder}/{interval}", interval
    return [f"{folder}/{symbol}-{middle}-{stamp}.zip" for stamp in stamps]


def _list_stamps(first: str, last: str) -> Iterator[str]:
    for text in (first, last):
        if not re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", text) or len(first) != len(last):
            raise ValueError(
                f"period {first!r} to {last!r} must be two months like 2024-01 or two days like 2024-01-05"
            )
    is_daily = len(first) == 10
    try:
        start, end = (date.fromisoformat(text if is_daily else f"{text}-01") for text in (first, last))
    except ValueError as error:
        raise ValueError(f"period {first!r} to {last!r}: {error}") from error
    if start > end:
        raise ValueError(f"period {first!r} to {last!r} ends before it begins")
    if is_daily:
        yield from (date.fromordinal(day).isoformat() for day in range(start.toordinal(), end.toordinal() + 1))
    else:
        for month in range(start.year * 12 + start.month - 1, end.year * 12 + end.month):
            yield f"{month // 12:04d}-{month % 12 + 1:02d}"


def fetch_file(
    base_url: str, name: str, out_dir: Path | str, on_bytes: Callable[[int], None] = lambda size_bytes: None
) -> FetchReport:
    """Fetch one archive file and its `.CHECKSUM` into `out_dir` under its archive name.

    A file that is there and matches is left alone; a broken download (`.part`) goes on where it stopped, if the
    server can; one that does not match its checksum is fetched once more from its beginning. `on_bytes` hears of
    each piece received.

    Raises: ValueError if `base_url` is not an http(s) address.
    """
    if not re.match(r"https?://[^/]", base_url):
        raise ValueError(f"archive address is {base_url!r}, must begin with http:// or https://")
    url, path = f"{base_url.rstrip('/')}/{name}", Path(out_dir) / name
    problem = ""
    for _ in range(_ATTEMPTS_MAX):
        try:
            line = _read_small(f"{url}.CHECKSUM").split()
            if not line or not re.fullmatch(r"[0-9a-fA-F]{64}", line[0]):
                problem = "its checksum file is not a sha256sum line"
                continue
            if _hash_file(path) == line[0].lower():
                return FetchReport(name, Fetched.PRESENT, path.stat().st_size)
            part = path.with_name(path.name + ".part")
            _download(url, part, on_bytes)
            if _hash_file(part) == line[0].lower():
                path.with_name(path.name + ".CHECKSUM").write_text(f"{line[0]}  {path.name}\n")
                part.replace(path)
                return FetchReport(name, Fetched.DONE, path.stat().st_size)
            part.unlink()
            problem = "does not match its checksum"
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return FetchReport(name, Fetched.MISSING, 0, "the archive does not have it")
            problem = f"HTTP {error.code}"
        except (OSError, EOFError) as error:
            problem = str(getattr(error, "reason", error))
    return FetchReport(name, Fetched.FAILED, 0, problem)


def _read_small(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
        content: bytes = response.read(4096)
    return content.decode("ascii", "replace")


def _hash_file(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str, part: Path, on_bytes: Callable[[int], None]) -> None:
    # Appends to what is there if the server answers 206; raises EOFError if the connection ends early.
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            return  # nothing beyond what we have: the checksum decides
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as file:
        left = int(response.headers.get("Content-Length", -1))
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            left -= len(chunk)
            on_bytes(len(chunk))
    if left > 0:
        raise EOFError(f"connection ended {left} bytes early")
