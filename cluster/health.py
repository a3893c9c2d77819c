"""Which named actors live: sampled from Ray's own table, without asking the actors themselves."""

import enum
from collections.abc import Iterable
from typing import NamedTuple


class Liveness(enum.StrEnum):
    """How Ray sees an actor."""

    PENDING = "pending"
    ALIVE = "alive"
    RESTARTING = "restarting"
    DEAD = "dead"
    ABSENT = "absent"  # Ray knows no actor of that name


_LIVENESS = {
    "DEPENDENCIES_UNREADY": Liveness.PENDING,
    "PENDING_CREATION": Liveness.PENDING,
    "ALIVE": Liveness.ALIVE,
    "RESTARTING": Liveness.RESTARTING,
    "DEAD": Liveness.DEAD,
}


class ActorHealth(NamedTuple):
    """One named actor at one moment."""

    name: str
    liveness: Liveness
    pid: int  # 0 when it has no process
    restarts: int
    node_id: str


def sample(names: Iterable[str]) -> dict[str, ActorHealth]:
    """Return the health of each named actor; of several of one name, past lives included, the latest."""
    from ray._private import state  # the public listing needs the dashboard; this reads the same table without it

    wanted = list(names)
    latest: dict[str, dict[str, object]] = {}
    for entry in state.actors().values():
        known = latest.get(entry["Name"])
        if known is None or entry["StartTime"] >= known["StartTime"]:
            latest[entry["Name"]] = entry
    return {name: _health(name, latest.get(name)) for name in wanted}


def _health(name: str, entry: dict[str, object] | None) -> ActorHealth:
    if entry is None:
        return ActorHealth(name, Liveness.ABSENT, 0, 0, "")
    address = entry["Address"]
    assert isinstance(address, dict)
    return ActorHealth(
        name=name,
        liveness=_LIVENESS[str(entry["State"])],
        pid=int(str(entry["Pid"])),
        restarts=int(str(entry["NumRestarts"])),
        node_id=str(address["NodeID"]),
    )
