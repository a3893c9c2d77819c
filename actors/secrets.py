"""Where secrets come from: an environment variable or a file that only its owner can read. Never from settings.

Settings hold references ("env:NAME", "file:PATH#key"), which may be shown, logged and pickled. The value is read when
it is needed and kept in no object.
"""

import os
import stat
from pathlib import Path

import yaml


def check_reference(reference: str, where: str) -> None:
    """Raise ValueError unless `reference` has a form that `read_secret` knows. It may be a secret: it is not shown."""
    kind, _, rest = reference.partition(":")
    path, _, key = rest.rpartition("#")
    if (kind == "env" and rest) or (kind == "file" and path and key):
        return
    raise ValueError(f'{where}: write "env:NAME" or "file:PATH#key" here, not the secret itself')


def read_secret(reference: str, where: str) -> str:
    """Return the secret that a reference points to.

    Raises: ValueError naming `where` and what is missing, never a value: variable not set, file readable by others,
    key absent.
    """
    check_reference(reference, where)
    kind, _, rest = reference.partition(":")
    if kind == "env":
        value = os.environ.get(rest, "")
        if not value:
            raise ValueError(f"{where}: environment variable {rest} is not set")
        return value
    path_text, _, key = rest.rpartition("#")
    return _read_keys_file(Path(path_text).expanduser(), key, where)


def _read_keys_file(path: Path, key: str, where: str) -> str:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid not in (0, os.geteuid()):
                raise ValueError(f"{where}: {path} can be read by others: chmod 600 it, owned by who runs this")
            content = file.read()
    except OSError as error:
        raise ValueError(f"{where}: {path} cannot be read: {error.strerror}") from None
    try:
        keys = yaml.safe_load(content)
    except yaml.YAMLError:
        keys = None  # the parser's message would quote the file
    if not isinstance(keys, dict):
        raise ValueError(f'{where}: {path} must hold lines of "key: value"')
    value = keys.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: {path} has no text under the key {key}")
    return value
