"""Every denial has exactly one rule: one file in risk/ that returns it."""

import ast
from collections import defaultdict
from pathlib import Path

import risk
from market.reasons import Reason

# Denied by the governor's own book-keeping of leases, approvals and open legs, not by a rule on the entry.
GOVERNOR = {
    Reason.LEASE_EXPIRED,
    Reason.APPROVAL_EXPIRED,
    Reason.APPROVAL_ALTERED,
    Reason.UNMANAGED_POSITION,
    Reason.POSITION_OPEN,
    Reason.ORDER_IN_FLIGHT,
    Reason.VENUE_UNHEALTHY,
}
BOOK_KEEPING = {"desk.py", "holding.py"}


def find_reasons(tree: ast.AST) -> set[Reason]:
    """Return the reasons a module returns or assigns; those it only compares with are not its own."""
    compared = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Compare) for part in ast.walk(node)}
    return {
        Reason[node.attr]
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Reason"
        and id(node) not in compared
    }


def test_every_denial_is_made_by_exactly_one_rule() -> None:
    makers: dict[Reason, list[str]] = defaultdict(list)
    for path in sorted(Path(risk.__path__[0]).glob("*.py")):
        if path.name not in BOOK_KEEPING:
            for reason in find_reasons(ast.parse(path.read_text())):
                makers[reason].append(path.name)
    for reason in Reason:
        if reason >= 100 and reason not in GOVERNOR:
            assert len(makers[reason]) == 1, (reason, makers[reason])
        elif reason in GOVERNOR:
            assert not makers[reason], (reason, makers[reason])
