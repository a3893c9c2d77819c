"""Keys: made once, for their owner alone; nothing that holds the private half can be shown, pickled or quoted."""

import os
import pickle
import re
import stat
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sweeps.promotion.keys import TRUSTED_NAME, find_key_path, get_public_key, open_key, read_trusted_keys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "promotion.key"


def get_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_use_makes_a_key_for_its_owner_alone_and_trusts_it(path: Path) -> None:
    before = os.umask(0)
    try:
        key = open_key(path)
    finally:
        os.umask(before)
    assert [get_mode(part) for part in (path.parent, path, path.with_name(TRUSTED_NAME))] == [0o700, 0o600, 0o600]
    trusted = read_trusted_keys(path.with_name(TRUSTED_NAME))
    assert trusted.public_keys == {get_public_key(key)}
    assert get_public_key(open_key(path)) == get_public_key(key)
    assert read_trusted_keys(trusted.path) == trusted


def test_a_second_key_is_trusted_beside_the_first(path: Path) -> None:
    keys = {get_public_key(open_key(path)), get_public_key(open_key(path.with_name("other.key")))}
    assert read_trusted_keys(path.with_name(TRUSTED_NAME)).public_keys == keys


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    open_key(path)
    path.chmod(mode)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} can be read by others: chmod 600 it"):
        open_key(path)


@pytest.mark.parametrize("damage", ["", "cut", "garbage", "another kind"])
def test_a_file_without_a_key_is_refused_and_not_quoted(path: Path, damage: str) -> None:
    open_key(path)
    pem = path.read_text()
    body = pem.splitlines()[1]
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_text({"": "", "cut": pem[:60], "garbage": body, "another kind": other.decode()}[damage])
    with pytest.raises(ValueError, match="holds no Ed25519 private key") as error:
        open_key(path)
    told = "".join(traceback.format_exception(error.value))
    assert not any(len(line) > 8 and line in told for line in path.read_text().splitlines())


def test_what_holds_the_private_half_can_be_neither_shown_nor_pickled(path: Path) -> None:
    key = open_key(path)
    raw = key.private_bytes_raw()
    assert raw.hex() not in repr(key) + str(key)
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(key)


def test_the_environment_names_the_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TRIREME_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_key_path() == tmp_path / ".config" / "trireme" / "promotion.key"
    monkeypatch.setenv("TRIREME_HOME", str(tmp_path / "x"))
    assert find_key_path() == tmp_path / "x" / "promotion.key"


def test_trusted_keys_are_lines_and_comments(tmp_path: Path) -> None:
    path = tmp_path / TRUSTED_NAME
    assert read_trusted_keys(path).public_keys == frozenset()
    one, two = "ab" * 32, "01" * 32
    path.write_text(f"# the desk\n\n{one}\n  {two}  # Ann\n")
    assert read_trusted_keys(path).public_keys == {one, two}


@pytest.mark.parametrize("line", ["AB" * 32, "ab" * 31, "ab" * 32 + " Ann", "trust everyone"])
def test_a_line_that_is_no_key_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / TRUSTED_NAME
    path.write_text(f"# comment\n{line}\n")
    with pytest.raises(ValueError, match=r"trusted_keys:2: a public key is 64 hex digits"):
        read_trusted_keys(path)


@pytest.mark.parametrize("mode", [0o660, 0o606])
def test_a_list_that_others_can_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / TRUSTED_NAME
    path.write_text("")
    path.chmod(mode)
    with pytest.raises(ValueError, match="can be changed by others: chmod go-w it"):
        read_trusted_keys(path)
