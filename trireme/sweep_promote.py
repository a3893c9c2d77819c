"""`trireme sweep promote`: the best configuration of a finished sweep, signed, so that it may run."""

import json
import time
from pathlib import Path
from typing import Any

import click

from market.kernel_cache import hash_kernel_sources
from sweeps.promotion.keys import TRUSTED_NAME, find_key_path, open_key
from sweeps.promotion.making import make_promotion
from sweeps.promotion.record import Promotion, PromotionRefusedError, sign_promotion, write_promotion
from sweeps.summary_file import read_summary


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="The record's file; default in DIRECTORY, named by its id."
)
@click.option(
    "--key",
    "key_path",
    type=click.Path(path_type=Path),
    help="Private key, made on first use; default promotion.key in $TRIREME_HOME, else in ~/.config/trireme.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def promote(directory: Path, out: Path | None, key_path: Path | None, as_json: bool) -> int:
    """Sign the best configuration of a finished sweep: a promotion record, which `trireme paper --promotion` runs.

    The record holds what was tested, on which data, at which costs, under which limits, by which code, out of how many
    trials, with what statistics, and the prior that it gives Kelly. Exit code 3, a reason a line, where the best fails
    a constraint, where chance may explain it, or where something is not known. There is no way around a refusal.
    """
    from trireme.main import EXIT_REFUSED

    summary = read_summary(directory)
    try:
        promotion = make_promotion(summary, hash_kernel_sources())
    except PromotionRefusedError as error:
        for reason in error.reasons:
            click.echo(f"refused: {reason}", err=True)
        return EXIT_REFUSED
    key_path = key_path or find_key_path()
    promotion = sign_promotion(promotion, open_key(key_path), time.time_ns() // 1_000_000)
    path = out or directory / f"promotion-{promotion.strategy}-{promotion.id}.json"
    write_promotion(path, promotion)
    if as_json:
        click.echo(json.dumps(_describe(promotion, path, key_path), allow_nan=False))
    else:
        _show(promotion, path, key_path)
    return 0


def _describe(promotion: Promotion, path: Path, key_path: Path) -> dict[str, Any]:
    return {
        "promotion": str(path),
        "id": promotion.id,
        "strategy": promotion.strategy,
        "params": promotion.params,
        "instruments": promotion.data["instrument_ids"],
        "trials": promotion.trials,
        "prior": promotion.prior,
        "public_key": promotion.public_key,
        "trusted_keys": str(key_path.with_name(TRUSTED_NAME)),
    }


def _show(promotion: Promotion, path: Path, key_path: Path) -> None:
    prior, evidence = promotion.make_prior(), promotion.evidence
    trades = f"{evidence['trades']} trades on bars it was not fitted to"
    instruments = ", ".join(promotion.data["instrument_ids"])
    click.echo(f"promoted: {promotion.strategy} on {instruments}, the best of {promotion.trials:,} configurations")
    if prior.weight_trades > 0.0:
        click.echo(
            f"prior: {trades} count as {prior.weight_trades:.1f}, {prior.win_rate_frac:.1%} won, wins of "
            f"{prior.win_r_avg:.2f} R, losses of {prior.loss_r_avg:.2f} R: sized by Kelly from the first trade"
        )
    else:
        click.echo(f"prior: none, {trades} are too few to size by: it starts at the smallest size")
    click.echo(f"record: {path}")
    click.echo(f"signed by {promotion.public_key} ({key_path}); who trusts it lists it in {TRUSTED_NAME}")
    click.echo(f"run it: trireme paper --promotion {path}")
