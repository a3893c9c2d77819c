"""The parity proof has teeth: machines that are wrong by one bit, one step or one record are caught."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from actors.executor.machine import VenueInstruction
from actors.executor.paper import PaperVenue
from actors.in_process import InProcessHouse
from actors.market_feed.source import iterate_closes
from actors.messages import Approvals, Decisions, EquityMarked, Instruction, Message, Send, VenueReported
from actors.strategist.machine import StrategistMachine
from market.events import Fill
from risk.limits import LIMITS_DEFAULT, switch
from tests.parity.cases import make_case
from tests.parity.trace import Case, Outcome, find_difference, read_house, run_live_side, run_replay_side


class OffByOneBitVenue(PaperVenue):
    """Reports the third fill one float higher than it booked it."""

    fills = 0

    def perform(self, instruction: VenueInstruction, ts_now_ns: int) -> VenueReported:
        report = super().perform(instruction, ts_now_ns)
        return msgspec.structs.replace(report, events=tuple(self._shift(event) for event in report.events))

    def _shift(self, event: Any) -> Any:
        self.fills += isinstance(event, Fill)
        if isinstance(event, Fill) and self.fills == 3:
            return msgspec.structs.replace(event, fill_px=math.nextafter(event.fill_px, math.inf))
        return event


class LateStrategist(StrategistMachine):
    """Says at each close what it decided at the one before."""

    kept: tuple[Any, ...] = ()

    def handle(self, event: Message, ts_now_ns: int) -> list[Instruction]:
        instructions = super().handle(event, ts_now_ns)
        return [self._delay(instruction) for instruction in instructions]

    def _delay(self, instruction: Instruction) -> Instruction:
        assert isinstance(instruction, Send)
        decisions = instruction.message
        assert isinstance(decisions, Decisions)
        kept, self.kept = self.kept, decisions.intents
        return Send(instruction.to, msgspec.structs.replace(decisions, intents=kept))


class LooseStrategist(StrategistMachine):
    """Trails every stop one float too far away."""

    def handle(self, event: Message, ts_now_ns: int) -> list[Instruction]:
        loosened = []
        for instruction in super().handle(event, ts_now_ns):
            assert isinstance(instruction, Send)
            decisions = instruction.message
            assert isinstance(decisions, Decisions)
            wishes = tuple(
                msgspec.structs.replace(wish, stop_px=math.nextafter(wish.stop_px, math.inf))
                for wish in decisions.stop_wishes
            )
            loosened.append(Send(instruction.to, msgspec.structs.replace(decisions, stop_wishes=wishes)))
        return list(loosened)


class DeafVenue(PaperVenue):
    """Takes stop moves and does nothing."""

    def perform(self, instruction: VenueInstruction, ts_now_ns: int) -> VenueReported:
        if type(instruction).__name__ == "ModifyStop":
            return VenueReported(())
        return super().perform(instruction, ts_now_ns)


@pytest.fixture(scope="module")
def case() -> Case:
    made = make_case(3, "momentum_sar", bars=400)
    limits = switch(LIMITS_DEFAULT, False, "reward_to_risk", "breaker", "daily_loss")
    return Case(made.market, made.params, limits, made.costs, 100_000.0)


@pytest.fixture(scope="module")
def replayed(case: Case) -> Outcome:
    outcome = run_replay_side(case)
    assert set(outcome.trace["kind"].tolist()) == {1, 2, 3, 4}
    return outcome


def run_wrong(case: Case, spoil: Callable[[InProcessHouse], None]) -> Outcome:
    house = InProcessHouse(case.make_plan())
    spoil(house)
    house.run(iterate_closes(case.market))
    return read_house(house)


def use_machine(house: InProcessHouse, machine: type[StrategistMachine]) -> None:
    house.machines["strategist.0-momentum_sar"] = machine(house.plan, 0)


def use_venue(house: InProcessHouse, venue: type[PaperVenue]) -> None:
    house.venue = venue(house.plan)


def test_machines_as_they_are_agree(case: Case, replayed: Outcome) -> None:
    assert find_difference(run_wrong(case, lambda house: None), replayed) == ""


@pytest.mark.parametrize(
    "spoil",
    [
        lambda house: use_machine(house, LateStrategist),
        lambda house: use_machine(house, LooseStrategist),
        lambda house: use_venue(house, DeafVenue),
    ],
    ids=["a bar late", "stop one float looser", "stop not moved"],
)
def test_a_wrong_machine_is_caught(case: Case, replayed: Outcome, spoil: Callable[[InProcessHouse], None]) -> None:
    assert find_difference(run_wrong(case, spoil), replayed).startswith("row ")


def test_a_fill_one_float_off_is_caught_on_both_sides(case: Case, replayed: Outcome) -> None:
    house = InProcessHouse(case.make_plan())
    use_venue(house, OffByOneBitVenue)
    house.run(iterate_closes(case.market))
    with pytest.raises(AssertionError):  # the venue's own account says otherwise
        run_live_side(case, _make_off_house(case))
    equity_quote = [record.equity_quote for record in house.records if isinstance(record, EquityMarked)]
    assert np.array(equity_quote).tobytes() != replayed.equity_quote.tobytes()


def _make_off_house(case: Case) -> InProcessHouse:
    house = InProcessHouse(case.make_plan())
    use_venue(house, OffByOneBitVenue)
    return house


@pytest.mark.parametrize("field", ["ts_ns", "slot", "denial", "qty_lots", "px", "amount"])
def test_every_field_of_a_row_counts(replayed: Outcome, field: str) -> None:
    trace = replayed.trace.copy()
    row = len(trace) // 2
    value = trace[field][row]
    trace[field][row] = math.nextafter(value, math.inf) if trace[field].dtype.kind == "f" else value + 1
    changed = Outcome(trace, replayed.equity_quote, replayed.denials, replayed.fees_quote, replayed.funding_quote)
    assert find_difference(changed, replayed).startswith(f"row {row}:")


def test_a_missing_row_a_bit_of_equity_a_denial_and_a_fee_count(replayed: Outcome) -> None:
    equity_quote = replayed.equity_quote.copy()
    equity_quote[-1] = math.nextafter(equity_quote[-1], 0.0)
    denials = replayed.denials.copy()
    denials[-1] += 1
    trace, fees_quote, funding_quote = replayed.trace, replayed.fees_quote, replayed.funding_quote
    wrong = {
        "rows": Outcome(trace[:-1], replayed.equity_quote, replayed.denials, fees_quote, funding_quote),
        "equity": Outcome(trace, equity_quote, replayed.denials, fees_quote, funding_quote),
        "denials": Outcome(trace, replayed.equity_quote, denials, fees_quote, funding_quote),
        "fees_quote": Outcome(trace, replayed.equity_quote, replayed.denials, fees_quote + 1e-9, funding_quote),
        "funding_quote": Outcome(trace, replayed.equity_quote, replayed.denials, fees_quote, funding_quote + 1e-9),
    }
    for name, outcome in wrong.items():
        assert find_difference(outcome, replayed).startswith(name)


def test_approvals_that_never_come_stop_the_account(case: Case) -> None:
    house = InProcessHouse(case.make_plan())
    take = house.machines["executor"].handle
    house.machines["executor"].handle = lambda event, ts: [] if isinstance(event, Approvals) else take(event, ts)
    house.run(iterate_closes(case.market))
    assert sum(isinstance(record, EquityMarked) for record in house.records) == 1
