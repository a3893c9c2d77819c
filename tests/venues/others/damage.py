"""Ways to spoil a message: bytes changed, values of another kind, targets bent."""

import json
import random
from typing import Any
from urllib.parse import quote

TOKENS = (b"null", b"-1", b'"NaN"', b"1e999", b"{}", b"[", b'"', b"9" * 40, b"\\ud800", b"true", b"0.1", b"[[]]")
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**70, 1.5, 1e300, "", "x", "0", "-1", "1e9", "NaN", "60000", "0x",
    "0x" + "f" * 32, [], {}, [[]], [1, "a"], {"a": 1}, "\u0000", "ü" * 50,
)  # fmt: skip


def mutate(content: bytes, draws: random.Random) -> bytes:
    """Return bytes changed, cut, repeated, or with a strange token in them."""
    changed = bytearray(content)
    for _ in range(draws.randint(1, 4)):
        at = draws.randrange(len(changed)) if changed else 0
        match draws.randrange(5):
            case 0:
                changed[at : at + 1] = draws.randbytes(1)
            case 1:
                del changed[at : at + draws.randint(1, 20)]
            case 2:
                changed[at:at] = changed[at : at + 30]
            case 3:
                changed[at:at] = draws.randbytes(draws.randint(1, 9))
            case _:
                changed[at:at] = draws.choice(TOKENS)
    return bytes(changed)


def mutate_target(target: str, draws: random.Random) -> str:
    """Return a target with its path or, mostly, its parameters changed."""
    path, _, query = target.partition("?")
    if query and draws.random() < 0.7:
        return f"{path}?{quote(mutate(query.encode(), draws), safe='&=%')}"
    return "/" + quote(mutate(target.encode(), draws).lstrip(b"/"), safe="/?&=%")


def put_strange(plain: Any, draws: random.Random) -> Any:
    """Return the same JSON with one value of another kind somewhere, a key gone or one more."""
    copy = json.loads(json.dumps(plain))
    place = copy
    while True:
        key = draws.choice([*place] if isinstance(place, dict) else [*range(len(place))])
        if isinstance(place[key], dict | list) and place[key] and draws.random() < 0.7:
            place = place[key]
            continue
        match draws.randrange(6):
            case 0:
                del place[key]
            case 1 if isinstance(place, dict):
                place[draws.choice(("x", "type", "a", ""))] = draws.choice(VALUES)
            case _:
                place[key] = draws.choice(VALUES)
        return copy
