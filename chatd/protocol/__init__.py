"""The vocabulary of the wire: names, messages, errors, JSON. Pure."""
