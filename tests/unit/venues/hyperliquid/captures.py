"""The real Hyperliquid captures and vectors beside the repository, as bytes and JSON; empty where they are absent."""

import gzip
import json
from pathlib import Path
from typing import Any

import yaml

from tests.shared_data import SHARED
from venues.hyperliquid.rules import AssetTable, make_asset

FOLDER = (SHARED or Path("absent")) / "fixtures" / "hyperliquid"
CASSETTES = sorted((FOLDER / "sdk_cassettes").glob("*.yaml")) if FOLDER.is_dir() else []
KEY = "0x0123456789012345678901234567890123456789012345678901234567890123"
ADDRESS = "0x14791697260e4c9a71f18484c9f997b308e59325"
BTC, ETH, SOL = make_asset(0, "BTC", 5, 40), make_asset(1, "ETH", 4, 25), make_asset(5, "SOL", 2, 20)
ASSETS = AssetTable([BTC, ETH, SOL])


def read_cassette(path: Path) -> list[tuple[bytes, bytes]]:
    """Return (request body, reply body) of each exchange in a cassette."""
    pairs = []
    for interaction in yaml.safe_load(path.read_text())["interactions"]:
        bodies = interaction["request"]["body"], interaction["response"]["body"]["string"]
        pairs.append(tuple(body.encode() if isinstance(body, str) else body for body in bodies))
    return pairs  # type: ignore[return-value]


def read_live() -> dict[str, Any]:
    """Return the live frames of 2026-09-24 by name."""
    return json.loads((FOLDER / "live_frames_20260924.json").read_text())  # type: ignore[no-any-return]


def read_capture() -> list[bytes]:
    """Return the frames of the raw WebSocket capture, in order."""
    with gzip.open(FOLDER / "hftbacktest" / "btcusd_20250126.gz", "rt") as lines:
        return [line.split(" ", 1)[1].strip().encode() for line in lines if line.strip()]


def read_vectors() -> list[dict[str, Any]]:
    """Return the signing vectors."""
    return json.loads((FOLDER / "signing_vectors.json").read_text())["cases"]  # type: ignore[no-any-return]
