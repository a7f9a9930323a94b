"""Socket.IO 4's clients: Engine.IO 4, over polling and WebSocket, and Socket.IO 5 above it."""
