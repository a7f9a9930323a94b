"""WebSocket: chatd.v1, and the original's clients."""
