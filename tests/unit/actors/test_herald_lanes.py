"""Alerts over real lanes: keyed, told once, kept for a herald that is away; nobody who sends them ever waits."""

import asyncio
from pathlib import Path

import pytest

from actors.herald.lanes import HeraldLaneShell
from actors.herald.machine import HeraldPolicy
from actors.messages import Alert, Record, Send, Severity
from actors.shell import ALERTS_WAITING_MAX, Shell, ShellSettings
from cluster.lanes import LaneKind

POLICY = HeraldPolicy(routes=())


class Silent:
    """A machine that does nothing."""

    def handle(self, event: object, ts_now_ns: int) -> list[object]:
        return []


def make_alert(key: str, text: str = "text", severity: Severity = Severity.WARNING) -> Alert:
    return Alert(severity, key, text, 1)


async def open_sender(directory: Path) -> Shell:
    """Return a shell whose only lane leads to the herald."""
    shell = Shell(ShellSettings("governor", str(directory), 0, ("herald",), ()), Silent())
    shell._servers = {"herald": await shell._serve("herald")}
    return shell


async def open_herald(sender: Shell) -> HeraldLaneShell:
    herald = HeraldLaneShell(("governor", "executor"), POLICY, {})
    assert not herald.get_status()["is_open"]
    assert await herald.open() == await herald.open() == {}
    await herald.connect(sender._list_endpoints())
    assert herald.get_status()["is_open"]
    return herald


async def tell(sender: Shell, *alerts: Alert) -> None:
    async with asyncio.timeout(1):
        for alert in alerts:
            await sender._perform_all([Send(("herald",), alert)])


async def until_shown(herald: HeraldLaneShell, count: int) -> list[tuple[str, str, int]]:
    async with asyncio.timeout(10):
        while herald.get_status()["alerts_total"] < count:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    return [(alert["key"], alert["text"], alert["count"]) for alert in herald.get_status()["alerts"]]


def test_nobody_waits_for_a_herald_that_is_away_and_the_newest_of_each_matter_is_kept(tmp_path: Path) -> None:
    async def run() -> None:
        sender = await open_sender(tmp_path)
        assert sender._servers["herald"].kind is LaneKind.CONFLATED
        await tell(sender, make_alert("a", "old"), make_alert("a", "new"))
        await tell(sender, *(make_alert(f"key {number}") for number in range(3 * ALERTS_WAITING_MAX)))
        herald = await open_herald(sender)
        await until_shown(herald, ALERTS_WAITING_MAX)
        assert herald.get_status()["alerts_total"] == ALERTS_WAITING_MAX
        assert herald._newest["a"][0].text == "new"
        await herald.close()
        await sender.close()

    asyncio.run(run())


def test_a_matter_is_shown_newest_first_with_its_worst_severity_until_acknowledged(tmp_path: Path) -> None:
    async def run() -> None:
        sender = await open_sender(tmp_path)
        herald = await open_herald(sender)
        await tell(sender, make_alert("a", "broken", Severity.CRITICAL))
        assert await until_shown(herald, 1) == [("a", "broken", 1)]
        await tell(sender, make_alert("b"), make_alert("note", "fine", Severity.INFO))
        assert await until_shown(herald, 2) == [("b", "text", 1), ("a", "broken", 1)]
        await tell(sender, make_alert("a", "mended", Severity.INFO))
        async with asyncio.timeout(10):
            while herald._newest["a"][2] < 2:
                await asyncio.sleep(0.001)
        [first, second] = herald.get_status()["alerts"]
        assert first == {"severity": "critical", "key": "a", "text": "mended", "count": 2}
        herald.acknowledge("a", "me")
        assert herald.get_status()["alerts"] == [second]
        herald.acknowledge("*", "me")
        assert herald.get_status()["alerts_total"] == 0
        await herald.close()
        await sender.close()

    asyncio.run(run())


def test_the_last_alert_of_an_earlier_life_is_not_counted_again(tmp_path: Path) -> None:
    async def run() -> None:
        sender = await open_sender(tmp_path)
        herald = await open_herald(sender)
        await tell(sender, make_alert("a"))
        await until_shown(herald, 1)
        await tell(sender, make_alert("a"), make_alert("b"))
        assert await until_shown(herald, 2) == [("b", "text", 1), ("a", "text", 1)]
        await herald.close()
        await sender.close()

    asyncio.run(run())


def test_what_is_no_alert_is_refused(tmp_path: Path) -> None:
    async def run() -> None:
        sender = await open_sender(tmp_path)
        herald = await open_herald(sender)
        sender._servers["herald"].send_nowait(b"\x81\xa4type\xa4Tick")
        async with asyncio.timeout(10):
            failure = await herald._inlets["governor>herald"].wait_stopped()
        assert failure is not None
        assert "Tick" in failure
        await herald.close()
        await sender.close()

    asyncio.run(run())


def test_a_recalled_record_that_was_not_written_is_written_by_the_next_life() -> None:
    alert = make_alert("a")
    shell = Shell(ShellSettings("governor", "/nowhere", 0, ("ledger", "herald"), ()), Silent())
    shell._recall_instruction(Record(alert))
    shell._recall_instruction(Send(("herald",), alert))
    assert shell._unwritten == [alert]
    assert shell._last_said == {"herald": alert}


@pytest.mark.parametrize("key", ["", "a" * 10_000, "\N{SNOWMAN}"])
def test_any_key_will_do(tmp_path: Path, key: str) -> None:
    async def run() -> None:
        sender = await open_sender(tmp_path)
        herald = await open_herald(sender)
        await tell(sender, make_alert(key))
        assert await until_shown(herald, 1) == [(key, "text", 1)]
        await herald.close()
        await sender.close()

    asyncio.run(run())
