"""The ways in: one folder a transport."""
