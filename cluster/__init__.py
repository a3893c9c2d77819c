"""Ray and nothing else: configuration, spawn, lanes, health, metrics. Has never heard of an order."""
