"""Where to look: search spaces, samplers, and the region that the next round searches."""
