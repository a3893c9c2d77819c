"""dYdX v4: how its chain and its Indexer speak. Sans-IO, both directions; `transactions` is the way in."""
