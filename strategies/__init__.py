"""What to hold: one idea, one file; the catalog names them."""
