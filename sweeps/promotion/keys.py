"""Who may promote: the private key that signs records, and the public keys whose records are believed.

The private key lies in a file that only its owner can read and leaves it for this process alone: the object that holds
it can be neither printed nor pickled, and no message quotes the file. Beside it lies `trusted_keys`: public keys as 64
hex digits, one a line; what follows a `#` is a comment.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

KEY_NAME, TRUSTED_NAME = "promotion.key", "trusted_keys"


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """The public keys that are believed, and the file that lists them."""

    path: Path
    public_keys: frozenset[str]


def find_key_path() -> Path:
    """Return where the private key lies: in `$TRIREME_HOME`, else in `~/.config/trireme`."""
    home = os.environ.get("TRIREME_HOME")
    return (Path(home) if home else Path.home() / ".config" / "trireme") / KEY_NAME


def get_public_key(key: Ed25519PrivateKey) -> str:
    """Return the public half as 64 hex digits."""
    return key.public_key().public_bytes_raw().hex()


def open_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in `path`; the first use makes it there, and trusts its public half.

    Raises ValueError where others could have read it, and where the file holds no such key.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_key(path)
    key = Ed25519PrivateKey.generate()
    _write_through(descriptor, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    trusted = os.open(path.with_name(TRUSTED_NAME), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _write_through(trusted, f"{get_public_key(key)}  # {path.name} beside this file\n".encode())
    return key


def _write_through(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read_key(path: Path) -> Ed25519PrivateKey:
    with path.open("rb") as file:
        _check_owner(path, os.fstat(file.fileno()), stat.S_IRWXG | stat.S_IRWXO, "read", "600")
        content = file.read()
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # the library's message might quote the file
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} holds no Ed25519 private key (PEM, no password): restore it, or move it away")
    return key


def read_trusted_keys(path: Path) -> TrustedKeys:
    """Return the keys that a file lists; without the file none is trusted.

    Raises ValueError where others could have added a key, and on a line that is no key.
    """
    try:
        with path.open(encoding="utf-8") as file:
            _check_owner(path, os.fstat(file.fileno()), stat.S_IWGRP | stat.S_IWOTH, "changed", "go-w")
            lines = file.read().splitlines()
    except FileNotFoundError:
        return TrustedKeys(path, frozenset())
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text: write one public key a line") from None
    public_keys = set()
    for number, line in enumerate(lines, 1):
        word = line.partition("#")[0].strip()
        if word and not re.fullmatch("[0-9a-f]{64}", word):
            raise ValueError(f"{path}:{number}: a public key is 64 hex digits, lower case; a comment begins with #")
        public_keys.add(word)
    return TrustedKeys(path, frozenset(public_keys - {""}))


def _check_owner(path: Path, status: os.stat_result, forbidden: int, verb: str, mode: str) -> None:
    if status.st_mode & forbidden or status.st_uid not in (0, os.geteuid()):
        raise ValueError(f"{path} can be {verb} by others: chmod {mode} it, owned by who runs this")
