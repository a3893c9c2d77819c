"""A Ray session that this process starts, and leaves without a trace; or one that runs already, which it joins.

The embedded session is shut in: every port on loopback (Ray binds to the node's address, which is 127.0.0.1), a token
of its own in its own directory, no dashboard unless asked for, no usage reports, no metrics of Ray's own, no worker at
reduced priority. Two sessions never share a file or a port.

Ray is imported here only when a session begins: reading the command line's help must not cost the second that takes.
"""

import contextlib
import functools
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.config import ROLES
from cluster.processes import ProcessId, end, list_descendants, wait_gone

_log = logging.getLogger(__name__)

# What Ray appends to the session directory for its longest socket name: /session_<26>_<pid>/sockets/plasma_store.<n>
_SOCKET_TAIL_BYTES = 70
_UNIX_PATH_MAX_BYTES = 107
_STOP_S = 10.0

LABEL_WORN = "true"
TOKEN_ADVICE = "put the cluster's token into ~/.ray/auth_token, or name its file in RAY_AUTH_TOKEN_PATH"


# Ray's job server gives it to the entrypoint of a job, with RAY_ADDRESS, and to nobody else.
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_ANSWER_S = 10.0


@dataclass
class Session:
    """A running embedded Ray."""

    address: str
    namespace: str
    directory: Path  # the session's own; lanes put their sockets here
    dashboard_url: str | None
    auth_token: str | None = field(repr=False)
    _environment: dict[str, str | None] = field(default_factory=dict, repr=False)
    _bystanders: frozenset[ProcessId] = field(default=frozenset(), repr=False)  # children we had before
    _is_stopped: bool = field(default=False, repr=False)

    def socket_endpoint(self, name: str) -> str:
        """Return a `unix://` endpoint for a lane of this session. Raises ValueError when the name is too long."""
        return unix_endpoint(self.directory, name)

    def stop(self) -> list[ProcessId]:
        """End the session; return the processes that had to be ended by force (none, if all is well). Safe to repeat.

        Raises RuntimeError if any of its processes lives on.
        """
        import ray

        if self._is_stopped:
            return []
        self._is_stopped = True
        before = [process for process in list_descendants(os.getpid()) if process not in self._bystanders]
        ray.shutdown()
        _restore_environment(self._environment)
        stubborn = wait_gone(before, _STOP_S)
        survivors = end(stubborn, _STOP_S)
        shutil.rmtree(self.directory, ignore_errors=True)
        if survivors:
            raise RuntimeError(f"Ray processes live on after stop: pids {[process.pid for process in survivors]}")
        return stubborn

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def start_local(
    *,
    namespace: str = "trireme",
    roles: Iterable[str] = ROLES,
    num_cpus: int = 2,
    object_store_mb: int = 200,
    temp_dir: Path = Path("/tmp"),
    include_dashboard: bool = False,
    dashboard_port: int = 0,
    log_to_driver: bool = False,
    system_environment: Mapping[str, str] | None = None,
) -> Session:
    """Start Ray on this machine, wearing every role in `roles`, and connect to it. Takes 3 to 8 s on two cores.

    temp_dir: the session's directory is made below it; must be short. system_environment: further RAY_* variables.
    Raises ValueError on a temp_dir too long, RuntimeError when this process has a session already.
    """
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # see _loopback_only: for Ray's own processes and for jobs
        **(system_environment or {}),
    }
    if len(os.fsencode(temp_dir)) + len("/t-12345678") + _SOCKET_TAIL_BYTES > _UNIX_PATH_MAX_BYTES:
        raise ValueError(f"temp_dir {temp_dir} is too long for Ray's Unix sockets, use a short one such as /tmp")
    import ray

    if ray.is_initialized():
        raise RuntimeError("this process is connected to Ray already: stop that session first")
    directory = Path(tempfile.mkdtemp(prefix="t-", dir=temp_dir))
    token = secrets.token_hex(32)
    token_path = directory / "token"
    token_path.touch(mode=0o600)
    token_path.write_text(token)
    environment["RAY_AUTH_TOKEN_PATH"] = str(token_path)
    restore = _set_environment(environment)
    bystanders = frozenset(list_descendants(os.getpid()))
    session = Session("", namespace, directory, None, token, restore)
    session._bystanders = bystanders
    _log_instead_of_printing()
    try:
        with _loopback_only(), _own_agent_port():
            context = ray.init(
                address="local",
                num_cpus=num_cpus,
                labels=dict.fromkeys(roles, LABEL_WORN),
                object_store_memory=object_store_mb * 1_000_000,
                include_dashboard=include_dashboard,
                dashboard_host="127.0.0.1",
                dashboard_port=dashboard_port or find_free_port(),
                namespace=namespace,
                log_to_driver=log_to_driver,
                logging_level="warning",
                _node_ip_address="127.0.0.1",
                _temp_dir=str(directory),
            )
    except BaseException:
        session.stop()
        raise
    session.address = context.address_info["gcs_address"]
    if include_dashboard:
        # Where `ray start` leaves it: the entrypoint of a job would else ask any Ray that it finds on this machine.
        (directory / "ray_current_cluster").write_text(session.address)
        session.dashboard_url = f"http://{context.dashboard_url}"
    return session


@contextlib.contextmanager
def join(namespace: str = "trireme", address: str = "auto", worker_setup: str | None = None) -> Iterator[str]:
    """Connect this process to a Ray that runs already, while this lasts; give its address. Ends nothing at the end.

    address: host:port of Ray itself, not of its job server; "auto" is RAY_ADDRESS, which Ray sets inside a job, else
    what `ray start` has left on this machine. The token is where Ray looks for it: RAY_AUTH_TOKEN_PATH or
    ~/.ray/auth_token. worker_setup: "module.function" that each worker of ours calls before anything else; those of
    an embedded session inherit our environment instead.

    Raises ValueError when no Ray answers there or it refuses our token, RuntimeError when this process has a session
    already.
    """
    import ray
    from ray._private import services
    from ray.exceptions import AuthenticationError

    if ray.is_initialized():
        raise RuntimeError("this process is connected to Ray already: stop that session first")
    try:
        found = services.canonicalize_bootstrap_address(address)
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()  # Ray itself waits for a minute
    except (OSError, ValueError, AttributeError):
        raise ValueError(f"no Ray answers at {address}: start one with `ray start`, or name its host:port") from None
    _log_instead_of_printing()
    environment = {"worker_process_setup_hook": worker_setup} if worker_setup else None
    try:
        ray.init(
            address=found, namespace=namespace, runtime_env=environment, log_to_driver=False, logging_level="warning"
        )
    except (ConnectionError, AuthenticationError):
        raise ValueError(f"Ray at {found} did not let us in: {TOKEN_ADVICE}") from None
    try:
        yield found
    finally:
        ray.shutdown()


def is_inside_job() -> bool:
    """Return whether this process is the entrypoint of a Ray job, or started by one: then `join`, start no Ray."""
    return _JOB_VARIABLE in os.environ


def unix_endpoint(directory: Path, name: str) -> str:
    """Return a `unix://` lane endpoint below `directory`. Raises ValueError when the path would be too long."""
    path = directory / f"{name}.sock"
    if len(os.fsencode(path)) > _UNIX_PATH_MAX_BYTES:
        raise ValueError(f"lane {name!r}: socket path {path} is over {_UNIX_PATH_MAX_BYTES} bytes, shorten the name")
    return f"unix://{path}"


def find_free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def ray_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, and let Ray know, while this lasts."""
    before = _set_environment(variables)
    try:
        yield
    finally:
        _restore_environment(before)


def _set_environment(environment: Mapping[str, str]) -> dict[str, str | None]:
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    _reread_environment()
    return before


def _restore_environment(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if before:
        _reread_environment()


def _log_instead_of_printing() -> None:
    """Ray prints what it says about dead workers to standard output, which belongs to the results of a command."""
    from ray._private import worker

    def log(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        for line in data["lines"]:
            _log.warning("%s: %s", data.get("actor_name") or data["pid"], line)

    worker.print_to_stdstream = log


@contextlib.contextmanager
def _loopback_only() -> Iterator[None]:
    """Let Ray listen on 127.0.0.1, where it would put the address of a network card and then listen on every one.

    This is Ray's own switch (RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0), which it reads at import: here, too early.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextlib.contextmanager
def _own_agent_port() -> Iterator[None]:
    """Let the node's agent, which runs jobs, find a free port: `ray.init` knows only 52365, for every session alike."""
    from ray._private import parameter

    before = parameter.RayParams
    parameter.RayParams = functools.partial(before, dashboard_agent_listen_port=0)
    try:
        yield
    finally:
        parameter.RayParams = before


def _reread_environment() -> None:
    # Ray's compiled part reads RAY_* once, at import; its own auth set-up reads them again by the same calls.
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
