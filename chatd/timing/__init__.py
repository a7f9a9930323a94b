"""Clocks and the time of day, timers, work that is done in turns, that waits for its turn, that is
put off to an end, or that all who ask for it share."""
