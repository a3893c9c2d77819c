"""Trials run where the role says, however much room the trading node has."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._private.state import actors

from cluster.processes import is_alive, list_descendants
from cluster.session import start_local
from sweeps.case import describe_identity
from sweeps.rounds import Progress
from sweeps.store import SweepStore
from sweeps.tune import run_rounds
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


def test_trials_never_run_on_a_node_that_only_trades(
    trading_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, store = make_small_case(make_spec(chunk_configs=8)), SweepStore(tmp_path / "sweep")
    store.begin(describe_identity(case), "")
    with pytest.raises(ValueError, match="no node wears the label fast_compute=true"):
        run_rounds(case.spec, case.work, store, lambda progress: None)

    monkeypatch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)  # stay on loopback
    node = Node(
        RayParams(
            gcs_address=trading_address,
            node_ip_address="127.0.0.1",
            num_cpus=1,
            num_gpus=0,
            labels={"fast_compute": "true"},
            object_store_memory=100_000_000,
            include_log_monitor=False,
            min_worker_port=0,
            max_worker_port=0,
            node_manager_port=0,
        ),
        head=False,
        shutdown_at_exit=False,
        spawn_reaper=False,
    )
    places: set[str] = set()

    def look(progress: Progress) -> None:
        alive = [actor for actor in actors().values() if actor["State"] == "ALIVE"]
        trials = [actor for actor in alive if actor["ActorClassName"] != "Clerk"]  # who writes, where the driver is
        places.update(trial["Address"]["NodeID"] for trial in trials)

    try:
        rounds = run_rounds(case.spec, case.work, store, look)
        roles = {one["NodeID"]: set(one["Labels"]) & {"live_trading", "fast_compute"} for one in ray.nodes()}
    finally:
        node.kill_all_processes(check_alive=False, allow_graceful=True, wait=True)
    assert [part.configs for part in rounds] == [24, 24]
    assert sorted(map(sorted, roles.values())) == [["fast_compute"], ["live_trading"]]
    assert [roles[place] for place in places] == [{"fast_compute"}]
