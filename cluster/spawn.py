"""The only place where plain classes become Ray actors."""

import threading
import time
from typing import Any

from cluster.handles import ActorLostError, CallTimeoutError, call, wait_ready
from cluster.session import LABEL_WORN

SELF_CALL_S = 30.0
SELF_CALL_PAUSE_S = 0.2


def spawn(
    actor_class: type,
    *args: Any,
    name: str,
    role: str | None = None,
    num_cpus: float = 0,
    max_restarts: int = 0,
    max_task_retries: int = 0,
    max_pending_calls: int = 1024,
    max_concurrency: int | None = None,
    enable_task_events: bool = False,
    is_detached: bool = False,
    namespace: str | None = None,
    runtime_environment: dict[str, str] | None = None,
    ready_timeout_s: float = 60.0,
) -> Any:
    """Make an actor of a plain class, see that its constructor has returned, and give back its handle.

    role: the node label it needs, or None for any node. max_restarts: -1 for ever; a restarted actor runs its
        constructor again
    with the same `args` and knows nothing else. max_task_retries: stays 0 on the order path, or Ray would send an order
    twice.
    is_detached: outlives the process that spawned it. runtime_environment: variables of the actor's process.
    max_concurrency: calls at once; None is Ray's default (1, or 1000 where the class has coroutine methods).

    Raises ValueError when no living node wears the role, the name is taken, or the class has no `__repr__` (it is what
    the dashboard and the logs show); CallTimeoutError when it is not ready in time (it is killed then); else what its
    constructor raised.
    """
    import ray

    if "__repr__" not in {name for base in actor_class.__mro__[:-1] for name in vars(base)}:
        raise ValueError(f"{actor_class.__name__} needs a __repr__: the dashboard and the logs show actors by it")
    options: dict[str, Any] = {
        "name": name,
        "num_cpus": num_cpus,
        "max_restarts": max_restarts,
        "max_task_retries": max_task_retries,
        "max_pending_calls": max_pending_calls,
        "enable_task_events": enable_task_events,
    }
    if role is not None:
        check_role(role)
        options["label_selector"] = {role: LABEL_WORN}
    if max_concurrency is not None:
        options["max_concurrency"] = max_concurrency
    if is_detached:
        options["lifetime"] = "detached"
    if namespace is not None:
        options["namespace"] = namespace
    if runtime_environment:
        options["runtime_env"] = {"env_vars": runtime_environment}
    try:
        handle = ray.remote(actor_class).options(**options).remote(*args)
    except ValueError as error:
        if "already" in str(error):
            raise ValueError(f"an actor named {name!r} exists already: stop it first, or choose another name") from None
        raise
    try:
        wait_ready(handle, ready_timeout_s)
    except CallTimeoutError:
        ray.kill(handle)
        raise CallTimeoutError(f"actor {name!r} was not ready within {ready_timeout_s} s") from None
    return handle


def kill(handle: Any) -> None:
    """End an actor's process at once, for good: none of its hooks run, and it is not restarted."""
    import ray

    ray.kill(handle)


def call_self_if_restarted(method: str) -> None:
    """In an actor's constructor: if Ray has restarted this actor, have `method` called once the constructor is done.

    `method` must be safe to repeat: until Ray knows that the actor lives again, it may lose calls, which are repeated.
    """
    import ray

    if not ray.is_initialized():
        return  # not an actor: a test's plain object
    context = ray.get_runtime_context()
    if context.get_actor_id() is None or not context.was_current_actor_reconstructed:
        return
    handle = context.current_actor

    def keep_calling() -> None:
        while True:
            try:
                call(handle, method, timeout_s=SELF_CALL_S)
            except (ActorLostError, CallTimeoutError):
                time.sleep(SELF_CALL_PAUSE_S)
            else:
                return

    threading.Thread(target=keep_calling, name=f"call {method}", daemon=True).start()


def get_actor(name: str, namespace: str | None = None) -> Any:
    """Return the handle of a named actor. Raises ActorLostError when there is none."""
    import ray

    try:
        return ray.get_actor(name, namespace=namespace)
    except ValueError:
        raise ActorLostError(f"no actor named {name!r} in namespace {namespace or 'of this session'}") from None


def list_roles() -> dict[str, int]:
    """Return how many living nodes wear each role."""
    import ray

    worn = [
        role for node in ray.nodes() if node["Alive"] for role, value in node["Labels"].items() if value == LABEL_WORN
    ]
    return {role: worn.count(role) for role in sorted(set(worn))}


def check_role(role: str) -> None:
    """Raises ValueError when no living node wears `role`: Ray would let an actor wait for it for ever, in silence."""
    worn = list_roles()
    if role not in worn:
        raise ValueError(
            f"no node wears the label {role}={LABEL_WORN} (worn: {', '.join(worn) or 'none'}):"
            f" start one with ray start --labels={role}={LABEL_WORN}"
        )
