"""Raw socket captures: lines of `<receive time ns> <json>`, plain, gzip or zstd."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from market.book import BookDiff, BookSnapshot
from market.series import Kind, Series

_CODECS = {".gz": "gzip", ".zst": "zstd"}


def read_capture(path: Path) -> Series:
    """Return a capture file as a series of kind BOOK; messages stay bytes, unparsed.

    Raises: ValueError naming file and line if a line is not a time and a JSON object, or the file is cut short.
    """
    codec = _CODECS.get(path.suffix)
    try:
        with pa.OSFile(str(path)) as file:
            if codec:
                with pa.CompressedInputStream(file, codec) as stream:
                    content = stream.read()
            else:
                content = file.read()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error}); is it whole?") from error
    ts_recv_ns: list[int] = []
    messages: list[bytes] = []
    for number, line in enumerate(content.splitlines(), 1):
        head, _, message = line.partition(b" ")
        if not (head.isdigit() and message.startswith(b"{") and message.endswith(b"}")):
            raise ValueError(f"{path} line {number}: not `<receive time ns> <json object>`; remove or mend the line")
        ts_recv_ns.append(int(head))
        messages.append(message)
    rows = np.empty(len(messages), np.object_)
    rows[:] = messages
    return Series(Kind.BOOK, {"ts_ns": np.array(ts_recv_ns, np.int64), "message": rows}, 0, str(path), 1, "line")


def parse_depth(message: bytes, ts_recv_ns: int) -> BookDiff | BookSnapshot | None:
    """Return what a Binance message (spot or USD-M, combined stream or bare) says about the book; None: nothing.

    Raises: ValueError if the message is not JSON or lacks a field that such a message has.
    """
    try:
        event: dict[str, Any] = json.loads(message)
        event = event.get("data", event)
        if event.get("e") == "depthUpdate":
            return BookDiff(
                first_id=event["U"],
                last_id=event["u"],
                previous_id=event.get("pu", -1),
                bids=_parse_levels(event["b"]),
                asks=_parse_levels(event["a"]),
                ts_event_ns=event["E"] * 1_000_000,
                ts_recv_ns=ts_recv_ns,
            )
        if "lastUpdateId" in event:
            return BookSnapshot(
                event["lastUpdateId"], _parse_levels(event["bids"]), _parse_levels(event["asks"]), ts_recv_ns
            )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a depth message ({type(error).__name__} {error}): {message[:80]!r}") from error
    return None


def parse_captured(series: Series) -> Iterator[BookDiff | BookSnapshot]:
    """Yield the book's messages of a capture, in the order received."""
    for ts_recv_ns, message in zip(series.ts_ns.tolist(), series.columns["message"], strict=True):
        if b"depthUpdate" in message or b"lastUpdateId" in message:
            parsed = parse_depth(message, ts_recv_ns)
            if parsed is not None:
                yield parsed


def _parse_levels(levels: list[list[str]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(level[0]), float(level[1])) for level in levels)
