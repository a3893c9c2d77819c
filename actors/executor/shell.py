"""The executor as an actor: performs venue instructions, here on the paper venue over bars."""

from typing import Any

from actors.executor.machine import ExecutorMachine, VenueInstruction
from actors.executor.paper import PaperVenue
from actors.messages import Message
from actors.plan import Plan
from actors.shell import Shell, ShellSettings


class ExecutorShell(Shell):
    """One account at one venue.

    The paper venue lives in this process and dies with it. It is deterministic, so the replay of the journal that
    restores the machine rebuilds the venue too, by performing again what was asked of it.
    """

    machine: ExecutorMachine

    def __init__(self, settings: ShellSettings, plan: Plan) -> None:
        super().__init__(settings, ExecutorMachine(plan, settings.run))
        self._venue = PaperVenue(plan)

    async def _perform(self, instruction: Any) -> Message | None:
        if isinstance(instruction, VenueInstruction):
            return self._venue.perform(instruction, self.ts_now_ns)
        return await super()._perform(instruction)

    def _recall_instruction(self, instruction: Any) -> Message | None:
        if isinstance(instruction, VenueInstruction):
            return self._venue.perform(instruction, self.ts_now_ns)  # its report is the journal's next event, or owed
        return super()._recall_instruction(instruction)

    def get_status(self) -> dict[str, Any]:
        """Add open orders and what the venue says the account is worth."""
        return super().get_status() | {
            "venue_equity_quote": self._venue.equity_quote,
            "orders": self.machine.describe_orders(),
        }
