"""From a finished sweep to the governor: promoted, run by its record, sized by its prior; else refused with exit 3."""

import json
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actors.in_process import InProcessHouse
from actors.market_feed.source import MarketSource, iterate_closes
from actors.messages import SlotDecided
from market.kernel_cache import hash_kernel_sources
from risk.estimate import PRIOR_NONE
from sweeps.promotion.keys import TRUSTED_NAME, read_trusted_keys
from sweeps.promotion.record import read_promotion
from sweeps.summary import SweepSummary
from sweeps.summary_file import write_summary
from tests.unit.sweeps.promotion.promotable import EVIDENCE, PARAMS, make_promotable
from trireme.main import EXIT_REFUSED, cli
from trireme.paper import describe_promotions, make_plan
from trireme.promoted import choose_strategies
from trireme.settings import StrategySettings, read_settings
from trireme.sweep_promote import promote


@dataclass
class Workplace:
    """A place to work: keys of its own, no settings file."""

    home: Path
    directory: Path

    def sweep(self, summary: SweepSummary) -> Path:
        """Leave what `trireme sweep` leaves of a finished sweep, as far as promotion looks."""
        directory = self.directory / summary.name
        directory.mkdir()
        (directory / "sweep.json").write_text(json.dumps({"name": summary.name}))
        write_summary(directory, summary)
        return directory

    def run(self, command: Any, *args: object) -> Result:
        return CliRunner().invoke(command, [*map(str, args)], standalone_mode=False)

    def promote(self, summary: SweepSummary | None = None, *args: object) -> Path:
        """Promote a sweep's best and return the record's file."""
        done = self.run(promote, self.sweep(summary or make_promotable()), "--json", *args)
        assert done.return_value == 0, done.output
        return Path(json.loads(done.stdout)["promotion"])

    def refuse_paper(self, *args: object) -> list[str]:
        """Run `trireme paper`, which must be refused; return its lines."""
        done = self.run(cli, "paper", *args)
        assert (done.return_value, done.exception, done.stdout) == (EXIT_REFUSED, None, "")
        assert not (self.directory / "runs").exists()
        return done.stderr.splitlines()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIREME_HOME", str(tmp_path / "home"))
    return Workplace(tmp_path / "home", tmp_path)


def test_a_finished_sweep_is_promoted_into_its_directory(place: Workplace) -> None:
    summary = make_promotable()
    done = place.run(promote, place.sweep(summary))
    [path] = (place.directory / summary.name).glob("promotion-*.json")
    promotion = read_promotion(path, read_trusted_keys(place.home / TRUSTED_NAME))
    assert path.name == f"promotion-momentum_sar-{promotion.id}.json"
    assert promotion.params == PARAMS
    assert f"run it: trireme paper --promotion {path}" in done.stdout
    assert "prior: 88 trades on bars it was not fitted to count as 84.8, 50.0% won" in done.stdout
    assert done.stderr == ""
    assert stat.S_IMODE((place.home / "promotion.key").stat().st_mode) == 0o600


def test_json_and_files_of_ones_own_choice(place: Workplace) -> None:
    out, key = place.directory / "record.json", place.directory / "keys" / "my.key"
    summary = make_promotable({"evidence": EVIDENCE | {"trades": 12}})
    done = place.run(promote, place.sweep(summary), "--out", out, "--key", key, "--json")
    told = json.loads(done.stdout)
    assert (told["promotion"], told["trusted_keys"]) == (str(out), str(key.with_name(TRUSTED_NAME)))
    assert (told["strategy"], told["params"], told["prior"]["weight_trades"]) == ("momentum_sar", PARAMS, 0.0)
    assert read_promotion(out, read_trusted_keys(key.with_name(TRUSTED_NAME))).id == told["id"]
    assert not place.home.exists()


def test_a_refusal_says_every_reason_and_leaves_nothing(place: Workplace) -> None:
    directory = place.sweep(make_promotable(code_version="0123", faults=["chance explains it", "it is too late"]))
    before = sorted(directory.iterdir())
    done = place.run(promote, directory)
    assert (done.return_value, done.stdout) == (EXIT_REFUSED, "")
    assert done.stderr.splitlines() == [
        "refused: chance explains it",
        "refused: it is too late",
        f"refused: computed with code 0123, running is {hash_kernel_sources()}: sweep again",
    ]
    assert (sorted(directory.iterdir()), place.home.exists()) == (before, False)


def test_no_key_that_others_can_read_and_no_sweep_that_is_not_finished(place: Workplace) -> None:
    path = place.promote()
    (place.home / "promotion.key").chmod(0o644)
    done = place.run(promote, path.parent)
    assert isinstance(done.exception, ValueError)
    assert "promotion.key can be read by others: chmod 600 it" in str(done.exception)
    (path.parent / "summary.json").unlink()
    assert "this sweep is not finished" in str(place.run(promote, path.parent).exception)


def test_paper_refuses_what_is_not_promoted_and_tells_both_ways_out(place: Workplace) -> None:
    [line] = place.refuse_paper("--strategy", "scalper")
    assert line == (
        "refused: scalper has no promotion record: promote a sweep of it (`trireme sweep promote`) and give "
        "--promotion FILE, or try it on the embedded venue with `trireme paper --unpromoted`"
    )
    assert [line.split()[1] for line in place.refuse_paper()] == ["momentum_sar", "mean_reversion_funding"]
    record = place.promote()
    assert len(place.refuse_paper("--promotion", record, "--strategy", "scalper")) == 1


def test_paper_refuses_a_record_that_was_altered_or_whose_signer_nobody_trusts(place: Workplace) -> None:
    path = place.promote()
    text = path.read_text()
    path.write_text(text.replace('"weight_trades": 84', '"weight_trades": 94'))
    assert re.fullmatch(rf"refused: {path}: altered .*", *place.refuse_paper("--promotion", path))
    path.write_text(text)
    (place.home / TRUSTED_NAME).write_text("")
    [line] = place.refuse_paper("--promotion", path)
    public_key = json.loads(text)["public_key"]
    assert f"signed by key {public_key}, which is not in {place.home / TRUSTED_NAME}" in line


@pytest.mark.parametrize(
    ("config", "args", "misfit"),
    [
        ("costs: {slippage_bps: 3.0}", (), "tested with slippage_bps 1.0, cheaper than the settings' 3.0"),
        ("limits: {kelly: {fraction: 0.3}}", (), "tested with limits.kelly.fraction 0.5, the settings say 0.3"),
        ("", ("--instrument", "SOL-PERP.HYPERLIQUID"), "SOL-PERP.HYPERLIQUID is to be traded, tested were BTC-PERP."),
    ],
)
def test_paper_refuses_a_record_that_does_not_fit(
    place: Workplace, config: str, args: tuple[str, ...], misfit: str
) -> None:
    path = place.promote()
    (place.directory / "trireme.yaml").write_text(config)
    [line] = place.refuse_paper("--promotion", path, "--unpromoted", *args)
    assert misfit in line


def test_paper_refuses_a_record_of_other_bars_or_other_code(place: Workplace) -> None:
    hourly = make_promotable()
    path = place.promote(replace(hourly, name="hourly", data=hourly.data | {"interval_ms": 3_600_000}))
    [line] = place.refuse_paper("--promotion", path)
    assert "tested on bars of 3600000 ms, these are of 900000 ms" in line


def test_settings_name_the_record_of_a_strategy(place: Workplace) -> None:
    path = place.promote()
    text = (
        f"strategies:\n  - {{name: momentum_sar, promotion: {path}}}\n  - {{name: scalper, params: {{stop_atr: 5}}}}\n"
    )
    (place.directory / "trireme.yaml").write_text(text)
    settings = read_settings()
    strategies, promotions = choose_strategies(settings, (), ())
    assert ([part.name for part in strategies], [*promotions]) == (["momentum_sar", "scalper"], ["momentum_sar"])
    assert choose_strategies(settings, ("scalper",), ()) == ((StrategySettings("scalper", {"stop_atr": 5.0}),), {})
    strategies, promotions = choose_strategies(settings, ("scalper", "scalper"), (path,))
    assert ([part.name for part in strategies], [*promotions]) == (["momentum_sar", "scalper"], ["momentum_sar"])
    [line] = place.refuse_paper()
    assert line.startswith("refused: scalper has no promotion record")
    with pytest.raises(ValueError, match="is a second record of momentum_sar"):
        choose_strategies(settings, (), (path, path))
    (place.directory / "trireme.yaml").write_text(f"strategies: [{{name: scalper, promotion: {path}}}]")
    with pytest.raises(ValueError, match="is a record of momentum_sar, the settings say scalper"):
        choose_strategies(read_settings(), (), ())


def test_the_prior_reaches_the_governor(place: Workplace) -> None:
    settings = read_settings()
    market = MarketSource(settings.instruments, seed=7, bars=600).load()
    _, promotions = choose_strategies(settings, (), (place.promote(),))
    params = {key: float(value) for key, value in PARAMS.items()}
    entries = {}
    for kind, records in (("promoted", promotions), ("unpromoted", {})):
        strategies = (StrategySettings("momentum_sar", params),)
        plan = make_plan(settings, strategies, market.instruments, market.interval_ns, records)
        house = InProcessHouse(plan)
        house.run(iterate_closes(market))
        decided = [record for record in house.records if isinstance(record, SlotDecided) and record.entry_lots]
        entries[kind] = (plan, decided[0])
    promoted, unpromoted = entries["promoted"], entries["unpromoted"]
    assert promoted[0].strategies[0].params == unpromoted[0].strategies[0].params
    assert unpromoted[0].list_priors() == [PRIOR_NONE]
    assert promoted[1].ts_close_ns == unpromoted[1].ts_close_ns
    # Kelly would risk more than 2 % of equity, where the hard stop caps it; without a record it risks its floor, 1 %.
    assert promoted[1].entry_lots == pytest.approx(2.0 * unpromoted[1].entry_lots, rel=1e-4)
    [record_id] = (promotion.id for promotion in promotions.values())
    assert describe_promotions(promoted[0]) == [f"momentum_sar promoted by {record_id}, prior of 84.8 trades"]
    assert describe_promotions(unpromoted[0]) == ["momentum_sar not promoted, no prior"]


def test_a_summary_that_was_written_anew_is_promoted_anew(place: Workplace) -> None:
    first = place.promote()
    write_summary(first.parent, make_promotable({"params": PARAMS | {"trend_bars": 96}}))
    done = place.run(promote, first.parent, "--json")
    assert json.loads(done.stdout)["params"]["trend_bars"] == 96
    assert len([*first.parent.glob("promotion-*.json")]) == 2
