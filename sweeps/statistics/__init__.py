"""What chance explains: statistics of many trials, each from its paper."""
