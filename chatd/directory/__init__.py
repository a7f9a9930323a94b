"""Which rooms and members exist."""
