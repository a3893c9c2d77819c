"""Calls to actors that always end: with the answer, with the actor's own exception, or with a clear error in time."""

import asyncio
from typing import Any


class CallTimeoutError(TimeoutError):
    """No answer in time. The call may still be executed later: never repeat it unless that is harmless."""


class ActorLostError(ConnectionError):
    """The actor is dead, restarting, or out of reach. The call may have been executed."""


class ActorStartError(RuntimeError):
    """The actor's constructor raised."""


class ActorBusyError(ConnectionError):
    """The actor has `max_pending_calls` unanswered calls from here. This one was not sent."""


def call(handle: Any, method: str, *args: Any, timeout_s: float, **kwargs: Any) -> Any:
    """Call a method of an actor and wait for its answer.

    Raises CallTimeoutError, ActorLostError, ActorStartError, ActorBusyError, or whatever the method raised, as it was.
    Not from inside an event loop.
    """
    import ray

    try:
        return ray.get(getattr(handle, method).remote(*args, **kwargs), timeout=timeout_s)
    except Exception as error:
        raise _clear(error, handle, method, timeout_s) from error


async def acall(handle: Any, method: str, *args: Any, timeout_s: float, **kwargs: Any) -> Any:
    """Like `call`, awaitable."""
    try:
        return await asyncio.wait_for(_resolve(getattr(handle, method).remote(*args, **kwargs)), timeout_s)
    except Exception as error:
        raise _clear(error, handle, method, timeout_s) from error


async def _resolve(reference: Any) -> Any:
    return await reference


def wait_ready(handle: Any, timeout_s: float) -> None:
    """Return when the actor's constructor has. Raises like `call`; ValueError if its constructor raised one."""
    call(handle, "__ray_ready__", timeout_s=timeout_s)


def describe(handle: Any) -> str:
    """Return "Class(first 8 digits of its id)" of an actor."""
    meta = getattr(handle, "_ray_actor_creation_function_descriptor", None)
    name = meta.class_name if meta is not None else "actor"
    return f"{name}({handle._actor_id.hex()[:8]})"


def _clear(error: Exception, handle: Any, method: str, timeout_s: float) -> Exception:
    from ray import exceptions

    what = f"{describe(handle)}.{method}"
    if isinstance(error, exceptions.GetTimeoutError | asyncio.TimeoutError) and not isinstance(
        error, exceptions.RayTaskError
    ):
        return CallTimeoutError(f"{what} has not answered within {timeout_s} s")
    if isinstance(error, exceptions.RayActorError) and error.actor_init_failed:
        return _start_error(str(error), what)
    if isinstance(error, exceptions.PendingCallsLimitExceeded):
        return ActorBusyError(f"{what}: too many calls of ours are unanswered")
    if isinstance(error, exceptions.RayActorError):
        return ActorLostError(f"{what}: {str(error).strip().splitlines()[0]}")
    if isinstance(error, exceptions.RayTaskError) and isinstance(error.cause, Exception):
        return error.cause
    return error


def _start_error(text: str, what: str) -> Exception:
    # Ray keeps only the text of what a constructor raised; its last line names the exception.
    last_line = text.strip().splitlines()[-1].strip()
    kind, _, message = last_line.partition(": ")
    return ValueError(message) if kind == "ValueError" else ActorStartError(f"{what}: {last_line}")
