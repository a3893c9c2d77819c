"""What would have happened: replay, metrics, reports."""
