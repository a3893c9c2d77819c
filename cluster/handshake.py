"""How the two ends of a lane prove to each other that they know the token, without I/O.

Each end signs the other's fresh nonce with HMAC-SHA256, so the token itself never travels and an old handshake is worth
nothing. Comparison takes constant time. A Unix socket lane may use the empty token: the file mode guards it.
"""

import hashlib
import hmac
import secrets

import msgspec

from cluster.frames import RemoteProtocolError

NONCE_BYTES = 16
_MAC_BYTES = hashlib.sha256().digest_size


class Hello(msgspec.Struct, frozen=True):
    """Receiver to sender: who I am and what I have. `epoch` None: I remember nothing."""

    lane: str
    name: str
    incarnation: int  # grows with every life of this receiver: an older life is refused
    epoch: int | None
    sequence: int
    nonce: bytes


class Welcome(msgspec.Struct, frozen=True):
    """Sender to receiver: which life of mine this is, the sequence after which messages follow, how many at once."""

    lane: str
    epoch: int
    sequence: int
    window: int


def new_nonce() -> bytes:
    """Return a fresh challenge."""
    return secrets.token_bytes(NONCE_BYTES)


def _sign(role: bytes, token: bytes, nonce: bytes, body: bytes) -> bytes:
    return hmac.digest(token, role + nonce + body, "sha256")


def _open(role: bytes, sealed: bytes, token: bytes, nonce: bytes) -> bytes:
    mac, body = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _sign(role, token, nonce, body)):
        raise RemoteProtocolError("the other end does not know the token")
    return body


def seal_hello(hello: Hello, token: bytes, nonce_of_sender: bytes) -> bytes:
    """Return a receiver's greeting, with the proof that it knows the token."""
    body = msgspec.msgpack.encode(hello)
    return _sign(b"receiver", token, nonce_of_sender, body) + body


def open_hello(sealed: bytes, token: bytes, nonce: bytes) -> Hello:
    """Raises RemoteProtocolError when the token differs or the body is not a Hello."""
    try:
        hello = msgspec.msgpack.decode(_open(b"receiver", sealed, token, nonce), type=Hello)
    except msgspec.MsgspecError as error:
        raise RemoteProtocolError(f"malformed HELLO: {error}") from None
    if not hello.name or hello.sequence < 0 or len(hello.nonce) != NONCE_BYTES:
        raise RemoteProtocolError("malformed HELLO: needs a name, a sequence >= 0 and a whole nonce")
    return hello


def seal_welcome(welcome: Welcome, token: bytes, nonce_of_receiver: bytes) -> bytes:
    """Return a sender's answer, with the proof that it knows the token."""
    body = msgspec.msgpack.encode(welcome)
    return _sign(b"sender", token, nonce_of_receiver, body) + body


def open_welcome(sealed: bytes, token: bytes, nonce: bytes) -> Welcome:
    """Raises RemoteProtocolError when the token differs or the body is not a Welcome."""
    try:
        return msgspec.msgpack.decode(_open(b"sender", sealed, token, nonce), type=Welcome)
    except msgspec.MsgspecError as error:
        raise RemoteProtocolError(f"malformed WELCOME: {error}") from None
