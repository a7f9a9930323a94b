"""WebSocket (RFC 6455): the subprotocol chatd.v1, and the original's clients."""
