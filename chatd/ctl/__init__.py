"""``chatctl``: the command line of those who run chatd."""
