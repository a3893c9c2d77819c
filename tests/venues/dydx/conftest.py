"""The simulated dYdX, running for the tests of a module; each test has an account of its own."""

from collections.abc import Iterator

import pytest

from tests.venues.dydx.running_venue import Venue


@pytest.fixture(scope="module")
def shared_venue() -> Iterator[Venue]:
    """A simulator that runs for one module."""
    running = Venue()
    yield running
    running.stop()


@pytest.fixture
def venue(shared_venue: Venue) -> Iterator[Venue]:
    """The module's simulator with an account that nobody has used; every fault is off again after the test."""
    shared_venue.take_account()
    yield shared_venue
    shared_venue.switch_all_off()


@pytest.fixture
def own_venue() -> Iterator[Venue]:
    """A simulator for one test alone: for what other tests would notice."""
    running = Venue()
    yield running
    running.stop()
