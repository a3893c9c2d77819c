"""What to hold."""
