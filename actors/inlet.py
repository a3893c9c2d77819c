"""What a machine holds back until every message of one close is there."""

from collections import deque
from typing import Generic, Protocol, TypeVar


class _Closed(Protocol):
    @property
    def ts_close_ns(self) -> int: ...


T = TypeVar("T", bound=_Closed)


class Inlet(Generic[T]):
    """Messages of one kind from one sender, one per close, oldest first.

    Invariant: closes strictly increase. A close that came before is a repeat after somebody's restart and is dropped.
    """

    def __init__(self) -> None:
        self._messages: deque[T] = deque()
        self._ts_newest_ns = -1

    def __len__(self) -> int:
        return len(self._messages)

    def offer(self, message: T) -> None:
        """Keep a message, unless its close came before."""
        if message.ts_close_ns > self._ts_newest_ns:
            self._ts_newest_ns = message.ts_close_ns
            self._messages.append(message)

    @property
    def ts_oldest_ns(self) -> int:
        """The close of the oldest message; there must be one."""
        return self._messages[0].ts_close_ns

    def take(self) -> T:
        """Return the oldest message."""
        return self._messages.popleft()
