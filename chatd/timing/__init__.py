"""Clocks, timers, and work shared by those who wait for it."""
