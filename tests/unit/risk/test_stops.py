"""Trailing stops: armed late enough, never loosened, blind to bars that are not numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.reasons import Reason
from risk.limits import LIMITS_DEFAULT, LIMITS_NONE
from risk.stops import STOP_NONE, StopState, apply_trailing, decide_stop_move

TRAILING = LIMITS_DEFAULT.trailing
PX = st.floats(1.0, 1000.0)


@pytest.mark.parametrize(
    ("side", "stop", "high_px", "low_px", "expected"),
    [
        (1, StopState(95.0, 0.0), 100.4, 99.0, StopState(95.0, 100.4)),  # not armed yet
        (1, StopState(95.0, 0.0), 100.5, 99.0, StopState(100.5 * 0.98, 100.5)),
        (1, StopState(99.0, 0.0), 100.5, 99.0, StopState(99.0, 100.5)),  # armed, but the stop is tighter
        (1, StopState(95.0, 110.0), 105.0, 104.0, StopState(110.0 * 0.98, 110.0)),  # the best px is remembered
        (-1, StopState(105.0, 0.0), 101.0, 99.6, StopState(105.0, 99.6)),
        (-1, StopState(105.0, 0.0), 101.0, 90.0, StopState(90.0 * 1.02, 90.0)),
        (-1, StopState(91.0, 0.0), 101.0, 90.0, StopState(91.0, 90.0)),
        (1, STOP_NONE, 110.0, 100.0, StopState(110.0 * 0.98, 110.0)),  # an adopted position without a stop gets one
        (1, StopState(95.0, 0.0), math.nan, 99.0, StopState(95.0, 0.0)),
        (1, StopState(95.0, 0.0), math.inf, 99.0, StopState(95.0, 0.0)),
        (-1, StopState(105.0, 0.0), 101.0, 0.0, StopState(105.0, 0.0)),
    ],
)
def test_trailing(side: int, stop: StopState, high_px: float, low_px: float, expected: StopState) -> None:
    assert apply_trailing(stop, TRAILING, side, 100.0, high_px, low_px) == expected
    assert apply_trailing(stop, LIMITS_NONE.trailing, side, 100.0, high_px, low_px) == stop


@given(st.sampled_from([1, -1]), PX, st.floats(0.001, 0.2), st.lists(st.tuples(PX, st.floats(0, 0.1)), max_size=20))
def test_a_trailing_stop_only_tightens(
    side: int, entry_px: float, stop_frac: float, bars: list[tuple[float, float]]
) -> None:
    stop = StopState(entry_px * (1 - side * stop_frac), 0.0)
    for low_px, spread in bars:
        after = apply_trailing(stop, TRAILING, side, entry_px, low_px * (1 + spread), low_px)
        assert (after.stop_px - stop.stop_px) * side >= 0.0
        assert (after.best_px - entry_px) * side >= 0.0
        if after.stop_px != stop.stop_px:
            assert after.stop_px == pytest.approx(after.best_px * (1 - side * 0.02))
        stop = after


@pytest.mark.parametrize(
    ("stop_px", "new_stop_px", "side", "expected"),
    [
        (95.0, 96.0, 1, Reason.OK),
        (95.0, 95.0, 1, Reason.STOP_NOT_TIGHTER),
        (95.0, 94.0, 1, Reason.STOP_NOT_TIGHTER),
        (105.0, 104.0, -1, Reason.OK),
        (105.0, 106.0, -1, Reason.STOP_NOT_TIGHTER),
        (0.0, 90.0, 1, Reason.OK),
        (0.0, 110.0, -1, Reason.OK),
        (95.0, math.nan, 1, Reason.STOP_NOT_TIGHTER),
        (math.nan, 96.0, 1, Reason.STOP_NOT_TIGHTER),
        (105.0, 0.0, -1, Reason.STOP_NOT_TIGHTER),
        (105.0, -1.0, -1, Reason.STOP_NOT_TIGHTER),
    ],
)
def test_stop_moves(stop_px: float, new_stop_px: float, side: int, expected: Reason) -> None:
    assert decide_stop_move(stop_px, new_stop_px, side) == expected
