"""Transports, one folder for each: clients' bytes to requests, and messages to bytes."""
