"""Calls to actors that always end: with the answer, with the actor's own exception, or with a clear error in time."""

import asyncio
from typing import Any


class CallTimeoutError(TimeoutError):
    """No answer in time. The call may still be executed later: never repeat it unless that is harmless."""


class ActorLostError(ConnectionError):
    """The actor is dead, restarting, or out of reach. The call may have been executed."""


def call(handle: Any, method: str, *args: Any, timeout_s: float, **kwargs: Any) -> Any:
    """Call a method of an actor and wait for its answer.

    Raises CallTimeoutError, ActorLostError, or whatever the method raised, as it was. Not from inside an event loop.
    """
    import ray

    reference = getattr(handle, method).remote(*args, **kwargs)
    try:
        return ray.get(reference, timeout=timeout_s)
    except Exception as error:
        raise _clear(error, handle, method, timeout_s) from error


async def acall(handle: Any, method: str, *args: Any, timeout_s: float, **kwargs: Any) -> Any:
    """Like `call`, awaitable."""
    reference = getattr(handle, method).remote(*args, **kwargs)
    try:
        return await asyncio.wait_for(_resolve(reference), timeout_s)
    except Exception as error:
        raise _clear(error, handle, method, timeout_s) from error


async def _resolve(reference: Any) -> Any:
    return await reference


def wait_ready(handle: Any, timeout_s: float) -> None:
    """Return when the actor's constructor has. Raises like `call`; the constructor's own exception comes as it was."""
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
    if isinstance(error, exceptions.ActorDiedError) and (cause := _cause_in_constructor(error)) is not None:
        return cause
    if isinstance(error, exceptions.RayActorError):
        return ActorLostError(f"{what}: {str(error).strip().splitlines()[0]}")
    if isinstance(error, exceptions.RayTaskError) and isinstance(error.cause, Exception):
        return error.cause
    return error


def _cause_in_constructor(error: Any) -> Exception | None:
    cause = getattr(error, "cause", None) or error.__cause__
    return cause if isinstance(cause, Exception) else None
