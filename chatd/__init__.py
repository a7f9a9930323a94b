"""chatd: rooms are append-only streams, every subscriber is a cursor on one."""

__version__ = "1.0.0"
