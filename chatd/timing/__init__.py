"""Clocks, timers, and single flight."""
