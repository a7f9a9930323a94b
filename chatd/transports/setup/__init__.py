"""Room set-up over raw TCP."""
