"""Publishes the market, in order and checked."""
