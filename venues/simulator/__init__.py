"""What the three protocol simulators share: one driven market, its candles, the faults and the outgoing wire."""
