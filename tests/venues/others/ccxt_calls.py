"""ccxt, unmodified, doing what it is told: a line of JSON with a call in, a line with what came of it out.

Runs in an environment of its own, `.venv-others/bin/python ccxt_calls.py EXCHANGE CONFIG`, as ccxt's dependencies
exclude ours. A call is `{"name": ..., "args": [...], "fields": {...}}`: a method of the exchange, or one of

    kept_book SYMBOL     the book that `watch_order_book` keeps while other calls are made
    follow NAME ARGS     call a watching method again and again; `followed NAME` gives what it has heard so far
"""

import asyncio
import json
import sys

import ccxt.pro

HEARD_MAX = 500
CALL_S = 45.0


class Caller:
    """One exchange object and what it was asked to follow."""

    def __init__(self, exchange_id, config):
        self.exchange = getattr(ccxt.pro, exchange_id)(config)
        if exchange_id == "dydx":  # 4.5.90 cannot read its own account reply otherwise (PROTOCOLS.md 0.14)
            self.exchange.on_json_response = lambda body: json.loads(body, parse_int=str, parse_float=str)
        self.heard = {}
        self.tasks = []

    async def call(self, name, args, fields):
        """Do one call."""
        if name == "kept_book":
            book = self.exchange.orderbooks[args[0]]
            sides = {side: [[level[0], level[1]] for level in book[side]] for side in ("bids", "asks")}
            return {**sides, "nonce": book.get("nonce"), "timestamp": book.get("timestamp")}
        if name == "follow":
            self.heard[args[0]] = []
            self.tasks.append(asyncio.create_task(self.follow(args[0], args[1:])))
            return None
        if name == "followed":
            return self.heard[args[0]]
        return await getattr(self.exchange, name)(*args, **fields)

    async def follow(self, name, args):
        """Keep what a watching method returns, the last first to go."""
        while True:
            told = await getattr(self.exchange, name)(*args)
            self.heard[name] = (self.heard[name] + list(told))[-HEARD_MAX:]

    async def close(self):
        """End what was begun."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.exchange.close()


async def main():
    """Answer calls until the input ends."""
    caller = Caller(sys.argv[1], json.loads(sys.argv[2]))
    loop = asyncio.get_running_loop()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            call = json.loads(line)
            try:
                work = caller.call(call["name"], call["args"], call["fields"])
                answer = {"result": await asyncio.wait_for(work, CALL_S)}
            except Exception as error:  # noqa: BLE001  whatever ccxt raises is an answer
                answer = {"error": type(error).__name__, "text": str(error)}
            sys.stdout.write(json.dumps(answer, default=str) + "\n")
            sys.stdout.flush()
    finally:
        await caller.close()


asyncio.run(main())
