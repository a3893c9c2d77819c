"""Trials run where the role says, however much room the trading node has."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._private.state import actors

from cluster.processes import is_alive, list_descendants
from cluster.session import start_local
from sweeps.case import describe_identity
from sweeps.rounds import Progress
from sweeps.store import SweepStore
from sweeps.tune import run_rounds
from tests.cluster.second_node import start_second_node
from tests.unit.sweeps.small_sweep import make_small_case, make_spec

pytestmark = pytest.mark.ray


@pytest.fixture
def trading_address() -> Iterator[str]:
    """A session whose only node trades, with two free CPUs."""
    before = set(list_descendants(os.getpid()))
    with start_local(namespace="test", num_cpus=2, object_store_mb=100, roles=("live_trading",)) as session:
        yield session.address
        started = [process for process in list_descendants(os.getpid()) if process not in before]
    assert not [process for process in started if is_alive(process)]


def test_trials_never_run_on_a_node_that_only_trades(trading_address: str, tmp_path: Path) -> None:
    case, store = make_small_case(make_spec(chunk_configs=8)), SweepStore(tmp_path / "sweep")
    store.begin(describe_identity(case), "")
    with pytest.raises(ValueError, match="no node wears the label fast_compute=true"):
        run_rounds(case.spec, case.work, store, lambda progress: None)

    places: set[str] = set()

    def look(progress: Progress) -> None:
        alive = [actor for actor in actors().values() if actor["State"] == "ALIVE"]
        trials = [actor for actor in alive if actor["ActorClassName"] != "Clerk"]  # who writes, where the driver is
        places.update(trial["Address"]["NodeID"] for trial in trials)

    with start_second_node(trading_address, "fast_compute"):
        rounds = run_rounds(case.spec, case.work, store, look)
        roles = {one["NodeID"]: set(one["Labels"]) & {"live_trading", "fast_compute"} for one in ray.nodes()}
    assert [part.configs for part in rounds] == [24, 24]
    assert sorted(map(sorted, roles.values())) == [["fast_compute"], ["live_trading"]]
    assert [roles[place] for place in places] == [{"fast_compute"}]
