"""The append-only journal of what happened, and the views derived from it."""
