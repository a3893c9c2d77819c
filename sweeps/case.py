"""A sweep with its data: what is asked, on which bars, with which account; and what tells one sweep from another."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from market.catalog import INTERVAL_NS_DEFAULT, MarketData, load_market
from market.fills import Costs
from market.generator import generate_market
from market.kernel_cache import hash_kernel_sources
from market.records import NS_PER_MS
from risk.limits import Limits
from sweeps.chunks import Work, check_windows, make_work
from sweeps.folds import Split, cut, make_split
from sweeps.spec import DataSource, SweepSpec
from sweeps.spec_file import spec_json

IDENTITY_VERSION = 1


@dataclass(frozen=True, slots=True)
class Case:
    """All that a sweep's results depend on."""

    spec: SweepSpec
    market: MarketData  # all of it, holdout included
    split: Split
    work: Work  # in sample


def load_source(source: DataSource) -> MarketData:
    """Return the bars that a specification names. Raises ValueError where the catalog has them not."""
    if source.catalog is None:
        interval_ns = source.interval_ns or INTERVAL_NS_DEFAULT
        return generate_market(source.seed, list(source.instrument_ids), source.bars, interval_ns=interval_ns)
    return load_market(
        source.catalog, source.instrument_ids, source.ts_from_ms, source.ts_to_ms, interval_ns=source.interval_ns
    )


def make_case(spec: SweepSpec, market: MarketData, limits: Limits, costs: Costs, equity_start_quote: float) -> Case:
    """Return the case. Costs and equity that the specification names go before those given.

    Raises ValueError where the period is too short for the folds, the holdout or the longest window of the space.
    """
    split = make_split(market, spec.holdout_frac, spec.walk_forward)
    work = make_work(
        cut(market, split.in_sample),
        split.folds,
        limits,
        spec.costs or costs,
        spec.equity_start_quote or equity_start_quote,
        spec.constraints,
        spec.walk_forward,
    )
    check_windows(spec.space, work.market)
    return Case(spec, market, split, work)


def describe_identity(case: Case) -> dict[str, Any]:
    """Return what a resume must find unchanged."""
    spec = spec_json(case.spec)
    return {
        "version": IDENTITY_VERSION,
        "name": case.spec.name,
        "spec_sha256": hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest(),
        "spec": spec,
        "data": describe_data(case),
        "account": describe_account(case.work),
        "code_version": hash_kernel_sources(),
    }


def describe_data(case: Case) -> dict[str, Any]:
    """Return what the sweep ran on, times in UTC ms."""
    market, holdout = case.market, case.split.holdout
    return {
        "instrument_ids": list(market.instrument_ids),
        "interval_ms": market.interval_ns // NS_PER_MS,
        "bars": len(case.split.in_sample),
        "bars_holdout": len(holdout),
        "from_ms": market.ts_first_ms,
        "to_ms": get_ts_ms(market, market.bars.shape[1]),
        "holdout_from_ms": get_ts_ms(market, holdout.start) if holdout else None,
        "sha256": market.sha256,
    }


def describe_account(work: Work) -> dict[str, Any]:
    """Return the account that every configuration starts with."""
    return {
        "equity_start_quote": work.equity_start_quote,
        "costs": dict(work.costs._asdict()),
        "limits": _to_plain(work.limits),
    }


def get_ts_ms(market: MarketData, bar: int) -> int:
    """Return when a bar of a market opens, UTC ms."""
    return market.ts_first_ms + bar * (market.interval_ns // NS_PER_MS)


def _to_plain(record: Any) -> Any:
    # A record of records as nested dicts.
    if hasattr(record, "_asdict"):
        return {key: _to_plain(value) for key, value in record._asdict().items()}
    return record
