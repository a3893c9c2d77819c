"""One WebSocket at the venue's end, sans-IO: what each frame of a client leads to, and what drops the socket.

A simulator feeds frames and performs the steps in order. The acknowledgement comes before the snapshot that
`Subscribed` asks for. `fast` and default books of one coin are two subscriptions of one channel, as at the venue.

Does not model: limits on connections, messages and posts in flight (the caller counts), the order of snapshots.
Source: PROTOCOLS.md 1.10, 1.11; the words of the limit on users as other clients report them.
"""

import msgspec

from venues.hyperliquid import frames, wire
from venues.hyperliquid import subscriptions as subs
from venues.hyperliquid.frames import Frame, Post
from venues.hyperliquid.info_requests import is_aggregation
from venues.hyperliquid.subscriptions import Subscription

USERS_MAX = 10
SUBSCRIPTIONS_MAX = 1000
TOO_MANY_USERS = "Cannot track more than 10 total users."
ABNORMAL_CLOSE = 1006  # no close frame is sent


class Send(msgspec.Struct, frozen=True):
    """Send this frame."""

    frame: Frame


class Subscribed(msgspec.Struct, frozen=True):
    """A subscription began: send its snapshot, then its updates."""

    subscription: Subscription


class Unsubscribed(msgspec.Struct, frozen=True):
    """A subscription ended."""

    subscription: Subscription


class Posted(msgspec.Struct, frozen=True):
    """A request to answer: `frames.answer_info_post`, `answer_action_post` or `refuse_post`."""

    post: Post


class Drop(msgspec.Struct, frozen=True):
    """Cut the TCP connection without a close frame; what it was for goes to the log, never to the client."""

    reason: str
    code: int = ABNORMAL_CLOSE


Step = Send | Subscribed | Unsubscribed | Posted | Drop


class Session:
    """What one socket has subscribed to. `coins` are the names the venue knows, spelled exactly."""

    def __init__(self, coins: frozenset[str], ts_now_ms: int) -> None:
        self._coins = coins
        self._ts_sent_ms = ts_now_ms
        self.subscriptions: dict[Subscription, None] = {}  # in order

    def receive(self, data: bytes | str) -> list[Step]:
        """Return what a client's frame leads to; never empty."""
        match frames.decode_client_frame(data):
            case frames.Ping():
                return [Send(frames.Pong())]
            case frames.Post() as post:
                return [Posted(post)]
            case frames.Subscribe(subscription):
                return self._subscribe(subscription)
            case frames.Unsubscribe(subscription):
                return self._unsubscribe(subscription)
            case frames.BadRequest(text):
                return [_refuse(f"Error parsing JSON into valid websocket request: {text}")]

    def note_sent(self, ts_now_ms: int) -> None:
        """Remember that something was sent to the client."""
        self._ts_sent_ms = ts_now_ms

    def find_idle_drop(self, ts_now_ms: int) -> Drop | None:
        """Return the drop of a socket on which nothing was sent for 60 s, None before."""
        if ts_now_ms - self._ts_sent_ms < frames.IDLE_CLOSE_MS:
            return None
        return Drop("nothing sent for 60 s")

    def _subscribe(self, subscription: Subscription) -> list[Step]:
        reason = self._find_drop(subscription)
        if reason is not None:
            return [Drop(reason)]
        if subscription in self.subscriptions:
            return [_refuse(f"Already subscribed: {wire.encode(subscription).decode()}")]
        users = {user for user in map(_user_of, (*self.subscriptions, subscription)) if user}
        if len(users) > USERS_MAX:
            return [_refuse(TOO_MANY_USERS)]
        if len(self.subscriptions) >= SUBSCRIPTIONS_MAX:
            return [_refuse(f"Cannot track more than {SUBSCRIPTIONS_MAX} subscriptions.")]
        self.subscriptions[subscription] = None
        return [Send(frames.acknowledge("subscribe", subscription)), Subscribed(subscription)]

    def _unsubscribe(self, subscription: Subscription) -> list[Step]:
        if subscription not in self.subscriptions:
            return [_refuse(f"Already unsubscribed: {wire.encode(subscription).decode()}")]
        del self.subscriptions[subscription]
        return [Send(frames.acknowledge("unsubscribe", subscription)), Unsubscribed(subscription)]

    def _find_drop(self, subscription: Subscription) -> str | None:
        coin = getattr(subscription, "coin", None)
        if coin is not None and coin not in self._coins:
            return f"unknown coin {coin!r}"
        if isinstance(subscription, subs.SubL2Book) and not is_aggregation(
            subscription.n_sig_figs, subscription.mantissa
        ):
            return f"no such aggregation: nSigFigs {subscription.n_sig_figs}, mantissa {subscription.mantissa}"
        return None


def _user_of(subscription: Subscription) -> str:
    return str(getattr(subscription, "user", "")).lower()


def _refuse(message: str) -> Send:
    return Send(frames.ErrorFrame(message))
