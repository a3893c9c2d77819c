"""How Hyperliquid speaks, for both sides of the wire: numbers, requests, replies, frames, signatures. Sans-IO."""
