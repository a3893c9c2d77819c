"""The vocabulary and the state of the market: instruments, bars, books, readers, catalog."""
