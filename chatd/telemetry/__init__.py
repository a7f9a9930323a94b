"""Metrics, logs, and the ids of requests."""
