"""Brokers, which keep streams: their interface, and a folder for each kind."""
