"""One-way latency through three actors, feed -> strategist -> executor, on real Ray: lanes beside plain actor calls.

    python -m benchmarks.lanes [--rate 5000] [--rate-calls 300] [--seconds 5]

Prints a table and, as its last line, one JSON object. Latency runs from the moment the feed sends a message to the
moment the executor has it, on the machine's one monotonic clock; `late` runs from when the message was due, so that a
feed that falls behind is counted too. Actor calls are paced at a rate they sustain: at 5,000/s their queue grows
without bound.
"""

import argparse
import asyncio
import gc
import json
import struct
import sys
import time
from typing import Any

from cluster.handles import call
from cluster.lanes import LaneKind, LaneReceiver, LaneServer
from cluster.session import Session, start_local
from cluster.spawn import spawn

STAMPS = struct.Struct("<qq")
PAYLOAD_BYTES = 100
WARM_UP_S = 1.0


class Executor:
    """The end of the way: keeps two times per message."""

    def __init__(self) -> None:
        self._sent_ns: list[int] = []
        self._late_ns: list[int] = []

    def __repr__(self) -> str:
        return "Executor(benchmark)"

    async def listen(self, endpoint: str) -> None:
        receiver = await LaneReceiver(endpoint, self.on_message, lane="orders", name="executor").start()
        await receiver.wait_connected(10)
        self._receiver = receiver
        gc.freeze()

    def on_message(self, payload: bytes) -> None:
        now_ns = time.monotonic_ns()
        due_ns, sent_ns = STAMPS.unpack_from(payload)
        self._sent_ns.append(now_ns - sent_ns)
        self._late_ns.append(now_ns - due_ns)

    async def on_call(self, payload: bytes) -> None:
        self.on_message(payload)

    async def take(self) -> tuple[list[int], list[int]]:
        taken = self._sent_ns, self._late_ns
        self._sent_ns, self._late_ns = [], []
        return taken


class Strategist:
    """The middle: passes each message on, as a decision would."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor

    def __repr__(self) -> str:
        return "Strategist(benchmark)"

    async def listen(self, endpoint_in: str, endpoint_out: str) -> None:
        self._server = await LaneServer("orders", LaneKind.RELIABLE, endpoint_out).start()
        self._receiver = await LaneReceiver(
            endpoint_in, self._server.send_nowait, lane="feed", name="strategist"
        ).start()
        await self._receiver.wait_connected(10)
        gc.freeze()

    async def on_call(self, payload: bytes) -> None:
        self._executor.on_call.remote(payload)


class Feed:
    def __init__(self, strategist: Any) -> None:
        self._strategist = strategist

    def __repr__(self) -> str:
        return "Feed(benchmark)"

    async def serve(self, endpoint: str) -> None:
        self._server = await LaneServer("feed", LaneKind.RELIABLE, endpoint, capacity=100_000).start()
        gc.freeze()

    async def run(self, way: str, rate: float, seconds: float) -> int:
        """Send at `rate` [1/s], each message when it is due or as soon after as the loop wakes."""
        padding = bytes(PAYLOAD_BYTES - STAMPS.size)
        start_ns, sent = time.monotonic_ns(), 0
        while sent < rate * seconds:
            due_ns = start_ns + int(sent * 1e9 / rate)
            if (wait_ns := due_ns - time.monotonic_ns()) > 0:
                await asyncio.sleep(wait_ns * 1e-9)
            payload = STAMPS.pack(due_ns, time.monotonic_ns()) + padding
            if way == "lanes":
                self._server.send_nowait(payload)
            else:
                self._strategist.on_call.remote(payload)
            sent += 1
        if way == "lanes":
            await self._server.drain(10)
        return sent


def percentile_us(values_ns: list[int], fraction: float) -> float:
    ordered = sorted(values_ns)
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] / 1e3


def measure(feed: Any, executor: Any, way: str, rate: float, seconds: float) -> dict[str, Any]:
    call(feed, "run", way, rate, WARM_UP_S, timeout_s=60)
    time.sleep(0.5)
    call(executor, "take", timeout_s=10)
    sent = call(feed, "run", way, rate, seconds, timeout_s=60)
    time.sleep(0.5)
    sent_ns, late_ns = call(executor, "take", timeout_s=10)
    result = {"way": way, "rate": rate, "sent": sent, "received": len(sent_ns)}
    for name, values in (("", sent_ns), ("late_", late_ns)):
        for label, fraction in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
            result[f"{name}us_{label}"] = round(percentile_us(values, fraction), 1)
    return result


def run(session: Session, rate: float, rate_calls: float, seconds: float) -> list[dict[str, Any]]:
    executor = spawn(Executor, name="executor")
    strategist = spawn(Strategist, executor, name="strategist", max_pending_calls=-1)
    feed = spawn(Feed, strategist, name="feed")
    feed_endpoint, order_endpoint = session.socket_endpoint("feed"), session.socket_endpoint("orders")
    call(feed, "serve", feed_endpoint, timeout_s=10)
    call(strategist, "listen", feed_endpoint, order_endpoint, timeout_s=10)
    call(executor, "listen", order_endpoint, timeout_s=10)
    return [
        measure(feed, executor, way, each, seconds)
        for way, each in (("lanes", rate), ("lanes", rate_calls), ("calls", rate_calls))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=5000.0, help="messages per second over lanes")
    parser.add_argument("--rate-calls", type=float, default=300.0, help="messages per second by actor calls")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    given = parser.parse_args()
    with start_local(namespace="benchmark", object_store_mb=100) as session:
        results = run(session, given.rate, given.rate_calls, given.seconds)
    columns = ["way", "rate", "received", "us_p50", "us_p99", "us_p999", "late_us_p50", "late_us_p99", "late_us_p999"]
    for row in [dict(zip(columns, columns, strict=True)), *results]:
        print("".join(f"{row[column]:>13}" for column in columns))
    _, lanes, calls = results
    ratio = {key: round(calls[key] / lanes[key], 1) for key in ("us_p50", "us_p99", "us_p999")}
    print(f"calls / lanes at {given.rate_calls:.0f}/s: " + ", ".join(f"{key} {value}x" for key, value in ratio.items()))
    print(json.dumps({"benchmark": "lanes", "results": results, "ratio_calls_to_lanes": ratio}))
    if any(result["sent"] != result["received"] for result in results):
        sys.exit("messages were lost")


if __name__ == "__main__":
    from benchmarks.lanes import main as main_by_name  # so that workers import the actors instead of unpickling them

    main_by_name()
