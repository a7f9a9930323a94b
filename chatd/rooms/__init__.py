"""Rooms: streams, subscriptions and what lies between them."""
