"""Every fault switch has, for every venue that can have it, a test that says in its name what it is about."""

import re
from pathlib import Path

import pytest

from venues.simulator.faults import SPECS, VENUES

HERE = Path(__file__).parent
_ORDERS = "nobody trades there"
_CHAIN = "of a chain of blocks"
NOT_THERE = {
    "binance": {
        "not of market data": ("expiry_hidden", "stop_hidden", "order_cap", "history_duplicate", "snapshot_overlap"),
        _ORDERS: (
            "fill_before_reply", "fill_capped", "fill_during_cancel", "child_rejected", "reply_short", "nonce_refused",
            "benign_cancel_error", "post_only_removed",
        ),
        _CHAIN: ("sequence_bumped", "account_view_lag", "tx_vanish", "grpc_status", "height_frozen", "indexer_lag"),
    },
    "hyperliquid": {
        "an order there ends by no block": ("expiry_hidden",),
        "its cancels fail with one error": ("benign_cancel_error",),
        "a post-only that crosses is refused at once": ("post_only_removed",),
        _CHAIN: ("sequence_bumped", "account_view_lag", "tx_vanish", "grpc_status", "height_frozen", "indexer_lag"),
    },
    "dydx": {"no answer there has several statuses": ("reply_short",)},
}  # fmt: skip


def list_test_names(venue: str) -> str:
    names = [
        name
        for path in sorted((HERE / venue).glob("test_*.py"))
        for name in re.findall(r"^(?:async )?def (test_\w+)|^ {4}\"(\w+)\":", path.read_text(), re.MULTILINE)
    ]
    return "\n".join(one for pair in names for one in pair if one)


@pytest.mark.parametrize("venue", VENUES)
def test_every_switch_is_exercised_against_the_client(venue: str) -> None:
    names = list_test_names(venue)
    absent = {name for switches in NOT_THERE[venue].values() for name in switches}
    assert absent <= set(SPECS)
    untested = [switch for switch in SPECS if switch not in absent and switch not in names]
    assert not untested, f"{venue}: no test is named after {', '.join(untested)}"
