"""Whether what a client knows of the chain is fit to open anything new on. Sans-IO; times are inputs.

Watched: the socket, the node's height against time, the Indexer's height against the node's, the age of the account's
view, the clocks, and the oracle, which after a halt may show the price of hours ago until it moves.
"""

from dataclasses import dataclass, field

from market.records import NS_PER_MS, NS_PER_S
from venues.port import ClientSettings


@dataclass(slots=True)
class ChainHealth:
    """What was last heard of the chain, the Indexer and the clocks."""

    settings: ClientSettings
    node_height: int = 0
    node_block_ms: int = 0
    ts_node_moved_ns: int = 0
    ts_node_heard_ns: int = 0
    indexer_height: int = 0
    indexer_block_ms: int = 0
    ts_account_ns: int = 0
    skew_ms: float = 0.0
    skew_error_ms: float = 0.0
    ts_oracle_moved_ns: dict[str, int] = field(default_factory=dict)
    oracle_px: dict[str, float] = field(default_factory=dict)
    is_socket_live: bool = False
    why_lost: str = ""

    def note_node(self, height: int, block_ms: int, ts_now_ns: int) -> None:
        """The node answered with its last block."""
        self.ts_node_heard_ns = ts_now_ns
        if height > self.node_height:
            self.node_height, self.node_block_ms, self.ts_node_moved_ns = height, block_ms, ts_now_ns

    def note_indexer(self, height: int, block_ms: int) -> None:
        """The Indexer has a block."""
        if height > self.indexer_height:
            self.indexer_height, self.indexer_block_ms = height, block_ms

    def note_clock(self, venue_ms: float, ts_sent_ns: int, ts_heard_ns: int) -> None:
        """The venue said its time; it did so somewhen between sending and hearing."""
        middle_ms = (ts_sent_ns + ts_heard_ns) / 2 / NS_PER_MS
        self.skew_ms, self.skew_error_ms = venue_ms - middle_ms, (ts_heard_ns - ts_sent_ns) / 2 / NS_PER_MS

    def note_oracle(self, ticker: str, px: float, ts_now_ns: int) -> None:
        """An oracle price was told."""
        if px != self.oracle_px.get(ticker):
            self.oracle_px[ticker] = px
            self.ts_oracle_moved_ns[ticker] = ts_now_ns

    def find_skew(self) -> str:
        """Return what is wrong between the clocks, "" if nothing is sure to be."""
        excess_ms = abs(self.skew_ms) - self.skew_error_ms
        if excess_ms <= self.settings.skew_s_max * 1000.0:
            return ""
        limit_s = self.settings.skew_s_max
        return f"the venue's clock is {self.skew_ms / 1000.0:+.1f} s off ours, limit {limit_s:g} s: set the clock"

    def check(self, ts_now_ns: int) -> tuple[str, ...]:
        """Return what is wrong now, one line each."""
        settings = self.settings
        found = [self.find_skew()]
        if not self.is_socket_live:
            found.append(f"the indexer's socket is down: {self.why_lost or 'subscribing'}")
        halt_ns = int(settings.silence_s * NS_PER_S)
        if ts_now_ns - self.ts_node_heard_ns > halt_ns:
            found.append(f"the node has not answered for {_show(ts_now_ns - self.ts_node_heard_ns)}")
        elif ts_now_ns - self.ts_node_moved_ns > halt_ns:
            stood_ns = ts_now_ns - self.ts_node_moved_ns
            found.append(f"the chain's height stands at {self.node_height} for {_show(stood_ns)}")
        late_ms = self.node_block_ms - self.indexer_block_ms
        if late_ms > settings.stale_s * 1000.0:
            blocks = self.node_height - self.indexer_height
            found.append(f"the indexer lags {blocks} blocks, {late_ms / 1000.0:.1f} s behind the node")
        account_ns = int((settings.stale_s + settings.reconcile_s) * NS_PER_S)
        if ts_now_ns - self.ts_account_ns > account_ns:
            found.append(f"the account's view is {_show(ts_now_ns - self.ts_account_ns)} old")
        for ticker, ts_moved_ns in self.ts_oracle_moved_ns.items():
            if ts_now_ns - ts_moved_ns > halt_ns:
                found.append(f"the oracle price of {ticker} has not moved for {_show(ts_now_ns - ts_moved_ns)}")
        return tuple(line for line in found if line)


def _show(age_ns: int) -> str:
    return f"{age_ns / NS_PER_S:.1f} s"
