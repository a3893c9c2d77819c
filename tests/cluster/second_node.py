"""A second node of a session's cluster, on the same machine, with a label of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ray._private.node import Node
from ray._private.parameter import RayParams

from cluster.session import LABEL_WORN


@contextmanager
def start_second_node(address: str, role: str, *, num_cpus: int = 1) -> Iterator[str]:
    """Run a node that wears `role` beside the one that this process has started; give its id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)  # stay on loopback
        node = Node(
            RayParams(
                gcs_address=address,
                node_ip_address="127.0.0.1",
                num_cpus=num_cpus,
                num_gpus=0,
                labels={role: LABEL_WORN},
                object_store_memory=100_000_000,
                include_log_monitor=False,
                min_worker_port=0,
                max_worker_port=0,
                node_manager_port=0,
                dashboard_agent_listen_port=0,
            ),
            head=False,
            shutdown_at_exit=False,
            spawn_reaper=False,
        )
        try:
            yield node.node_id
        finally:
            node.kill_all_processes(check_alive=False, allow_graceful=True, wait=True)
