"""One order book of the Indexer, kept from a snapshot and absolute updates, and uncrossed by the age of its levels.

The Indexer knows one node's opinion, so levels that are gone may linger and cross newer ones: of two that cross, the
one that was told earlier is dropped (by message id; of the same message, both give up what they share). A book that
would lose much that way, or a whole side, is not believed: it must be subscribed again. Sans-IO.
"""

from decimal import Decimal

from market.book import Levels
from venues.book_feed import BookView, LostReason
from venues.dydx.indexer_records import BookSnapshot, BookUpdate

UNCROSS_MAX = 20  # levels dropped at once before the book itself is doubted


class IndexerBook:
    """The book of one market."""

    def __init__(self) -> None:
        """Begin without a book."""
        self._sides: tuple[dict[Decimal, tuple[Decimal, int]], ...] = ({}, {})  # px -> size, message id
        self.message_id = -1
        self.ts_recv_ns = self.ts_changed_ns = 0
        self.conflated = 0
        self.lost: LostReason | None = LostReason.DISCONNECTED

    def lose(self, reason: LostReason) -> None:
        """Distrust the book until the next snapshot."""
        self.lost = reason

    def begin(self, snapshot: BookSnapshot, message_id: int, ts_recv_ns: int) -> None:
        """Take a whole book."""
        for side, levels in zip(self._sides, (snapshot.bids, snapshot.asks), strict=True):
            side.clear()
            side.update({level.price: (level.size, message_id) for level in levels if level.size > 0})
        self.lost, self.conflated = None, 0
        self._note(message_id, ts_recv_ns, is_changed=True)

    def apply(self, update: BookUpdate, message_id: int, ts_recv_ns: int) -> None:
        """Take the levels that changed; what is older than the book is left out."""
        if self.lost is not None or message_id < self.message_id:
            return
        is_changed = False
        for side, levels in zip(self._sides, (update.bids, update.asks), strict=True):
            for px, size in levels:
                known = side.get(px)
                is_changed |= size != (known[0] if known else 0)
                if size > 0:
                    side[px] = (size, message_id)
                else:
                    side.pop(px, None)
        self._note(message_id, ts_recv_ns, is_changed=is_changed)

    def _note(self, message_id: int, ts_recv_ns: int, *, is_changed: bool) -> None:
        self.message_id, self.ts_recv_ns = message_id, ts_recv_ns
        if is_changed:
            self.ts_changed_ns = ts_recv_ns
        self.conflated += 1
        self._uncross()

    def _uncross(self) -> None:
        bids, asks = self._sides
        for _ in range(UNCROSS_MAX):
            if not bids or not asks:
                break
            bid_px, ask_px = max(bids), min(asks)
            if bid_px < ask_px:
                return
            (bid_size, bid_id), (ask_size, ask_id) = bids[bid_px], asks[ask_px]
            if bid_id < ask_id or (bid_id == ask_id and bid_size <= ask_size):
                del bids[bid_px]
            if ask_id < bid_id or (bid_id == ask_id and ask_size <= bid_size):
                del asks[ask_px]
            if bid_id == ask_id and bid_size != ask_size:
                rest = abs(bid_size - ask_size)
                (bids if bid_size > ask_size else asks)[bid_px if bid_size > ask_size else ask_px] = (rest, bid_id)
        self.lost = LostReason.CROSSED

    def take(self, ts_now_ns: int, stale_ns: int) -> BookView | LostReason:
        """Return the book, or why it may not be used."""
        if self.lost is not None:
            return self.lost
        if ts_now_ns - self.ts_recv_ns > stale_ns:
            return LostReason.STALE
        if ts_now_ns - self.ts_changed_ns > stale_ns:
            return LostReason.FROZEN  # the same again and again
        bids, asks = (
            tuple((float(px), float(size)) for px, (size, _) in sorted(side.items(), reverse=is_bid))
            for side, is_bid in zip(self._sides, (True, False), strict=True)
        )
        conflated, self.conflated = self.conflated, 0
        levels: tuple[Levels, Levels] = (bids, asks)
        return BookView(self.message_id, *levels, 0, self.ts_recv_ns, conflated)
