"""The brokers that keep streams, and their common interface."""
