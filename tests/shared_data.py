"""Where the real market data and venue captures lie, if this machine has them."""

from pathlib import Path

import pytest

_CANDIDATE = Path(__file__).resolve().parents[2] / "shared"
SHARED: Path | None = _CANDIDATE if (_CANDIDATE / "data").is_dir() else None

needs_shared = pytest.mark.skipif(SHARED is None, reason="../shared (real market data) is not on this machine")
