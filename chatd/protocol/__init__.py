"""The values of the wire protocol: names, messages, cursors, times, errors, JSON. Pure."""
