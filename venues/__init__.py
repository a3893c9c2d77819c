"""How a venue speaks, and the exchange machine behind every simulator."""
