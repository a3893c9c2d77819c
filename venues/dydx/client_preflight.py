"""What must be right before the first order: the key, the account, the clocks, the chain, and every market's units."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from market.instruments import Instrument
from venues.dydx.client_legs import Contract
from venues.dydx.indexer import MarketsReply
from venues.dydx.signing import SigningKey
from venues.dydx.units import ACTIVE, LISTED_UNITS, units_from_market
from venues.port import PreflightError


def derive_address(private_key: str, mnemonic: str, address: str) -> str:
    """Return the address of a key, which must be `address` if that is given.

    Raises: PreflightError; it does not repeat the secret.
    """
    if bool(private_key) == bool(mnemonic):
        raise PreflightError("dydx: give a private key or a mnemonic, one of them")
    try:
        key = SigningKey.from_hex(private_key) if private_key else SigningKey.from_mnemonic(mnemonic)
    except ValueError as error:
        raise PreflightError(f"dydx: {error}") from None
    if address and address != key.address:
        raise PreflightError(f"dydx: the key is that of {key.address}, not of {address}: give that account's key")
    return key.address


def check_chain_id(found: str, wanted: str) -> None:
    """Check that a node is of our chain. Raises PreflightError."""
    if found != wanted:
        raise PreflightError(f"dydx: the node is of chain {found!r}, we sign for {wanted!r}: mend the endpoints")


def match_markets(
    instruments: Sequence[Instrument], markets: MarketsReply, clob_pairs: dict[int, Any] | None
) -> dict[str, Contract]:
    """Return our instruments' markets by instrument id, once Indexer, chain and our own table agree on the units.

    Raises: PreflightError naming the first number that differs. `clob_pairs` None: the chain is not asked.
    """
    found: dict[str, Contract] = {}
    for instrument in instruments:
        ticker = f"{instrument.base}-USD"
        market = markets.markets.get(ticker)
        if market is None:
            raise PreflightError(f"dydx: {instrument.instrument_id}: the venue lists no {ticker}")
        try:
            units = units_from_market(market)
        except ValueError as error:
            raise PreflightError(f"dydx: {error}") from None
        pair = None if clob_pairs is None else clob_pairs.get(units.clob_pair_id)
        if clob_pairs is not None and pair is None:
            raise PreflightError(f"dydx: {ticker}: the chain has no book {units.clob_pair_id}")
        listed = LISTED_UNITS.get(instrument.instrument_id)
        pairs: list[tuple[str, object, object]] = [
            ("tick", units.tick_px, Decimal(repr(instrument.tick_px)).normalize()),
            ("step beyond whole lots", Decimal(repr(instrument.lot_base)) % units.step_size, Decimal(0)),
        ]
        if listed is not None:
            pairs.append(("atomic resolution", units.atomic_resolution, listed.atomic_resolution))
            pairs.append(("book id", units.clob_pair_id, listed.clob_pair_id))
        if pair is not None:
            pairs.append(("step of the chain", pair.step_base_quantums, units.step_base_quantums))
            pairs.append(("tick of the chain", pair.subticks_per_tick, units.subticks_per_tick))
            exponents = (pair.quantum_conversion_exponent, units.quantum_conversion_exponent)
            pairs.append(("quantum exponent of the chain", *exponents))
        for name, theirs, ours in pairs:
            if theirs != ours:
                raise PreflightError(f"dydx: {ticker}: {name} is {theirs}, must be {ours}: mend the instrument table")
        if market.status != ACTIVE:
            raise PreflightError(f"dydx: {ticker} is {market.status}, not {ACTIVE}: trade it when it is")
        found[instrument.instrument_id] = Contract(instrument, units)
    return found
