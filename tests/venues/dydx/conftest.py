"""The simulated dYdX, running for one test."""

from collections.abc import Iterator

import pytest

from tests.venues.dydx.running_venue import Venue


@pytest.fixture
def venue() -> Iterator[Venue]:
    """A simulator that runs for one test."""
    running = Venue()
    yield running
    running.stop()
