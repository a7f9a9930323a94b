"""What ends start-up. Below every other module, so that any of them may raise it."""


class StartError(Exception):
    """chatd cannot start; the text is one line that says which part, why, and what to do."""
