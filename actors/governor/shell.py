"""The governor as an actor."""

from typing import Any

from actors.governor.machine import GovernorMachine
from actors.plan import Plan
from actors.shell import Shell, ShellSettings


class GovernorShell(Shell):
    """The account's risk, one per account."""

    machine: GovernorMachine

    def __init__(self, settings: ShellSettings, plan: Plan) -> None:
        super().__init__(settings, GovernorMachine(plan, settings.run))

    def get_status(self) -> dict[str, Any]:
        """Add equity, positions, latch and denials."""
        return super().get_status() | self.machine.describe_account()
