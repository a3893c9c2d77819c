"""Lanes: sockets that actors open themselves, for the messages that Ray calls are too slow for.

A lane goes one way, from one sender to its receivers: `LaneServer` listens, each `LaneReceiver` connects to it. Unix
sockets on a node, TCP between nodes. Each receiver has its own outbox at the sender, so a slow one delays no conflated
neighbour.

    server = await LaneServer("feed.BTC", LaneKind.CONFLATED, "unix:///run/t/feed.sock").start()
    receiver = await LaneReceiver(server.endpoint, on_bar, lane="feed.BTC", name="strategist").start()
    server.send_nowait(payload, key=b"BTC-PERP")

RELIABLE lanes never drop or merge a message: `send` waits and `send_nowait` raises LaneFull while `capacity` messages
are unacknowledged by the slowest receiver. A receiver acknowledges what its `on_message` has returned from. CONFLATED
lanes keep, for a receiver that is `window` messages behind, only the latest message per key, at the turn of the first:
no key starves.

What survives what: a cut connection loses and repeats nothing. A restarted receiver that hands in the `position` it
journalled goes on exactly there; without one it gets again what it had not acknowledged. A restarted sender begins a
new epoch, which the receiver is told by LaneEpochChanged; what the old life had not delivered must come from the
sender's journal. An epoch or a receiver older than one already seen is refused: a partitioned node's actors may live on
beside their replacements.

Not here: encryption. Both ends prove that they know the token (HMAC over fresh nonces); later frames are plain.
Not thread-safe: call everything from the event loop that runs the lane.
"""

from cluster.frames import (
    LaneConnected,
    LaneDisconnected,
    LaneEpochChanged,
    LaneEvent,
    LaneFailed,
    LaneFull,
    LaneGap,
    LaneLost,
    LanePosition,
)
from cluster.lane_receiver import LaneReceiver
from cluster.lane_server import LaneKind, LaneServer
from cluster.link import LaneCounters, parse_endpoint

__all__ = [
    "LaneConnected",
    "LaneCounters",
    "LaneDisconnected",
    "LaneEpochChanged",
    "LaneEvent",
    "LaneFailed",
    "LaneFull",
    "LaneGap",
    "LaneKind",
    "LaneLost",
    "LanePosition",
    "LaneReceiver",
    "LaneServer",
    "parse_endpoint",
]
