"""Rooms on this node: subscriptions, fan-out, history, deduplication, publishing."""
