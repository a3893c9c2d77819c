"""What is allowed, account-wide."""
