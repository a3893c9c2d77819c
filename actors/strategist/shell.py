"""The strategist as an actor."""

from typing import Any

from actors.plan import Plan
from actors.shell import Shell, ShellSettings
from actors.strategist.machine import StrategistMachine
from strategies.catalog import get_idea


class StrategistShell(Shell):
    """One strategy over the account's instruments."""

    machine: StrategistMachine

    def __init__(self, settings: ShellSettings, plan: Plan, strategy: int) -> None:
        get_idea(plan.strategies[strategy].params).warm_up()
        super().__init__(settings, StrategistMachine(plan, strategy))

    def get_status(self) -> dict[str, Any]:
        """Add the positions and stops it knows."""
        return super().get_status() | {"slots": self.machine.describe_slots()}
