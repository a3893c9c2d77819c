"""What a report says about the run it shows."""

from typing import Any

from market.catalog import MarketData
from market.fills import Costs
from trireme.periods import format_ts_ms


def make_details(
    strategy: str, params: tuple[Any, ...], market: MarketData, costs: Costs, risk: str, equity_start_quote: float
) -> dict[str, dict[str, object]]:
    """Return section -> label -> value for the head of a tear sheet."""
    values = params._asdict()  # type: ignore[attr-defined]
    return {
        "Strategy": {"name": strategy} | {key: f"{value:g}" for key, value in values.items()},
        "Data": {
            "instruments": ", ".join(market.instrument_ids),
            "from": format_ts_ms(market.ts_first_ms),
            "to": format_ts_ms(market.ts_last_ms),
            "bars": f"{market.bars.shape[1]:,}",
            "sha256": market.sha256[:16],
        },
        "Account": {
            "equity at start": f"{equity_start_quote:,.0f}",
            "risk rules": risk,
            "taker fee": f"{costs.fee_taker_bps:g} bps",
            "maker fee": f"{costs.fee_maker_bps:g} bps",
            "slippage": f"{costs.slippage_bps:g} bps",
        },
    }
