"""The error that ends start-up. Below every other module, so that any of them may raise it."""


class StartError(Exception):
    """chatd cannot start. The text is one line that says which part, why, and what to do."""


class InUse(StartError):
    """Another process has it: a port, a database."""
