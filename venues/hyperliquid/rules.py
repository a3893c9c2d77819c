"""Hyperliquid's rules for prices, sizes and names, and the way between `market/`'s numbers and the wire's strings.

Price: at most 5 significant figures and at most 6 (perpetuals) or 8 (spot) minus szDecimals decimals; whole prices are
always good. Size: a multiple of 10^-szDecimals. Notional: 10 quote at least. All in Decimal: what does not fit is
refused, never rounded in silence; `round_px` rounds for those who ask for it.

Simulator: `find_order_refusal` gives the venue's words. Client: `write_px`, `write_lots`, `read_lots`, `check_order`.
Source: PROTOCOLS.md 1.2 (asset ids), 1.9; the venue's manual, "Tick and lot size".
Does not model: margin tiers, the 80 % band around the reference px, the cap on open orders.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from msgspec import UNSET

from market import instruments
from market.instruments import Instrument
from venues.hyperliquid import exchange_replies as words
from venues.hyperliquid import wire
from venues.hyperliquid.exchange_actions import WireOrder
from venues.hyperliquid.info_replies import MarginTable, MarginTier, Meta, PerpInfo, SpotMeta

SIGNIFICANT_FIGURES_MAX = 5
PERP_DECIMALS_MAX, SPOT_DECIMALS_MAX = 6, 8
SIZE_DIGITS_MAX = 15  # before the point: what is larger overflows lots
NOTIONAL_MIN_QUOTE = Decimal(10)
SPOT_OFFSET, DEX_OFFSET, DEX_STEP = 10_000, 110_000, 10_000
SLIPPAGE_TRIGGER_FRAC = 0.1  # how far from its trigger a market stop may fill


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset as the wire knows it, beside our instrument for it."""

    asset_id: int
    coin: str  # "BTC", "kPEPE", "dex:COIN", "@107"
    sz_decimals: int
    is_spot: bool
    instrument: Instrument

    @property
    def px_decimals_max(self) -> int:
        """How many decimals a px may have."""
        return max(0, (SPOT_DECIMALS_MAX if self.is_spot else PERP_DECIMALS_MAX) - self.sz_decimals)


def make_asset(asset_id: int, coin: str, sz_decimals: int, leverage_max: float, *, is_spot: bool = False) -> Asset:
    """Return an asset from the venue's metadata; maintenance margin is half the initial one at the highest leverage.

    >>> make_asset(0, "BTC", 5, 40.0).instrument == instruments.LISTED["BTC-PERP.HYPERLIQUID"]
    True
    """
    if sz_decimals < 0 or not leverage_max >= 1.0:
        raise ValueError(f"asset {coin!r} has szDecimals {sz_decimals}, leverage {leverage_max}: must be >= 0 and >= 1")
    px_decimals_max = max(0, (SPOT_DECIMALS_MAX if is_spot else PERP_DECIMALS_MAX) - sz_decimals)
    contract = "".join(letter if letter.isalnum() else "-" for letter in coin.upper()).strip("-")
    instrument = Instrument(
        instrument_id=instruments.check_instrument_id(f"{contract}-{'SPOT' if is_spot else 'PERP'}.{wire.VENUE_ID}"),
        base=coin,
        quote="USDC",
        lot_base=float(Decimal(1).scaleb(-sz_decimals)),
        tick_px=float(Decimal(1).scaleb(-px_decimals_max)),
        significant_figures_max=SIGNIFICANT_FIGURES_MAX,
        qty_lots_min=1,
        notional_min_quote=float(NOTIONAL_MIN_QUOTE),
        leverage_max=float(leverage_max),
        maintenance_margin_frac=0.5 / float(leverage_max),
        funding_interval_h=1,
    )
    return Asset(asset_id, coin, sz_decimals, is_spot, instrument)


def list_assets(meta: Meta, spot_meta: SpotMeta | None = None, dex_index: int = 0) -> tuple[Asset, ...]:
    """Return the assets of one dex (`dex_index` 0: the venue's own) and the spot ones, in the order of their ids.

    Delisted perpetuals keep their place and are left out; spot pairs whose tokens are missing too.
    """
    offset = DEX_OFFSET + DEX_STEP * (dex_index - 1) if dex_index else 0
    found = [
        make_asset(offset + index, info.name, info.sz_decimals, info.max_leverage)
        for index, info in enumerate(meta.universe)
        if info.is_delisted in (UNSET, False)
    ]
    if spot_meta is not None:
        tokens = {token.index: token for token in spot_meta.tokens}
        for pair in spot_meta.universe:
            base = tokens.get(pair.tokens[0]) if pair.tokens else None
            if base is not None:
                found.append(make_asset(SPOT_OFFSET + pair.index, pair.name, base.sz_decimals, 1.0, is_spot=True))
    return tuple(found)


def make_meta(listed: Sequence[Instrument]) -> Meta:
    """Return the metadata of our instruments, asset ids in their order: what a simulator serves.

    >>> make_meta([instruments.LISTED["BTC-PERP.HYPERLIQUID"]]).universe[0]
    PerpInfo(name='BTC', sz_decimals=5, max_leverage=40, margin_table_id=40, only_isolated=UNSET, \
is_delisted=UNSET, margin_mode=UNSET)
    """
    leverages = [int(instrument.leverage_max) for instrument in listed]
    universe = tuple(
        PerpInfo(instrument.base, count_sz_decimals(instrument), leverage, leverage)
        for instrument, leverage in zip(listed, leverages, strict=True)
    )
    # A table of one tier has its leverage for an id.
    tables = {one: MarginTable("", (MarginTier(Decimal("0.0"), one),)) for one in sorted({*leverages})}
    return Meta(universe, tuple(tables.items()), 0)


def count_sz_decimals(instrument: Instrument) -> int:
    """Return szDecimals of an instrument; ValueError if its lot is not a power of ten of at most 1."""
    lot = Decimal(repr(instrument.lot_base)).normalize()
    if lot.as_tuple().digits != (1,) or lot > 1:
        raise ValueError(f"lot of {instrument.instrument_id} is {lot}: this venue has powers of ten up to 1 only")
    return -lot.adjusted()


class AssetTable:
    """Assets by id, by coin and by instrument."""

    def __init__(self, assets: Iterable[Asset]) -> None:
        self.by_id = {asset.asset_id: asset for asset in assets}
        self.by_coin = {asset.coin: asset for asset in self.by_id.values()}
        self.by_instrument = {asset.instrument.instrument_id: asset for asset in self.by_id.values()}
        if not len(self.by_id) == len(self.by_coin) == len(self.by_instrument):
            raise ValueError("assets share an id, a coin or an instrument: each must be distinct")

    def get(self, instrument_id: str) -> Asset:
        """Return the asset of an instrument; ValueError if the venue does not list it."""
        asset = self.by_instrument.get(instrument_id)
        if asset is None:
            hint = instruments.suggest(instrument_id, self.by_instrument)
            raise ValueError(f"instrument {instrument_id} is not listed at this venue{hint}")
        return asset


def is_valid_px(asset: Asset, px: Decimal) -> bool:
    """Return whether a px is on the venue's grid.

    >>> btc = make_asset(0, "BTC", 5, 40.0)
    >>> [is_valid_px(btc, Decimal(px)) for px in ("61800", "61800.5", "1234567", "0.1", "0.01")]
    [True, False, True, True, False]
    """
    if not px.is_finite() or px <= 0 or abs(px.adjusted()) > wire.DIGITS_MAX:
        return False
    decimals = wire.count_decimals(px)
    figures = decimals + px.adjusted() + 1
    return decimals == 0 or (decimals <= asset.px_decimals_max and figures <= SIGNIFICANT_FIGURES_MAX)


def write_px(asset: Asset, px: float) -> str:
    """Return a px as an action carries it; ValueError if it is not on the venue's grid (`round_px` first).

    >>> write_px(make_asset(0, "BTC", 5, 40.0), 61800.0)
    '61800'
    """
    number = Decimal(repr(float(px)))
    if not is_valid_px(asset, number):
        raise ValueError(
            f"px {px} of {asset.coin} is not on the grid: at most {SIGNIFICANT_FIGURES_MAX} figures and "
            f"{asset.px_decimals_max} decimals, or whole; round it with round_px"
        )
    return wire.format_action(number)


def round_px(asset: Asset, px: float, side: int, *, is_passive: bool) -> float:
    """Return the valid px nearest to `px` on one side of it: passive keeps a limit's promise, aggressive reaches.

    >>> btc = make_asset(0, "BTC", 5, 40.0)
    >>> round_px(btc, 61800.4, 1, is_passive=True), round_px(btc, 61800.4, 1, is_passive=False)
    (61800.0, 61801.0)
    """
    rounded = instruments.round_px(asset.instrument, px, -side if is_passive else side)
    if rounded <= 0.0:
        raise ValueError(f"px {px} of {asset.coin} rounds to 0: it is below the venue's smallest step")
    return rounded


def bound_trigger_px(asset: Asset, trigger_px: float, side: int) -> float:
    """Return the worst px a market stop of `side` may get, which its order must carry: 10 % past the trigger."""
    return round_px(asset, trigger_px * (1.0 + side * SLIPPAGE_TRIGGER_FRAC), side, is_passive=False)


def read_px(text: str) -> float:
    """Return a wire px as market/ has it: the float nearest to the decimal."""
    px = float(wire.parse_number(text, "px"))
    if not (math.isfinite(px) and px > 0.0):
        raise wire.MalformedMessageError(f"px is {text!r}: must be above 0")
    return px


def write_lots(asset: Asset, qty_lots: int) -> str:
    """Return a size as an action carries it; `qty_lots` > 0.

    >>> write_lots(make_asset(1, "ETH", 4, 25.0), 29)
    '0.0029'
    """
    if qty_lots <= 0:
        raise ValueError(f"qty_lots of {asset.coin} is {qty_lots}: must be above 0")
    return wire.format_action(lots_to_number(asset, qty_lots))


def lots_to_number(asset: Asset, qty_lots: int) -> Decimal:
    """Return lots, signed or 0, as the Decimal that reply records hold ("0.0", "-0.00785")."""
    return wire.reply_number(Decimal(qty_lots).scaleb(-asset.sz_decimals))


def px_to_number(px: float) -> Decimal:
    """Return a px as the Decimal that reply records hold."""
    return wire.reply_number(Decimal(repr(float(px))))


def read_lots(asset: Asset, size: Decimal) -> int:
    """Return a size of the wire, signed or 0, in lots; MalformedMessageError if it is not a whole number of them.

    >>> read_lots(make_asset(0, "BTC", 5, 40.0), Decimal("-0.00785"))
    -785
    """
    if not size.is_finite() or size.adjusted() > SIZE_DIGITS_MAX:
        raise wire.MalformedMessageError(f"size of {asset.coin} is {size}: must be a finite number of sane size")
    lots = int(size.scaleb(asset.sz_decimals))
    if Decimal(lots).scaleb(-asset.sz_decimals) != size:  # comparing is exact, whatever the context's precision
        raise wire.MalformedMessageError(f"size {size} of {asset.coin} is not a multiple of 1e-{asset.sz_decimals}")
    return lots


def find_order_refusal(asset: Asset, order: WireOrder, *, is_exempt: bool = False) -> str | None:
    """Return the venue's words, asset appended, for what is wrong with an order by itself; None if nothing is.

    `is_exempt`: a reduce-only order that closes a whole position may be smaller than the minimum.
    In the order of looking: size, price, trigger, notional (at the order's own px).
    """
    refusal = _find_refusal(asset, order, is_exempt)
    return None if refusal is None else words.word_with_asset(refusal, asset.asset_id)


def _find_refusal(asset: Asset, order: WireOrder, is_exempt: bool) -> str | None:
    size, px = Decimal(order.sz), Decimal(order.px)
    if size == 0:
        return words.ZERO_SIZE
    if size < 0 or size.adjusted() > SIZE_DIGITS_MAX or wire.count_decimals(size) > asset.sz_decimals:
        return words.INVALID_SIZE
    if px <= 0:
        return words.INVALID_PX
    if not is_valid_px(asset, px):
        return words.TICK
    trigger = order.terms.trigger
    if trigger is not UNSET:
        trigger_px = Decimal(trigger.trigger_px)
        if trigger_px <= 0 or not is_valid_px(asset, trigger_px):
            return words.BAD_TRIGGER if trigger_px <= 0 else words.TICK
    if size * px < NOTIONAL_MIN_QUOTE and not (is_exempt and order.is_reduce_only):
        return words.BELOW_MINIMUM
    return None


def check_order(asset: Asset, order: WireOrder) -> None:
    """Raise ValueError with the venue's words if it would refuse this order by itself: the client's preflight."""
    refusal = find_order_refusal(asset, order, is_exempt=order.is_reduce_only)
    if refusal is not None:
        raise ValueError(f"order of {asset.coin} would be refused: {refusal}")
