"""One connection of a lane, either end: endpoints, the silence watchdog, an orderly end with a reason."""

import asyncio
import contextlib
import logging
import os
import socket
import stat
from dataclasses import dataclass
from typing import cast

from cluster.frames import (
    PAYLOAD_MAX_BYTES,
    Frame,
    FrameDecoder,
    FrameKind,
    LaneEvent,
    RemoteProtocolError,
    encode_frame,
)

_log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
SILENCE_S = 4.0  # nothing heard for so long: the other end is gone, however open its socket looks
HANDSHAKE_S = 5.0
UNIX_PATH_MAX_BYTES = 107


@dataclass(frozen=True, slots=True)
class LaneCounters:
    """Totals since the start of this end. Server: summed over receivers. `waiting` is a level, the rest only grow."""

    messages: int
    waiting: int
    conflated: int
    replayed: int
    duplicates: int
    gaps: int
    lost: int
    connections: int


def parse_endpoint(endpoint: str) -> tuple[str, str, int]:
    """Return ("unix", path, 0) or ("tcp", host, port). Raises ValueError naming what is wrong.

    >>> parse_endpoint("tcp://10.0.0.1:7000")
    ('tcp', '10.0.0.1', 7000)
    """
    scheme, separator, rest = endpoint.partition("://")
    if separator and scheme == "unix":
        if not rest.startswith("/"):
            raise ValueError(
                f"lane endpoint {endpoint!r}: a Unix socket path must be absolute, as in unix:///run/feed.sock"
            )
        if len(os.fsencode(rest)) > UNIX_PATH_MAX_BYTES:
            raise ValueError(
                f"lane endpoint {endpoint!r}: path is over {UNIX_PATH_MAX_BYTES} bytes, use a shorter directory"
            )
        return "unix", rest, 0
    host, colon, port = rest.rpartition(":")
    if separator and scheme == "tcp" and colon and host and port.isdecimal() and int(port) <= 65535:
        return "tcp", host, int(port)
    raise ValueError(f"lane endpoint {endpoint!r}: expected unix:///path or tcp://host:port")


def check_token(scheme: str, token: bytes) -> None:
    """Raises ValueError for a TCP lane without a token: its port is open to the whole network."""
    if scheme == "tcp" and len(token) < 16:
        raise ValueError(
            f"token of a TCP lane is {len(token)} bytes, needs at least 16: give both ends the cluster's token"
        )


def ignore_event(event: LaneEvent) -> None:
    """The listener of those who do not listen."""
    _log.debug("%s", event)


def bind_unix(path: str) -> socket.socket:
    """A listening-ready socket that nobody else may open, at no moment: the mode is set before the file exists."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(bound.fileno(), 0o600)
        bound.bind(path)
    except OSError:
        bound.close()
        raise
    return bound


class Link(asyncio.Protocol):
    """One connection, either end: decoding, the silence watchdog, and an orderly end with a reason."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.decoder = FrameDecoder()
        self.transport: asyncio.Transport | None = None
        self.is_open = False  # the handshake is done
        self.is_writable = True
        self.reason = ""
        self._heard_s = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._timer = self.loop.call_later(HANDSHAKE_S, self._on_handshake_late)

    def opened(self) -> None:
        self.is_open = True
        self.decoder.payload_max_bytes = PAYLOAD_MAX_BYTES
        self._beat()

    def data_received(self, data: bytes) -> None:
        self._heard_s = self.loop.time()
        try:
            self.on_frames(self.decoder.feed(data))
            while self.decoder.is_held:
                self.on_frames(self.decoder.feed(b""))
        except RemoteProtocolError as error:
            self.refuse(str(error))

    def on_frames(self, frames: list[Frame]) -> None:
        raise NotImplementedError

    def on_beat(self) -> None:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def refuse(self, reason: str) -> None:
        """Say why, then hang up."""
        self.reason = self.reason or reason
        self.write(encode_frame(FrameKind.REFUSED, 0, reason.encode()[:512]))
        if self.transport is not None:
            self.transport.close()

    def close(self, reason: str) -> None:
        self.reason = self.reason or reason
        if self.transport is not None:
            self.transport.close()

    def abort(self, reason: str) -> None:
        self.reason = self.reason or reason
        if self.transport is not None:
            self.transport.abort()

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self.reason = self.reason or (str(exc) if exc else "closed by the other end")
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.loop.time() - self._heard_s > SILENCE_S:
            self.abort(f"nothing heard for {SILENCE_S:.0f} s")
            return
        self.on_beat()
        self._timer = self.loop.call_later(HEARTBEAT_S, self._beat)

    def _on_handshake_late(self) -> None:
        if not self.is_open:
            self.abort(f"no handshake within {HANDSHAKE_S:.0f} s")
