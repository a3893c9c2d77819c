"""Who must be running, and what is done about those who are not."""
