"""One compiled idea per file."""
