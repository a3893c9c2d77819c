"""Which strategies an account runs, and by which promotion records; `paper` asks here, and `live` will."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from actors.plan import StrategyPlan
from market.kernel_cache import hash_kernel_sources
from sweeps.promotion.fit import find_misfits
from sweeps.promotion.keys import TRUSTED_NAME, find_key_path, read_trusted_keys
from sweeps.promotion.making import make_whole_params
from sweeps.promotion.record import Promotion, PromotionRefusedError, read_promotion
from trireme.settings import Settings, StrategySettings


def choose_strategies(
    settings: Settings, names: tuple[str, ...], paths: tuple[Path, ...]
) -> tuple[tuple[StrategySettings, ...], dict[str, Promotion]]:
    """Return the strategies to run and, by strategy, the records there are: those of `paths`, else the settings'.

    Neither names nor paths: all strategies of the settings. Raises PromotionRefusedError where a record is not as it
    was signed, or the signer is not trusted; ValueError where two are of one strategy, or one is of another.
    """
    trusted = read_trusted_keys(find_key_path().with_name(TRUSTED_NAME))
    listed = {part.name: part for part in settings.strategies}
    promotions: dict[str, Promotion] = {}
    for path in paths:
        promotion = read_promotion(path, trusted)
        if promotion.strategy in promotions:
            raise ValueError(f"{path} is a second record of {promotion.strategy}: give one for each strategy")
        promotions[promotion.strategy] = promotion
    chosen = [*promotions, *names] or [*listed]
    strategies = tuple(listed.get(name, StrategySettings(name)) for name in dict.fromkeys(chosen))
    for part in strategies:
        if part.promotion is not None and part.name not in promotions:
            promotion = read_promotion(part.promotion.expanduser(), trusted)
            if promotion.strategy != part.name:
                raise ValueError(f"{part.promotion} is a record of {promotion.strategy}, the settings say {part.name}")
            promotions[part.name] = promotion
    return strategies, promotions


def check_promoted(strategies: Iterable[StrategySettings], promotions: Mapping[str, Promotion]) -> None:
    """Raise PromotionRefusedError naming every strategy without a record, and the ways out."""
    reasons = [
        f"{part.name} has no promotion record: promote a sweep of it (`trireme sweep promote`) and give --promotion "
        "FILE, or try it on the embedded venue with `trireme paper --unpromoted`"
        for part in strategies
        if part.name not in promotions
    ]
    if reasons:
        raise PromotionRefusedError(*reasons)


def check_fit(
    promotions: Iterable[Promotion], settings: Settings, instrument_ids: Sequence[str], interval_ns: int
) -> None:
    """Raise PromotionRefusedError with every reason why a record does not allow this account on these bars."""
    code_version = hash_kernel_sources()
    reasons = [
        misfit
        for promotion in promotions
        for misfit in find_misfits(
            promotion,
            code_version=code_version,
            costs=settings.costs,
            limits=settings.limits,
            interval_ns=interval_ns,
            instrument_ids=tuple(instrument_ids),
        )
    ]
    if reasons:
        raise PromotionRefusedError(*reasons)


def make_promoted_plan(promotion: Promotion) -> StrategyPlan:
    """Return the strategy as its record says: parameters and prior."""
    params = make_whole_params(promotion.strategy, promotion.params)
    return StrategyPlan(promotion.strategy, params, promotion.make_prior(), promotion.id)
