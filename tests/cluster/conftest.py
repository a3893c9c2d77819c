"""One Ray session per test module: own directory, own ports, every process seen to be gone afterwards."""

import os
from collections.abc import Iterator

import pytest

from cluster.processes import is_alive, list_descendants
from cluster.session import Session, start_local


@pytest.fixture(scope="module")
def ray_session() -> Iterator[Session]:
    before = set(list_descendants(os.getpid()))
    session = start_local(namespace="test", num_cpus=2, object_store_mb=100)
    try:
        yield session
    finally:
        started = [process for process in list_descendants(os.getpid()) if process not in before]
        forced = session.stop()
    assert started
    assert not [process for process in started if is_alive(process)]
    assert not forced
    assert not session.directory.exists()
