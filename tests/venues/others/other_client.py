"""Clients written by others: how a test calls ccxt, which lives in `.venv-others` (the Makefile makes it)."""

import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

import pytest

_TOP = Path(__file__).resolve().parents[3]
PYTHON = _TOP / ".venv-others" / "bin" / "python"
_CALL_S = 60.0

needs_others = pytest.mark.skipif(
    not (_TOP / ".venv-others" / ".ready").exists(),
    reason="no .venv-others: `make test` makes it where a package registry can be reached",
)


class CcxtError(AssertionError):
    """ccxt raised: `kind` is its exception's name."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text = kind, text


class Ccxt:
    """A process in which ccxt makes the calls it is told: `ccxt.call("create_order", ...)`."""

    def __init__(self, exchange_id: str, config: dict[str, Any]) -> None:
        script = Path(__file__).with_name("ccxt_calls.py")
        self._process = subprocess.Popen(
            [PYTHON, script, exchange_id, json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def call(self, name: str, *args: Any, **fields: Any) -> Any:
        """Make one call; return what it returned, raise `CcxtError` for what it raised."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"name": name, "args": args, "fields": fields}) + "\n")
        self._process.stdin.flush()
        line = self._lines.get(timeout=_CALL_S)
        assert line, f"ccxt's process ended: {''.join(self._errors)[-2000:]}"
        answer = json.loads(line)
        if "error" in answer:
            raise CcxtError(answer["error"], answer["text"])
        return answer["result"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._process.stdin.close()
        try:
            self._process.wait(_CALL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_CALL_S)
        for reader in self._readers:
            reader.join(_CALL_S)
        self._process.stdout.close()
        self._process.stderr.close()
