"""The promises of a group, which this chain does not know: an entry and the stop and target that protect it. Sans-IO.

`Groups.plan` compares what its orders have become with what was promised, and says what to send: children of an entry
that ended unfilled are canceled, the sibling of a filled child too, and all of them once the position is closed; sizes
follow what was filled once the entry has ended. A triggered stop or target is an IOC here: where it ended with position
left it is armed again (also one that belongs to no group), at once, then after waits that double.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from venues.dydx.client_legs import Effect, LegState, OurOrder, PlaceLeg
from venues.dydx.client_orders import OrderDesk
from venues.orders import Message, is_group

REARM_NS = 500_000_000
REARM_NS_MAX = 8_000_000_000


@dataclass(slots=True, eq=False)
class Group:
    """An entry (None: it was of an earlier life, and filled) and its children."""

    entry: OurOrder | None
    children: list[OurOrder]

    @property
    def is_entry_open(self) -> bool:
        """Whether the entry may still fill."""
        return self.entry is not None and self.entry.status.is_open

    @property
    def is_over(self) -> bool:
        """Whether nothing of it can change any more."""
        return not self.is_entry_open and not any(child.status.is_open for child in self.children)


class Groups:
    """The groups of one desk."""

    def __init__(self, desk: OrderDesk) -> None:
        """Begin with none."""
        self.desk = desk
        self.groups: list[Group] = []

    def add(self, entry: OurOrder, children: Sequence[OurOrder]) -> None:
        """Keep the promises of an entry and its children from now on."""
        self.groups.append(Group(entry, [*children]))

    def rebuild(self, orders: Sequence[OurOrder]) -> None:
        """Find the groups among orders of an earlier life: those that one intent caused."""
        by_cause: dict[str, list[OurOrder]] = {}
        for order in orders:
            if order.request.cause_id:
                by_cause.setdefault(order.request.cause_id, []).append(order)
        for members in by_cause.values():
            children = [order for order in members if order.is_protective]
            entries = [order for order in members if order not in children]
            if len(entries) == 1 and children and is_group(entries[0].request, [one.request for one in children]):
                self.groups.append(Group(entries[0], children))
            elif not entries and len(children) == 2:
                self.groups.append(Group(None, children))

    def plan(self, ts_now_ns: int) -> list[Effect]:
        """Return what to send for the groups' sake; marks cancels as wanted, which the desk's plan then sends."""
        effects: list[Effect] = []
        self.groups = [group for group in self.groups if not group.is_over]
        for group in self.groups:
            effects += self._tend(group, ts_now_ns)
        for order in [order for order in self.desk.orders.values() if order.is_ready_to_end and not order.is_replacing]:
            effects += self._end_or_rearm(order, ts_now_ns)
        return effects

    def _tend(self, group: Group, ts_now_ns: int) -> list[Effect]:
        entry = group.entry
        closed_lots = sum(child.qty_filled_lots for child in group.children)
        if entry is not None and not entry.status.is_open and entry.qty_filled_lots == 0:
            return _cancel(group, Message.PARENT_CANCELED)
        if any(child.qty_leaves_lots == 0 for child in group.children):
            return _cancel(group, Message.SIBLING_FILLED)
        if group.is_entry_open:
            return []
        if entry is not None and closed_lots >= entry.qty_filled_lots:
            return _cancel(group, Message.SIBLING_FILLED)
        if self._count_held(group.children[0]) <= 0:
            return _cancel(group, Message.SIBLING_FILLED if closed_lots else Message.POSITION_CLOSED)
        if entry is None:
            return []
        left_lots = entry.qty_filled_lots - closed_lots
        effects: list[Effect] = []
        for child in group.children:
            if child.qty_leaves_lots > left_lots and _is_at_rest(child) and ts_now_ns >= child.ts_rearm_ns:
                child.ts_rearm_ns = ts_now_ns + REARM_NS_MAX
                effects.append(self._add_leg(child, left_lots))
        return effects

    def _count_held(self, child: OurOrder) -> int:
        # Lots of the position that this order would close.
        return -child.request.side * self.desk.positions_lots.get(child.request.instrument_id, 0)

    def _end_or_rearm(self, order: OurOrder, ts_now_ns: int) -> list[Effect]:
        is_ours_to_keep = order.is_protective and not order.is_cancel_wanted and order.leg.reason != "USER_CANCELED"
        if order.qty_leaves_lots == 0 or not is_ours_to_keep:
            self.desk.tell_end(order, ts_now_ns)
            return []
        held_lots = self._count_held(order)
        if held_lots <= 0:
            is_early = any(order in group.children and group.is_entry_open for group in self.groups)
            if not is_early:  # a stop that was triggered before its entry filled waits for the fill
                self.desk.tell_end(order, ts_now_ns, Message.POSITION_CLOSED)
            return []
        if ts_now_ns < order.ts_rearm_ns:
            return []
        order.ts_rearm_ns = ts_now_ns + min(REARM_NS_MAX, REARM_NS << min(order.rearmed, 10))
        order.rearmed += 1
        return [self._add_leg(order, min(order.qty_leaves_lots, held_lots))]

    def _add_leg(self, order: OurOrder, qty_lots: int) -> PlaceLeg:
        good_til_s = self.desk.compute_good_til_s()
        return PlaceLeg(order, self.desk.add_leg(order, qty_lots, order.limit_px, order.trigger_px, good_til_s))


def _cancel(group: Group, message: str) -> list[Effect]:
    for child in group.children:
        if child.status.is_open and not child.is_cancel_wanted and child.qty_leaves_lots:
            child.is_cancel_wanted, child.end_message = True, message
    return []


def _is_at_rest(child: OurOrder) -> bool:
    legs = [leg for leg in child.legs if not leg.is_over]
    return len(legs) == 1 and legs[0].state is LegState.LIVE and not legs[0].is_triggered and child.status.is_open
