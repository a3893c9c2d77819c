"""Work that a shell does beside its lanes: its error is the actor's failure, its end is not."""

import asyncio

from actors.market_feed.machine import MarketFeedMachine
from actors.shell import Shell, ShellSettings


def run_beside(error: Exception | None, is_cancelled: bool) -> object:
    async def work() -> None:
        if error is not None:
            raise error
        if is_cancelled:
            await asyncio.sleep(3600.0)

    async def main() -> object:
        shell = Shell(ShellSettings("feed", "nowhere", 1, (), ()), MarketFeedMachine(1, ()))
        task = shell._begin(work())
        await asyncio.sleep(0.0)
        if is_cancelled:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return shell.get_status()["failure"]

    return asyncio.run(main())


def test_an_error_of_work_beside_the_lanes_is_the_actors_failure() -> None:
    assert run_beside(KeyError("health"), is_cancelled=False) == "KeyError: 'health'"
    assert run_beside(None, is_cancelled=False) is None
    assert run_beside(None, is_cancelled=True) is None
