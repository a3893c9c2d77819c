"""What is sent to the venue, and what came back."""
