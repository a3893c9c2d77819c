"""A record is read as it was signed, by who is trusted, or not at all."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sweeps.promotion.keys import TrustedKeys, get_public_key
from sweeps.promotion.record import (
    Promotion,
    PromotionRefusedError,
    hash_plain,
    read_promotion,
    sign_promotion,
    write_promotion,
)
from tests.unit.sweeps.promotion.promotable import KEY, make_account, make_promotable, make_signed

TRUSTED = TrustedKeys(Path("trusted_keys"), frozenset({get_public_key(KEY)}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "promotion.json"
    write_promotion(path, make_signed())
    return path


def test_what_is_written_reads_back_and_the_same_content_gives_the_same_id(path: Path) -> None:
    promotion = make_signed()
    assert read_promotion(path, TRUSTED) == promotion
    later = sign_promotion(promotion, Ed25519PrivateKey.generate(), 7)
    assert (later.id, later.signature) == (promotion.id, later.signature) != (promotion.id, promotion.signature)
    assert make_signed(account=make_account(slippage_bps=2.0)).id != promotion.id
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_it_says_all_that_was_tested(path: Path) -> None:
    summary, record = make_promotable(), json.loads(path.read_text())
    for name in ("strategy", "data", "account", "code_version"):
        assert record[name] == getattr(summary, name)
    for name in ("params", "metrics", "metrics_out_of_sample", "evidence"):
        assert record[name] == getattr(summary.best, name)
    assert record["folds"] == [dataclasses.asdict(fold) for fold in summary.best.folds]
    assert record["overfitting"] == dataclasses.asdict(summary.overfitting)
    assert record["trials"] == 24
    assert record["spec_sha256"] == hash_plain(summary.spec)
    assert (record["version"], record["public_key"]) == (1, get_public_key(KEY))


def test_whole_numbers_where_fractions_belong_are_signed_as_they_are_read(tmp_path: Path) -> None:
    promotion = make_signed(account=make_account(fee_taker_bps=5))
    write_promotion(tmp_path / "p.json", promotion)
    assert read_promotion(tmp_path / "p.json", TRUSTED).account["costs"]["fee_taker_bps"] == 5.0


@pytest.mark.parametrize("flip", [1, 32])  # 32: another case of a letter
def test_a_record_with_any_byte_changed_is_refused(path: Path, flip: int) -> None:
    content = path.read_bytes()
    changed = path.with_name("changed.json")
    for place in range(len(content)):
        changed.write_bytes(content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :])
        with pytest.raises(PromotionRefusedError):
            read_promotion(changed, TRUSTED)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "\n",
        lambda text: text.replace("{", "{ ", 1),
        lambda text: json.dumps(json.loads(text), sort_keys=True),
        lambda text: text.replace('"trials"', '"trials": 1, "trials"', 1),
        lambda text: json.dumps(json.loads(text) | {"note": ""}, indent=1, sort_keys=True) + "\n",
        lambda text: "[" * 100_000,
        lambda text: "",
    ],
)
def test_another_form_of_the_same_is_refused_too(path: Path, change: Any) -> None:
    path.write_text(change(path.read_text()))
    with pytest.raises(PromotionRefusedError, match=r"promotion\.json: (altered|not a promotion record)") as error:
        read_promotion(path, TRUSTED)
    assert "\n" not in str(error.value)


def test_a_record_that_somebody_signs_anew_is_theirs(path: Path) -> None:
    other = Ed25519PrivateKey.generate()
    better = dataclasses.replace(make_signed(), prior={**make_signed().prior, "weight_trades": 1000.0})
    write_promotion(path, sign_promotion(better, other, 1))
    with pytest.raises(PromotionRefusedError) as error:
        read_promotion(path, TRUSTED)
    assert str(error.value) == (
        f"{path}: signed by key {get_public_key(other)}, which is not in trusted_keys: add it there as a line if you "
        "trust its holder"
    )


def test_a_signature_of_one_key_under_the_name_of_another_is_refused(path: Path) -> None:
    signed = sign_promotion(make_signed(), Ed25519PrivateKey.generate(), 1)
    write_promotion(path, dataclasses.replace(signed, public_key=get_public_key(KEY)))
    with pytest.raises(PromotionRefusedError, match="altered"):
        read_promotion(path, TRUSTED)


def test_another_version_is_named(path: Path) -> None:
    write_promotion(path, sign_promotion(dataclasses.replace(make_signed(), version=2), KEY, 1))
    with pytest.raises(PromotionRefusedError, match="a record of version 2, this code reads 1"):
        read_promotion(path, TRUSTED)


def test_a_record_without_a_signature_is_refused(path: Path) -> None:
    values = msgspec.to_builtins(make_signed()) | {"signature": ""}
    write_promotion(path, msgspec.convert(values, Promotion))
    with pytest.raises(PromotionRefusedError, match="altered"):
        read_promotion(path, TRUSTED)
