"""Binance market data, USD-M futures and spot: what its sockets and REST say, both directions, sans-IO."""
