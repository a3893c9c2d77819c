"""What is allowed: one rule, one file; the gate chains them."""
